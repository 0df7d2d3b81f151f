"""What differs from one maker's models to another's on Bedrock, as data: where top_k goes, how thought is asked for, what is refused.

Converse is the same for all of them; the rest travels in `additionalModelRequestFields`.
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Conversation, Sampling, Thinking
from shoal.core.models import Deployment
from shoal.wire.anthropic import families as claudes
from shoal.wire.anthropic import sampling
from shoal.wire.anthropic import thinking as anthropic

Fields = dict[str, Any]
# members of the request that ask for the thought that a conversation wants of this model, and what of it cannot be said
Think = Callable[[Conversation, str], tuple[Fields, tuple[str, ...]]]
# how tokens are drawn, as far as this model takes it beside its thought, and what of it cannot be said
Fit = Callable[[Sampling, str, bool], tuple[Sampling, list[str]]]


class Family(msgspec.Struct, frozen=True):
    """One maker's models. `top_k` and `think` give members of the request; without them this cannot be said. No `fit`: all is taken.

    `signs`: reads Anthropic's signatures. `caches`: cachePoint is known. `strict`: tools may be enforced. `one_call` gives members of
    the request that ask for one call at a time, in the words of the model's own `tool_choice`. `may_begin`: the first turn may be the
    assistant's. `beside_results`: what may stand in a turn with results of tools, None: anything; `in_results`: what these may hold
    besides words. `tells_status`: whether a tool failed is told.
    """

    marks: tuple[str, ...]
    top_k: Callable[[int], Fields] | None = None
    think: Think | None = None
    fit: Fit | None = None
    signs: bool = False
    caches: bool = False
    strict: Callable[[str], bool] = lambda model: True
    one_call: Callable[[str], Fields] | None = None
    may_begin: bool = False
    beside_results: tuple[str, ...] | None = None
    in_results: tuple[str, ...] = ("image",)
    tells_status: bool = True


def _model(fields: Fields) -> Fields:
    return {"additionalModelRequestFields": fields}


def _think_claude(conversation: Conversation, model: str) -> tuple[Fields, tuple[str, ...]]:
    """In the words of Anthropic's own API, as members that Converse passes on.

    https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html, .../claude-messages-adaptive-thinking.html
    """
    thought = anthropic.write(conversation, claudes.find_family(model), conversation.max_tokens)
    said: Fields = {"thinking": thought.thinking} if thought.thinking else {}
    said |= {"output_config": {"effort": thought.effort}} if thought.effort else {}
    return (_model(said) if said else {}), thought.dropped


def _fit_claude(wanted: Sampling, model: str, thinks: bool) -> tuple[Sampling, list[str]]:
    return sampling.fit(wanted, claudes.find_family(model), thinks)


def _one_call_claude(model: str) -> Fields:
    """Converse's own choice has no word for it. Claude's older ones are not known to take the two together."""
    return _model({"tool_choice": {"disable_parallel_tool_use": True}}) if claudes.find_family(model).structured else {}


def _think_nova(conversation: Conversation, model: str) -> tuple[Fields, tuple[str, ...]]:
    """The highest effort is refused beside a limit of tokens and beside what tells how to draw them.

    https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html
    """
    effort = _effort(conversation)
    if effort == "none":
        return _model({"reasoningConfig": {"type": "disabled"}}), ()
    drawn = conversation.sampling
    lowered = effort == "high" and any(one is not None for one in (conversation.max_tokens, drawn.temperature, drawn.top_p, drawn.top_k))
    said = _model({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium" if lowered else effort}})
    return said, ("reasoning_effort",) if lowered else ()


def _think_gpt(conversation: Conversation, model: str) -> tuple[Fields, tuple[str, ...]]:
    """In the words of OpenAI's Responses API. https://docs.aws.amazon.com/bedrock/latest/userguide/model-cards-openai.html"""
    wanted = conversation.thinking or Thinking()
    effort = {"minimal": "low", "auto": None, None: "medium" if wanted.budget else None}.get(wanted.effort, wanted.effort)
    said = ({"effort": effort} if effort else {}) | ({"summary": "auto"} if wanted.shown else {})
    return (_model({"reasoning": said}) if said else {}), ()


