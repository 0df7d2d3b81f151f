"""What differs from one maker's models to another's on Bedrock, as data: where top_k goes, how thought is asked for, what is refused.

Converse is the same for all of them; the rest travels in `additionalModelRequestFields`.
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Thinking
from shoal.core.models import Deployment

Fields = dict[str, Any]
# what is wanted, the model's names, and how long its answer may be
Think = Callable[[Thinking, str, int | None], Fields | None]


class Family(msgspec.Struct, frozen=True):
    """One maker's models. `top_k` and `think` give members of the request; no `think`, or a None from it: this cannot be said.

    `signs`: reads Anthropic's signatures. `status`: tool results may say whether they failed. `caches`: cachePoint is known.
    `strict`: tools may be enforced.
    """

    marks: tuple[str, ...]
    top_k: Callable[[int], Fields] | None = None
    think: Think | None = None
    signs: bool = False
    status: bool = False
    caches: bool = False
    strict: bool = True


def _model(fields: Fields) -> Fields:
    return {"additionalModelRequestFields": fields}


# tokens of thought for models that take a budget only; the least that Claude takes is 1024
BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32000, "max": 32000}
# thought before 4.6 is asked for by budget, from then on by effort (and is "adaptive")
_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d)(?!\d))?")


def _think_claude(thinking: Thinking, model: str, max_tokens: int | None) -> Fields | None:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-extended-thinking.html"""
    if thinking.effort == "none":
        return _model({"thinking": {"type": "disabled"}})
    if thinking.budget is None and _is_adaptive(model):
        effort = "low" if thinking.effort == "minimal" else thinking.effort
        return _model({"thinking": {"type": "adaptive"}}) | ({"outputConfig": {"effort": effort}} if effort else {})
    budget = thinking.budget or BUDGETS.get(thinking.effort or "medium", BUDGETS["medium"])
    if thinking.budget is None and max_tokens is not None:  # a budget that we chose must leave room for the answer
        budget = min(budget, max_tokens - 1)
        if budget < BUDGETS["minimal"]:
            return None
    return _model({"thinking": {"type": "enabled", "budget_tokens": budget}})


def _is_adaptive(model: str) -> bool:
    found = _CLAUDE.search(model)
    if found is None:  # a model named after the scheme changed
        return "claude" in model
    return (int(found[1]), int(found[2] or 0)) >= (4, 6)


def _think_nova(thinking: Thinking, model: str, max_tokens: int | None) -> Fields | None:
    """https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html"""
    if thinking.effort == "none":
        return _model({"reasoningConfig": {"type": "disabled"}})
    effort = {"minimal": "low", "xhigh": "high", "max": "high"}.get(thinking.effort or "medium", thinking.effort or "medium")
    return _model({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": effort}})


def _think_by_effort(name: str) -> Think:
    """OpenAI's open models and Qwen's take an effort by this name, and cannot be told not to think."""
    steps = {"minimal": "low", "xhigh": "high", "max": "high", None: "medium"}

    def think(thinking: Thinking, model: str, max_tokens: int | None) -> Fields | None:
        return None if thinking.effort == "none" else _model({name: steps.get(thinking.effort, thinking.effort)})

    return think


CLAUDE = Family(("anthropic.", "claude"), lambda k: _model({"top_k": k}), _think_claude, signs=True, status=True, caches=True)
NOVA = Family(("amazon.nova",), lambda k: _model({"inferenceConfig": {"topK": k}}), _think_nova, status=True, caches=True, strict=False)
OTHERS = (
    Family(("openai.",), think=_think_by_effort("reasoning_effort")),
    Family(("qwen.",), think=_think_by_effort("reasoning_config")),
    Family(("mistral.",), lambda k: _model({"top_k": k})),
    Family(("cohere.",), lambda k: _model({"k": k}), strict=False),
    Family(("deepseek.", "google.", "minimax.", "moonshot", "nvidia.", "writer.", "zai.")),
    Family(("meta.", "ai21.", "amazon.titan"), strict=False),
)
# behind the ARN of a profile or of a provisioned model may be any model: what it is told, it may refuse itself
UNKNOWN = Family((), caches=True)
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
