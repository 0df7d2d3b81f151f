"""How much a Gemini thinks: a level since Gemini 3, a budget of tokens before.

Efforts become levels or budgets as Google's own OpenAI endpoint turns them: https://ai.google.dev/gemini-api/docs/openai#thinking.
"""

from typing import Any

from shoal.core.conversation import Thinking
from shoal.wire.gemini.families import generation
from shoal.wire.gemini.members import Members

_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
_LEVELS = {"none": "MINIMAL", "minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "HIGH", "max": "HIGH"}
_FIRST_THINKER, _FIRST_WITH_LEVELS, _WITHOUT_LEAST = 2.5, 3.0, 3.7
_AS_IT_LIKES = -1
_LEAST_OF_PRO = 128
"""A Pro of the generation 2.5 cannot be kept from thinking."""


def write(thinking: Thinking, model: str) -> dict[str, Any] | None:
    """`thinkingConfig`; None where the model does not think, and would refuse to be asked to."""
    number = generation(model)
    if 0 < number < _FIRST_THINKER:
        return None
    out: dict[str, Any] = {}
    if thinking.budget is not None:
        out["thinkingBudget"] = thinking.budget
    elif thinking.effort == "auto" and number < _FIRST_WITH_LEVELS:
        out["thinkingBudget"] = _AS_IT_LIKES
    elif thinking.effort in _BUDGETS:
        out |= _level(thinking.effort, model) if number >= _FIRST_WITH_LEVELS else _budget(thinking.effort, model)
    # who gives thought a budget of its own or leaves it to the model, as Anthropic's callers do, expects to see it
    shown = thinking.effort == "auto" or bool(thinking.budget) if thinking.shown is None else thinking.shown
    if shown:
        out["includeThoughts"] = True
    return out


def _level(effort: str, model: str) -> dict[str, Any]:
    level = _LEVELS[effort]
    if level == "MINIMAL" and ("-pro" in model or generation(model) >= _WITHOUT_LEAST):
        level = "LOW"  # a Pro has no less, and none since this generation
    if level == "MEDIUM" and "gemini-3-pro" in model:
        level = "HIGH"  # the first of its generation has only two
    return {"thinkingLevel": level}


def _budget(effort: str, model: str) -> dict[str, Any]:
    least = _LEAST_OF_PRO if "-pro" in model else 0
    return {"thinkingBudget": max(least, _BUDGETS[effort])}


def read(config: Members | None) -> Thinking | None:
    """A caller's `thinkingConfig`. A budget of 0 is no thinking, and of -1 as much as the model likes."""
    if config is None:
        return None
    budget, level = config.integer("thinkingBudget"), config.text("thinkingLevel")
    effort = level.lower() if level and level != "THINKING_LEVEL_UNSPECIFIED" else None
    if budget in (0, _AS_IT_LIKES):
        effort, budget = "none" if budget == 0 else "auto", None
    shown = bool(config.flag("includeThoughts"))
    return Thinking(effort, budget if budget is not None and budget > 0 else None, shown)