def _fit_gpt(wanted: Sampling, model: str, thinks: bool) -> tuple[Sampling, list[str]]:
    """OpenAI's models that think take nothing of how tokens are drawn; 1 is what is meant where nothing is said."""
    dropped = [name for name in ("temperature", "top_p") if getattr(wanted, name) not in (None, 1)]
    dropped += ["stop"] if wanted.stop else []
    return msgspec.structs.replace(wanted, temperature=None, top_p=None, stop=()), dropped


def _think_by_effort(name: str, middle: str) -> Think:
    """OpenAI's open models and Qwen's take an effort by this name, and cannot be told not to think; Qwen's know no middle."""

    def think(conversation: Conversation, model: str) -> tuple[Fields, tuple[str, ...]]:
        effort = _effort(conversation)
        return ({}, ("reasoning_effort",)) if effort == "none" else (_model({name: middle if effort == "medium" else effort}), ())

    return think


_STEPS = {"minimal": "low", "xhigh": "high", "max": "high", "auto": "medium", None: "medium"}


def _effort(conversation: Conversation) -> str | None:
    """The wanted one of the three efforts that most have; none, where no thought is wanted."""
    wanted = (conversation.thinking or Thinking()).effort
    return _STEPS.get(wanted, wanted)


def _never(model: str) -> bool:
    return False


CLAUDE = Family(
    ("anthropic.", "claude"),
    lambda k: _model({"top_k": k}),
    _think_claude,
    _fit_claude,
    signs=True,
    caches=True,
    strict=lambda model: claudes.find_family(model).structured,
    one_call=_one_call_claude,
    may_begin=True,
    beside_results=("text", "image"),
    in_results=("image", "document"),
)
NOVA = Family(("amazon.nova",), lambda k: _model({"inferenceConfig": {"topK": k}}), _think_nova, caches=True, strict=_never)
OTHERS = (
    Family(("openai.gpt-oss",), think=_think_by_effort("reasoning_effort", "medium")),
    Family(("openai.",), think=_think_gpt, fit=_fit_gpt),
    Family(("qwen.",), think=_think_by_effort("reasoning_config", "high"), may_begin=True, in_results=()),
    Family(("mistral.",), lambda k: _model({"top_k": k}), beside_results=(), in_results=("document",)),
    Family(("cohere.",), lambda k: _model({"k": k}), strict=_never),
    Family(("moonshot",), may_begin=True, in_results=()),
    Family(("zai.",), may_begin=True),
    Family(("writer.",), beside_results=(), tells_status=False),
    Family(("deepseek.", "google.", "minimax.", "nvidia.")),
    Family(("meta.",), strict=_never, beside_results=(), in_results=("image", "document")),
    Family(("ai21.", "amazon.titan"), strict=_never),
)
# behind the ARN of a profile or of a provisioned model may be any model: what it is told, it may refuse itself
UNKNOWN = Family((), caches=True, may_begin=True, in_results=("image", "document", "video"))
_FAMILIES = (CLAUDE, NOVA, *OTHERS)


def find_family(deployment: Deployment) -> Family:
    """Whose model this is, by the upstream's name for it, or by the public name where an ARN tells nothing."""
    for name in (deployment.upstream_model, deployment.model):
        for family in _FAMILIES:
            if any(mark in name for mark in family.marks):
                return family
    return UNKNOWN


def merge(into: Fields, more: Mapping[str, Any]) -> Fields:
    """Both objects in one, members of members too; where both say something, `into` stays."""
    out = dict(into)
    for name, value in more.items():
        mine = out.get(name)
        out[name] = merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else out.get(name, value)
    return out
