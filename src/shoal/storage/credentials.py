"""Keys for providers, encrypted at rest: the database alone, or a copy of it, opens nothing.

AES-256-GCM under one secret of the installation: SHOAL_SECRET, or else a file of 32 random bytes in SHOAL_HOME that only its owner can
read. Each text is bound to its provider and its own id, so that none can be put in another's place.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.database import writing
from shoal.storage.schema import provider_keys

SECRET_FILE = "secret.key"  # noqa: S105 - a file's name
SECRET_VARIABLE = "SHOAL_SECRET"  # noqa: S105 - a variable's name
_SECRET_BYTES, _NONCE_BYTES, _PASSWORD_MIN = 32, 12, 16


class StoredKey(msgspec.Struct, frozen=True):
    """A key as it may be shown: `hint` is its last four characters."""

    id: str
    provider: str
    hint: str
    created_at_ms: int


def read_secret(home: Path, environ: Mapping[str, str]) -> bytes:
    """The installation's secret, 32 bytes; its file is made when there is none. Raises Fault when it is not usable, or open to others."""
    password = environ.get(SECRET_VARIABLE)
    if password:
        if len(password) < _PASSWORD_MIN:
            raise Fault("invalid_value", f"{SECRET_VARIABLE} must have at least {_PASSWORD_MIN} characters.", param=SECRET_VARIABLE)
        return hashlib.scrypt(password.encode(), salt=b"shoal provider keys", n=2**14, r=8, p=1, dklen=_SECRET_BYTES)
    path = home / SECRET_FILE
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _create(path)
        if path.stat().st_mode & 0o077:
            raise Fault("invalid_value", f"{path} can be read by others: chmod 600 it, and change the keys of your providers.")
        secret = path.read_bytes()
    except OSError as error:
        raise Fault("internal", f"The secret in {path} cannot be read ({error.strerror}).") from None
    if len(secret) != _SECRET_BYTES:
        raise Fault("invalid_value", f"{path} is not a secret of Shoal's: it must hold {_SECRET_BYTES} bytes.")
    return secret


def _create(path: Path) -> None:
    """Write the file whole or not at all, and never over another; whoever comes second takes the first's."""
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, secrets.token_bytes(_SECRET_BYTES))
        os.fsync(file)
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        os.close(file)
        draft.unlink()


class Credentials:
    """The stored keys for providers. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def put(self, provider: str, key: str, secret: bytes, *, keep: bool = False) -> None:
        """Store a key for a provider, in the place of those that are there, or, with `keep`, beside them. Raises Fault for no real key."""
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise Fault("invalid_value", "The key must be of printable ASCII characters, without spaces.", param="key")
        key_id = "pk_" + secrets.token_hex(8)
        row = {"id": key_id, "provider": provider, "sealed": _seal(key, provider, key_id, secret), "hint": key[-4:]}
        async with writing(self._engine).begin() as connection:
            if not keep:
                await connection.execute(delete(provider_keys).where(provider_keys.c.provider == provider))
            await connection.execute(insert(provider_keys).values(**row, created_at_ms=time.time_ns() // 1_000_000))

    async def remove(self, provider: str) -> int:
        """Forget a provider's keys; how many there were."""
        async with writing(self._engine).begin() as connection:
            done = await connection.execute(delete(provider_keys).where(provider_keys.c.provider == provider))
        return int(done.rowcount)

    async def list_all(self) -> list[StoredKey]:
        """What is stored, without the keys themselves, oldest first."""
        columns = (provider_keys.c.id, provider_keys.c.provider, provider_keys.c.hint, provider_keys.c.created_at_ms)
        async with self._engine.connect() as connection:
            rows = await connection.execute(select(*columns).order_by(provider_keys.c.created_at_ms, provider_keys.c.id))
            return [StoredKey(*row) for row in rows]

    async def open_all(self, home: Path, environ: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
        """Every key by its provider. Raises Fault when the secret is not the one they were stored under; without keys it is not read."""
        columns = (provider_keys.c.provider, provider_keys.c.id, provider_keys.c.sealed)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(select(*columns).order_by(provider_keys.c.created_at_ms, provider_keys.c.id))).all()
        secret = read_secret(home, environ) if rows else b""
        found: dict[str, tuple[str, ...]] = {}
        for provider, key_id, sealed in rows:
            found[provider] = (*found.get(provider, ()), _open(sealed, provider, key_id, secret))
        return found


def _seal(key: str, provider: str, key_id: str, secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(secret).encrypt(nonce, key.encode(), f"{provider}\n{key_id}".encode())


def _open(sealed: bytes, provider: str, key_id: str, secret: bytes) -> str:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(secret).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], f"{provider}\n{key_id}".encode()).decode()
    except InvalidTag:
        text = f"The stored key for {provider!r} does not open: {SECRET_VARIABLE} or {SECRET_FILE} is not the one it was stored under."
        raise Fault("invalid_value", f"{text} Set it again: shoal providers set-key {provider}") from None
