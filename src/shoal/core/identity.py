"""Who asks."""

import msgspec


class Principal(msgspec.Struct, frozen=True):
    """The holder of a key: `key_id` is what the ledger knows, `name` what the operator calls it."""

    key_id: str
    name: str


class KeyRecord(msgspec.Struct, frozen=True):
    """A key as the store knows it. `revision` grows with every change of any key; `digest` is the secret's SHA-256."""

    id: str
    name: str
    digest: bytes
    revision: int
    revoked: bool = False
