"""Whom a worker has let in, as it tells the desk: headers that nobody else can set, since a worker hands on none of a caller's own."""

from collections.abc import Iterable, Mapping

import msgspec

from shoal.core.identity import Principal

_KEY, _ORG, _PROJECT = b"x-shoal-caller-key", b"x-shoal-caller-org", b"x-shoal-caller-project"


class Caller(msgspec.Struct, frozen=True):
    """Who asks: a key, and whose it is. What it may see and do is its project's."""

    key_id: str
    org_id: str
    project_id: str


def write_caller(principal: Principal) -> list[tuple[bytes, bytes]]:
    """The headers that say who asks."""
    return [(_KEY, principal.key_id.encode()), (_ORG, principal.org_id.encode()), (_PROJECT, principal.project_id.encode())]


def read_caller(fields: Iterable[tuple[bytes, bytes]]) -> Caller | None:
    """Who asks; None where that is not said whole, and once."""
    found: Mapping[bytes, list[str]] = {_KEY: [], _ORG: [], _PROJECT: []}
    for name, value in fields:
        if name in found:
            found[name].append(value.decode("latin-1"))
    if any(len(values) != 1 or not values[0] for values in found.values()):
        return None
    return Caller(*(values[0] for values in found.values()))
