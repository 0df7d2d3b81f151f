"""What a request needs a model to be able to do. Who is known not to be able is not asked; nobody able is a refusal by name.

A deployment of which nothing is known is asked: its own refusal is worth more than a guess.
"""

from collections.abc import Iterator, Sequence

from shoal.core.conversation import File, Image
from shoal.core.errors import Fault
from shoal.core.models import Capabilities, Deployment
from shoal.gateway.call import Call
from shoal.wire.dialects import FORWARDS

_NAMES = ("tools", "json_schema", "json_object", "images", "files", "audio", "logprobs", "logit_bias")
_ENDPOINTS = {"completions": "completions of texts", "embeddings": "embeddings", "rerank": "rankings"}
_NOTHING_KNOWN: Capabilities = Deployment("", "", "", "").capabilities  # the default is one object


def keep_able(call: Call, candidates: Sequence[Deployment]) -> Sequence[Deployment]:
    """The candidates that can do what is asked. Errors: Fault unsupported_parameter naming what none of them can."""
    kind = call.endpoint.kind
    if kind in _ENDPOINTS:
        return _keep_having(kind, candidates)
    lacking = [one for one in candidates if _lacks(one)]
    if not lacking or kind != "chat":
        return candidates
    left = list(candidates)
    try:
        call.conversation()
    except Fault:
        if any(call.endpoint.dialect in one.also or (call.endpoint.dialect, one.dialect) in FORWARDS for one in candidates):
            return candidates  # words of the dialect's own, which one that speaks it may understand
        raise
    for ability, param in _wants(call):
        able = [one for one in left if getattr(one.capabilities, ability) is not False]
        if not able:
            raise Fault("unsupported_parameter", f"The model {left[0].model!r} cannot use {param!r}; choose another model.", param=param)
        if len(able) < len(left):
            unable = sorted({f"{one.provider}/{one.model}" for one in left if one not in able})
            call.excluded += (f"{param!r} excludes {', '.join(unable)}",)
        left = able
    return left


def _keep_having(kind: str, candidates: Sequence[Deployment]) -> Sequence[Deployment]:
    """Those whose upstream has an endpoint, as far as its row tells."""
    having = [one for one in candidates if one.endpoints is None or kind in one.endpoints]
    if not having:
        first = candidates[0]
        text = f"The provider {first.provider!r} of {first.model!r} has no {_ENDPOINTS[kind]}; choose another model."
        raise Fault("unsupported_parameter", text, param="model")
    return having


def _lacks(deployment: Deployment) -> bool:
    capabilities = deployment.capabilities
    return capabilities is not _NOTHING_KNOWN and any(getattr(capabilities, name) is False for name in _NAMES)


def _wants(call: Call) -> Iterator[tuple[str, str]]:
    """Abilities, and the parameters that ask for them."""
    conversation = call.conversation()
    sampling, form = conversation.sampling, conversation.format
    if conversation.tools or conversation.hosted:
        yield "tools", "tools"
    if form is not None:
        yield ("json_object" if form.schema is None else "json_schema"), "response_format"
    if sampling.top_logprobs:
        yield "logprobs", "top_logprobs"
    if sampling.logit_bias:
        yield "logit_bias", "logit_bias"
    for number, message in enumerate(conversation.messages):
        for part in message.parts:
            if isinstance(part, Image):
                yield "images", f"messages[{number}].content"
            elif isinstance(part, File):
                yield ("audio" if (part.media_type or "").startswith("audio/") else "files"), f"messages[{number}].content"
