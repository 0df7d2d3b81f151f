"""Who asks."""

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """The holder of a key: `key_id` is what the ledger knows, `name` what the operator calls it."""

    key_id: str
    name: str
