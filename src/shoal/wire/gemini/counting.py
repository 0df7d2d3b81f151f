"""How many tokens a request has: `:countTokens`. See https://ai.google.dev/api/tokens.

AI Studio counts a system instruction and tools only within a whole `generateContentRequest`; Vertex takes them beside `contents`.
"""

import msgspec

from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire.gemini.families import on_vertex, resource
from shoal.wire.gemini.members import decode
from shoal.wire.gemini.requests import compose, conversation_of

_COUNTED = ("contents", "systemInstruction", "tools", "generationConfig")


class _Counted(msgspec.Struct, rename="camel"):
    total_tokens: int


_counted = msgspec.json.Decoder(_Counted)


def read(body: bytes, model: str) -> Conversation:
    """What a caller wants counted, in either form of the request. Errors: Fault naming the parameter."""
    request = decode(body)
    whole = request.object("generateContentRequest")
    return conversation_of(request if whole is None else whole, model, stream=False)


def encode(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The call that counts this. Errors: Fault, as for asking it."""
    body, dropped = compose(conversation, deployment)
    name = resource(deployment.upstream_model)
    if on_vertex(deployment):
        wanted = {member: body[member] for member in _COUNTED if member in body}
    else:
        wanted = {"generateContentRequest": {"model": name} | body}
    return HttpCall(f"/{name}:countTokens", msgspec.json.encode(wanted), dropped=tuple(sorted(dropped)))


def tokens(body: bytes) -> int:
    """The count in an upstream's answer. Errors: Fault upstream_garbled."""
    try:
        return _counted.decode(body).total_tokens
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream's answer holds no count of tokens.") from None


def write(count: int, receipt: bytes) -> bytes:
    """The answer for a caller, with the receipt at its end."""
    return msgspec.json.encode({"totalTokens": count, "shoal": msgspec.Raw(receipt)})
