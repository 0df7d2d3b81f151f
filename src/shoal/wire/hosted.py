"""Tools that an upstream runs itself (web search, code, maps): each dialect takes those that it knows and refuses the others by place."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Conversation
from shoal.core.errors import Fault

Knows = Callable[[Mapping[str, Any]], bool]
_members = msgspec.json.Decoder(dict[str, Any])


def write(conversation: Conversation, knows: Knows | None = None) -> list[msgspec.Raw]:
    """The tools as they were given. Errors: Fault unsupported_parameter for the first that this upstream does not run."""
    for tool in conversation.hosted:
        members = _members.decode(tool.raw)
        if knows is None or not knows(members):
            what = members.get("type") or next(iter(members), "")
            text = f"'{tool.place}' ({what}) is a tool that only its own provider runs; ask a model of theirs, or offer a function instead."
            raise Fault("unsupported_parameter", text, param=tool.place)
    return [tool.raw for tool in conversation.hosted]
