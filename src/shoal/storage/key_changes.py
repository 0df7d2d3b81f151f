"""What becomes of a key after it was made: new terms, a new secret, its end. The key's id stays, and with it what it has used.

After a rotation the earlier secret is a row of its own, `replaced_by` the key, until it expires: it spends what the key may spend.
"""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, exc, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.core.terms import Terms
from shoal.storage.audit import record
from shoal.storage.database import gate, writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.keys import (
    ID_PREFIX,
    Key,
    change_key,
    check_name,
    hash_secret,
    name_taken,
    new_secret,
    next_revision,
    read_keys,
    revoke_key,
)
from shoal.storage.schema import api_keys, leases
from shoal.storage.versions import change_row, given

MOST_GRACE_S = 30 * 86_400.0


class KeyEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed of a key; what is not given stays. `terms` are changed as a whole."""

    name: str | UnsetType = UNSET
    terms: Terms | UnsetType = UNSET
    expires_at_ms: int | UnsetType | None = UNSET


class KeyChanges:
    """Changes of an organisation's keys. Every change is one transaction, with its line in the audit log."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, org_id: str, key_id: str) -> Key:
        """One key of an organisation. Errors: Fault not_found."""
        async with self._engine.connect() as connection:
            return await _find(connection, org_id, key_id)

    async def update(self, org_id: str, key_id: str, version: int, edit: KeyEdit, *, actor: str) -> Key:
        """Change a key; running servers follow within a second. Errors: Fault not_found, conflict, invalid_value."""
        values = _values(edit)
        try:
            async with writing(self._engine).begin() as connection:
                await gate(connection, "keys")
                await _find_active(connection, org_id, key_id)
                changed = await change_row(connection, api_keys, _is(org_id, key_id), version, values, _missing(key_id))
                for one in await read_keys(connection, (api_keys.c.id == key_id) | (api_keys.c.replaced_by == key_id)):
                    earlier = {name: value for name, value in values.items() if name != "expires_at_ms"}
                    await change_key(connection, one.id, values if one.id == key_id else earlier)
                await _recall(connection, key_id)
                await record(connection, actor, "key.update", org_id, key_id, changed.detail)
                return await _find(connection, org_id, key_id)
        except exc.IntegrityError as error:
            raise name_taken(str(values.get("name"))) from error

    async def rotate(self, org_id: str, key_id: str, version: int, *, grace_s: float, actor: str) -> tuple[Key, str]:
        """Give a key a new secret, and return it, the only time it is known. The earlier is good for `grace_s` more. Errors: Fault."""
        if not 0 <= grace_s <= MOST_GRACE_S:
            raise Fault("invalid_value", "The grace period must be between 0 and 30 days.", param="grace_s")
        secret = new_secret()
        async with writing(self._engine).begin() as connection:
            await gate(connection, "keys")
            key = await _find_active(connection, org_id, key_id)
            change = {"hash": hash_secret(secret), "hint": secret[-4:]}
            await change_row(connection, api_keys, _is(org_id, key_id), version, change, _missing(key_id))
            await _keep_earlier(connection, key, grace_s)
            await change_key(connection, key_id, {})
            await record(connection, actor, "key.rotate", org_id, key_id, {"grace_s": grace_s})
            return await _find(connection, org_id, key_id), secret

    async def stand_in(self, org_id: str, key_id: str, *, expires_at_ms: int) -> tuple[str, str]:
        """Another secret of a key, for what the server does in its name, from wherever: its row's id, and itself. Errors: Fault.

        It spends what the key may spend, and may no more than that one.
        """
        secret = new_secret()
        async with writing(self._engine).begin() as connection:
            await gate(connection, "keys")
            key = await _find_active(connection, org_id, key_id)
            lent = msgspec.structs.replace(
                key, hash=hash_secret(secret), hint=secret[-4:], terms=msgspec.structs.replace(key.terms, ips=None)
            )
            row_id = await _keep_beside(connection, lent, expires_at_ms, None)
        return row_id, secret

    async def revoke(self, org_id: str, key_id: str, *, actor: str) -> Key:
        """Revoke a key and its earlier secrets. Revoking twice changes nothing. Errors: Fault not_found."""
        async with writing(self._engine).begin() as connection:
            await gate(connection, "keys")
            key = await _find(connection, org_id, key_id)
            if key.revoked_at_ms is None:
                key = await revoke_key(connection, key)
                await _recall(connection, key_id)
                await record(connection, actor, "key.revoke", org_id, key_id)
        return key


async def _find(connection: AsyncConnection, org_id: str, key_id: str) -> Key:
    found = await read_keys(connection, _is(org_id, key_id))
    if not found:
        raise _missing(key_id)
    return found[0]


async def _find_active(connection: AsyncConnection, org_id: str, key_id: str) -> Key:
    key = await _find(connection, org_id, key_id)
    if not key.active:
        raise Fault("invalid_value", "The key is revoked, for good: make another.", param="key")
    return key


async def _keep_earlier(connection: AsyncConnection, key: Key, grace_s: float) -> None:
    """The secret that a key had, as a row of its own: also where it is good no more, so that every process hears of it."""
    now = now_ms()
    await _keep_beside(connection, key, now + int(grace_s * 1000), None if grace_s else max(now, key.created_at_ms))


async def _keep_beside(connection: AsyncConnection, key: Key, ends: int, revoked_at_ms: int | None) -> str:
    """A row for a secret that is not the key's own (any more); its id."""
    row = {
        "id": new_id(ID_PREFIX),
        "name": key.name,
        "hash": key.hash,
        "hint": key.hint,
        "created_at_ms": key.created_at_ms,
        "revoked_at_ms": revoked_at_ms,
        "org_id": key.org_id,
        "project_id": key.project_id,
        "member_id": key.member_id,
        "kind": key.kind,
        "terms": msgspec.json.encode(key.terms).decode(),
        "expires_at_ms": ends if key.expires_at_ms is None else min(ends, key.expires_at_ms),
        "replaced_by": key.id,
        "version": 1,
    }
    await connection.execute(insert(api_keys).values(**row, revision=await next_revision(connection)))
    return str(row["id"])


async def _recall(connection: AsyncConnection, key_id: str) -> None:
    """Processes that hold money for a key give back what is free, and see its terms anew when they borrow again."""
    query = select(leases.c.id).where(leases.c.key_id == key_id).order_by(leases.c.id).with_for_update()
    ids = (await connection.execute(query)).scalars().all()
    await connection.execute(update(leases).where(leases.c.id.in_(ids)).values(recalled=True))


def _values(edit: KeyEdit) -> dict[str, Any]:
    values = given(edit)
    if "name" in values:
        values["name"] = check_name(values["name"])
    if "terms" in values:
        values["terms"] = msgspec.json.encode(values["terms"]).decode()
    if values.get("expires_at_ms") is not None and not 0 < values["expires_at_ms"] < 2**48:
        raise Fault("invalid_value", "The key must expire at a moment of this era, in milliseconds since 1970.", param="expires_at_ms")
    return values


def _is(org_id: str, key_id: str) -> ColumnElement[bool]:
    return (api_keys.c.org_id == org_id) & (api_keys.c.id == key_id) & api_keys.c.replaced_by.is_(None)


def _missing(key_id: str) -> Fault:
    return Fault("not_found", f"There is no key {key_id[:64]!r}.", param="key")
