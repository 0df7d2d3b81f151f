"""The few differences of a provider from its dialect, applied to a request's body: data in, bytes out, nothing else is touched."""

import msgspec

from shoal.providers.row import Quirks

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_OURS = "stream_options"  # the gateway sets it itself, and gives the caller what was asked for whatever the upstream does


def apply_quirks(body: bytes, quirks: Quirks) -> tuple[bytes, tuple[str, ...]]:
    """The body as the provider wants it, and the names of what was dropped. `body` is a JSON object, as a dialect has made it.

    The body itself comes back when nothing in it has to change; that takes a search for a few names and no parsing.
    """
    if not (quirks.drop or quirks.rename or quirks.default):
        return body, ()
    if not any(_occurs(name, body) for name in (*quirks.drop, *quirks.rename, *quirks.default)):
        return (body, ()) if not quirks.default else (_append(body, quirks), ())
    members = _members.decode(body)
    dropped = tuple(name for name in quirks.drop if members.pop(name, None) is not None)
    changed = bool(dropped)
    dropped = tuple(name for name in dropped if name != _OURS)
    for old, new in quirks.rename.items():
        if old in members:
            changed = True
            members = {new if name == old else name: raw for name, raw in members.items() if name != new or old == new or name == old}
    for name, value in quirks.default.items():
        if name not in members:
            changed = True
            members[name] = msgspec.Raw(_encode(value))
    return (_encode(members), dropped) if changed else (body, ())


def _occurs(name: str, body: bytes) -> bool:
    return b'"' + name.encode() + b'"' in body


def _append(body: bytes, quirks: Quirks) -> bytes:
    """The object with members at its end that do not occur in it."""
    end = body.rindex(b"}")
    comma = b"" if body[:end].rstrip().endswith(b"{") else b","
    return body[:end] + comma + _encode(quirks.default)[1:-1] + body[end:]
