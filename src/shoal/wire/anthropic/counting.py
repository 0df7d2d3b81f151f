"""Counting the tokens of a request before it is asked (https://platform.claude.com/docs/en/api/messages-count-tokens)."""

from typing import Annotated

import msgspec

from shoal.core.chat import members_of, splice
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire.anthropic import requests

_COUNTED = {
    *("model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"),
    *("cache_control", "speed", "mcp_servers", "context_management"),
}


class _Count(msgspec.Struct):
    input_tokens: Annotated[int, msgspec.Meta(ge=0)]


_count = msgspec.json.Decoder(_Count)


def write(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The call that counts the input of this conversation. Errors: Fault, as for the request itself."""
    return forward(requests.write(conversation, deployment), deployment)


def forward(call: HttpCall, deployment: Deployment) -> HttpCall:
    """The call that counts what `call`, a request of this dialect, would ask."""
    members = members_of(call.body)
    model = msgspec.json.encode(deployment.upstream_model)
    body = splice(call.body, {"model": model}, tuple(name for name in members if name not in _COUNTED))
    return HttpCall("/messages/count_tokens", body, call.headers, call.dropped)


def read(body: bytes) -> int:
    """Tokens of input. Errors: Fault upstream_garbled."""
    try:
        return _count.decode(body).input_tokens
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not a count of tokens.") from None


def write_count(tokens: int) -> bytes:
    """The body that tells a caller how many tokens of input its request has."""
    return msgspec.json.encode(_Count(tokens))
