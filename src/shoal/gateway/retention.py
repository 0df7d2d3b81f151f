"""Zero retention: of a request whose caller wants it, nothing is kept but the bill.

No stored response, no cache entry; the caller still gets the whole receipt in its answer, the ledger one without a word of the caller's.
"""

from collections.abc import Mapping

import msgspec

from shoal.core.errors import Fault
from shoal.core.ledger import Entry

HEADER = b"x-shoal-retention"
Setting = str | None
"""A key's own setting: "none" keeps nothing, whatever its requests say; None leaves it to them."""

KEPT = (
    *("id", "model", "provider", "policy", "attempts", "cost_usd", "charged_usd", "excess_usd", "usage"),
    *("overhead_ms", "first_byte_ms", "duration_ms"),
    "cache",
)
"""Members of a receipt that the gateway wrote from its own knowledge. `dropped` and `warnings` may quote the caller."""

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


def wish(headers: Mapping[bytes, bytes], setting: Setting = None) -> bool:
    """Whether nothing may be kept: the request's `x-shoal-retention: none`, or its key's setting, which a request cannot loosen.

    Errors: Fault invalid_value naming the header.
    """
    given = headers.get(HEADER)
    if given is not None and given.strip().lower() != b"none":
        shown = given[:40].decode("latin-1")
        text = f"Invalid header 'x-shoal-retention': {shown!r}; use 'none', or leave it out to keep what is usually kept."
        raise Fault("invalid_value", text, param=HEADER.decode())
    return given is not None or setting == "none"


def withhold(entry: Entry) -> Entry:
    """The ledger's entry without what the caller wrote: counts, times, cost and who answered stay.

    The model's name stays where it is one: a name that nothing answers to is just a text of the caller's.
    """
    members = _members.decode(entry.receipt) if bytes(entry.receipt) != b"null" else {}
    kept = {name: members[name] for name in KEPT if name in members}
    requested = entry.requested_model if entry.model else ""
    bare = msgspec.json.encode({**kept, "requested": requested or None, "retention": "none"})
    return msgspec.structs.replace(entry, receipt=msgspec.Raw(bare), requested_model=requested, user_id="")
