"""How much to think: an effort or a budget of ours as the model takes it, and the caller's `thinking` as ours.

Models from 4.6 on decide for themselves, led by `output_config.effort`; those before take `budget_tokens`, and cannot think so beside a
forced tool, in too short an answer, or in a turn whose thought is lost: then it is left out and named.
https://platform.claude.com/docs/en/build-with-claude/thinking and .../extended-thinking
"""

from typing import Any

import msgspec

from shoal.core.conversation import Conversation, Reasoning, Thinking, ToolCall, ToolResult
from shoal.wire.anthropic.families import Family
from shoal.wire.anthropic.seals import ORIGIN

BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32000, "max": 32000}
_LEAST = 1024
_STEPS = ("low", "medium", "high", "xhigh", "max")


class Thought(msgspec.Struct, frozen=True):
    """Members of a request: `thinking`, and `output_config.effort`; and what was left out of what the caller wanted."""

    thinking: dict[str, Any] | None = None
    effort: str | None = None
    dropped: tuple[str, ...] = ()

    @property
    def budget(self) -> int:
        """Tokens of thought that are set aside, 0 where none are."""
        return self.thinking.get("budget_tokens", 0) if self.thinking else 0

    @property
    def thinks(self) -> bool:
        """Whether the request asks for thought."""
        return self.thinking is not None and self.thinking["type"] in ("enabled", "adaptive")


def write(conversation: Conversation, family: Family, room: int | None) -> Thought:
    """What to ask for, within an answer of `room` tokens (None: as many as needed)."""
    wanted = conversation.thinking
    if wanted is None or not (wanted.effort or wanted.budget is not None or (wanted.shown and family.adaptive)):
        return Thought()  # whether thought is shown says nothing of whether there is any
    name = "reasoning" if wanted.budget is not None else "reasoning_effort"
    if wanted.effort == "none":
        if family.off:
            return Thought({"type": family.off})
        return Thought(effort="low", dropped=(name,)) if family.efforts else Thought()
    if family.adaptive and not (wanted.budget is not None and family.budgets):
        effort = _nearest(wanted, family.efforts)
        return Thought({"type": "adaptive", **_display(wanted)}, effort, (name,) if wanted.budget is not None else ())
    budget = _budget(wanted, room)
    forced = conversation.tool_choice is not None and conversation.tool_choice.mode in ("required", "named")
    if not family.budgets or budget is None or forced or _lost_its_thought(conversation):
        return Thought(dropped=(name,))
    altered = wanted.budget is not None and wanted.budget != budget
    return Thought({"type": "enabled", "budget_tokens": budget, **(_display(wanted) if family.adaptive else {})}, None, (name,) * altered)


def _nearest(wanted: Thinking, efforts: tuple[str, ...]) -> str | None:
    """The effort wanted, or the next higher that the model has; a budget is worth the effort that it would be given for."""
    effort = wanted.effort
    if wanted.budget is not None:
        effort = next((step for step in ("low", "medium", "high") if wanted.budget <= BUDGETS[step]), "xhigh")
    if effort in (None, "auto"):
        return None
    place = _STEPS.index(effort) if effort in _STEPS else 0
    return next((step for step in _STEPS[place:] if step in efforts), efforts[-1])


def _display(wanted: Thinking) -> dict[str, str]:
    return {} if wanted.shown is None else {"display": "summarized" if wanted.shown else "omitted"}


def _budget(wanted: Thinking, room: int | None) -> int | None:
    """Tokens of thought, fewer than the answer may have; None where not even the least fits."""
    budget = max(_LEAST, wanted.budget if wanted.budget is not None else BUDGETS.get(wanted.effort or "medium", BUDGETS["medium"]))
    if room is None or budget < room:
        return budget
    return room - 1 if room > _LEAST else None


def _lost_its_thought(conversation: Conversation) -> bool:
    """Whether the turn to go on from called tools without the thought that led there: with a budget, Anthropic demands it."""
    messages = conversation.messages
    if not messages or not any(isinstance(part, ToolResult) for part in messages[-1].parts):
        return False
    last = next((message for message in reversed(messages) if message.role == "assistant"), None)
    if last is None or not any(isinstance(part, ToolCall) for part in last.parts):
        return False
    return not any(isinstance(part, Reasoning) and part.origin == ORIGIN for part in last.parts)


class Asked(msgspec.Struct):
    """The caller's `thinking`."""

    type: str | None = None
    budget_tokens: int | None = None
    display: str | None = None


def read(asked: Asked | None, effort: str | None) -> Thinking | None:
    """A caller's `thinking` and `output_config.effort`: as much as the model finds right where it says no more than adaptive."""
    if asked is None or asked.type is None:
        return Thinking(effort=effort) if effort else None
    if asked.type in ("disabled", "between_tools"):
        return Thinking(effort="none")
    shown = None if asked.display is None else asked.display != "omitted"
    if asked.type == "adaptive":
        effort = effort or "auto"
    return Thinking(effort=effort, budget=asked.budget_tokens, shown=shown)
