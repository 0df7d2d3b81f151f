"""API keys: made once, shown once, kept as SHA-256, never deleted, so that the ledger's rows keep their owner.

Every change takes the next number of one `revision`; who remembers the greatest it saw asks for what changed since and misses nothing.
A secret has 256 random bits, so a plain hash is enough: there is nothing to guess and the look-up must be fast.
"""

import base64
import hashlib
import secrets
import time
import unicodedata

import msgspec
from sqlalchemy import ColumnElement, exc, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.database import writing
from shoal.storage.schema import api_keys

SECRET_PREFIX = "sk-shoal-"  # noqa: S105 - what every secret begins with
ID_PREFIX = "key_"
NAME_MAX_CHARS = 64


class Key(msgspec.Struct, frozen=True):
    """One key as the store knows it. `hint` is the secret's last four characters; times are milliseconds since 1970."""

    id: str
    name: str
    hash: bytes
    hint: str
    created_at_ms: int
    revoked_at_ms: int | None
    revision: int

    @property
    def active(self) -> bool:
        """Whether the key opens anything."""
        return self.revoked_at_ms is None


def hash_secret(secret: str | bytes) -> bytes:
    """What is stored of a secret: its SHA-256, 32 bytes. Any text is accepted, whatever a caller may have sent."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret).digest()


def check_name(name: str) -> str:
    """The name as it is stored (NFC). Raises Fault(invalid_value) unless it is 1 to 64 printable characters without outer spaces."""
    name = unicodedata.normalize("NFC", name)
    if not 1 <= len(name) <= NAME_MAX_CHARS:
        raise _bad_name(f"has {len(name)} characters; it must have 1 to {NAME_MAX_CHARS}")
    if not name.isprintable() or name != name.strip():
        raise _bad_name("must be printable: no control characters, line breaks or outer spaces")
    if name.startswith((SECRET_PREFIX, ID_PREFIX)):
        raise _bad_name(f"must not begin with {SECRET_PREFIX} or {ID_PREFIX}, like a secret or an id: names are shown openly")
    return name


class KeyStore:
    """The keys of an installation. Every method is one short transaction; writers of several processes take turns."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, name: str) -> str:
        """Make a key and return its secret, the only time it is known. Raises Fault(invalid_value) for a bad or taken name."""
        name = check_name(name)
        secret = SECRET_PREFIX + secrets.token_urlsafe(32)
        key_id = ID_PREFIX + base64.b32encode(secrets.token_bytes(10)).decode().lower()
        row = {"id": key_id, "name": name, "hash": hash_secret(secret), "hint": secret[-4:], "created_at_ms": _now_ms()}
        try:
            async with writing(self._engine).begin() as connection:
                await connection.execute(insert(api_keys).values(**row, revision=await _next_revision(connection)))
        except exc.IntegrityError as error:
            raise _bad_name(f'"{name}" is taken by an active key; choose another, or revoke that one first') from error
        return secret

    async def list_all(self) -> list[Key]:
        """Every key, revoked ones too, oldest first."""
        return await self._read(None)

    async def changed_since(self, revision: int) -> list[Key]:
        """Keys made or revoked after `revision`, in the order of the changes; 0 gives all. The last one's revision is the next question."""
        return await self._read(api_keys.c.revision > revision)

    async def find(self, digest: bytes) -> Key | None:
        """The key whose secret has this SHA-256, active or revoked; None when there is none."""
        return next(iter(await self._read(api_keys.c.hash == digest)), None)

    async def revoke(self, which: str) -> Key:
        """Revoke a key by id, by the name of an active key, or by its secret. Revoking twice changes nothing. Raises Fault(not_found)."""
        async with writing(self._engine).begin() as connection:
            key = await _identify(connection, which)
            if not key.active:
                return key
            change = {"revoked_at_ms": max(_now_ms(), key.created_at_ms), "revision": await _next_revision(connection)}
            await connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(**change))
        return msgspec.structs.replace(key, **change)

    async def _read(self, where: ColumnElement[bool] | None) -> list[Key]:
        query = select(api_keys).order_by(api_keys.c.revision if where is not None else api_keys.c.created_at_ms)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query if where is None else query.where(where))
            return [Key(*row) for row in rows]


async def _identify(connection: AsyncConnection, which: str) -> Key:
    if which.startswith(SECRET_PREFIX):
        where = api_keys.c.hash == hash_secret(which)
    elif which.startswith(ID_PREFIX):
        where = api_keys.c.id == which
    else:
        where = (api_keys.c.name == unicodedata.normalize("NFC", which)) & api_keys.c.revoked_at_ms.is_(None)
    row = (await connection.execute(select(api_keys).where(where))).first()
    if row is None:
        shown = "this secret" if which.startswith(SECRET_PREFIX) else f'"{which}"'
        raise Fault("not_found", f"No active key is named {shown}, and no key has it as its id: `shoal keys list` shows them.")
    return Key(*row)


async def _next_revision(connection: AsyncConnection) -> int:
    greatest: int | None = (await connection.execute(select(func.max(api_keys.c.revision)))).scalar()
    return (greatest or 0) + 1


def _bad_name(what: str) -> Fault:
    return Fault("invalid_value", f"The key's name {what}.", param="name")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
