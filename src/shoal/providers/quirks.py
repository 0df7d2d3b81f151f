"""The few differences of a provider from its dialect, applied to a request's body: data in, bytes out, nothing else is touched.

What is dropped is a member of the request, or, as `messages[].NAME`, of each of its messages.
"""

import msgspec

from shoal.providers.row import Quirks

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_OF_MESSAGES = "messages[]."
# the gateway sets the one itself, and gives the caller what was asked for whatever the upstream does; the other stands in the path then
_OURS = ("stream_options", "model")


def apply_quirks(body: bytes, quirks: Quirks) -> tuple[bytes, tuple[str, ...]]:
    """The body as the provider wants it, and the names of what was dropped. `body` is a JSON object, as a dialect has made it.

    The body itself comes back when nothing in it has to change; that takes a search for a few names and no parsing.
    """
    if not (quirks.drop or quirks.rename or quirks.default):
        return body, ()
    if not any(_occurs(name.removeprefix(_OF_MESSAGES), body) for name in (*quirks.drop, *quirks.rename, *quirks.default)):
        return (body, ()) if not quirks.default else (_append(body, quirks), ())
    members = _members.decode(body)
    dropped = tuple(name for name in quirks.drop if _drop(members, name))
    changed = bool(dropped)
    dropped = tuple(name for name in dropped if name not in _OURS)
    for old, new in quirks.rename.items():
        if old in members:
            changed = True
            members = {new if name == old else name: raw for name, raw in members.items() if name != new or old == new or name == old}
    for name, value in quirks.default.items():
        if name not in members:
            changed = True
            members[name] = msgspec.Raw(_encode(value))
    return (_encode(members), dropped) if changed else (body, ())


def _drop(members: dict[str, msgspec.Raw], name: str) -> bool:
    """Leave one member out; whether it was there. Messages that are none are left to the provider's own refusal."""
    if not name.startswith(_OF_MESSAGES):
        return members.pop(name, None) is not None
    inner, raw = name.removeprefix(_OF_MESSAGES), bytes(members.get("messages", b""))
    if not _occurs(inner, raw):
        return False
    try:
        messages = _messages.decode(raw)
    except msgspec.ValidationError:
        return False
    having = [message for message in messages if inner in message]
    if not having:
        return False
    for message in having:
        del message[inner]
    members["messages"] = msgspec.Raw(_encode(messages))
    return True


def _occurs(name: str, body: bytes) -> bool:
    return b'"' + name.encode() + b'"' in body


def _append(body: bytes, quirks: Quirks) -> bytes:
    """The object with members at its end that do not occur in it."""
    end = body.rindex(b"}")
    comma = b"" if body[:end].rstrip().endswith(b"{") else b","
    return body[:end] + comma + _encode(quirks.default)[1:-1] + body[end:]
