"""Asks a provider to go on from the beginning of an answer, in the way its row says."""

import msgspec

from shoal.providers.registry import Provider

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_messages = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.Encoder().encode


def begin(provider: Provider, body: bytes, path: str) -> tuple[bytes, str]:
    """The request's body and path with the row's own words for it; the body's last message is the beginning."""
    how = provider.prefill
    if how is None or not (how.message or how.body or how.path):
        return body, path
    members = _members.decode(body)
    if how.message and "messages" in members:
        messages = _messages.decode(members["messages"])
        last = _members.decode(messages[-1]) | {name: msgspec.Raw(_encode(value)) for name, value in how.message.items()}
        members["messages"] = msgspec.Raw(_encode([*messages[:-1], msgspec.Raw(_encode(last))]))
    members |= {name: msgspec.Raw(_encode(value)) for name, value in how.body.items()}
    return _encode(members), how.path or path
