"""What was used of an answer that did not say, or that broke off: counted here, since its upstream will charge for it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from shoal.core.answer import Delta, Ended, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, Used
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage

if TYPE_CHECKING:
    from shoal.gateway.call import Call


def reckon(call: "Call", deployment: Deployment, said: Sequence[Delta]) -> Usage:
    """The usage of what was said: as it told itself, else counted. What an answer told before its end is not all of its output."""
    told = next((delta.usage for delta in reversed(said) if isinstance(delta, Used)), Usage())
    ended = any(isinstance(delta, Ended) for delta in said)
    if told.input is not None and told.output is not None and ended:
        return told
    words = "".join(_words(delta) for delta in said)
    output = call.world.counter.count_text(words, deployment.upstream_model, deployment.provider).tokens if words else 0
    asked = _asked(call, deployment) if told.input is None else told.input
    return msgspec.structs.replace(told, input=asked, output=max(output, told.output or 0), source="estimated")


def _words(delta: Delta) -> str:
    match delta:
        case TextDelta(text=text) | RefusalDelta(text=text) | ReasoningDelta(text=text):
            return text
        case ToolCallDelta(name=name, arguments=arguments):
            return (name or "") + arguments
    return ""


def _asked(call: "Call", deployment: Deployment) -> int:
    """Tokens of the request."""
    if call.endpoint.kind == "chat":
        try:
            return call.world.counter.count_conversation(call.conversation(), deployment).tokens
        except Fault:  # words of its dialect's own
            pass
    return call.tokens()
