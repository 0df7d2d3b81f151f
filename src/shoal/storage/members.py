"""Members of organisations and their roles."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy import ColumnElement, exc, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.audit import record
from shoal.storage.database import gate, writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.keys import read_keys, revoke_key
from shoal.storage.ledger import no_wallet
from shoal.storage.names import check_email, check_name
from shoal.storage.pages import Mark, cut
from shoal.storage.schema import api_keys, members, organisations
from shoal.storage.versions import change_row, find_row, given

Role = Literal["owner", "admin", "developer", "viewer"]


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One member."""

    id: str
    org_id: str
    email: str
    name: str
    role: Role
    created_at_ms: int
    removed_at_ms: int | None = None
    version: int


class MemberEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed of a member; what is not given stays."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET


class Members:
    """The members of organisations. Every change is one transaction, with its line in the audit log."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def add(self, org_id: str, edit: MemberEdit, *, actor: str) -> Member:
        """Add a member, a viewer unless it says otherwise, known by its address alone if it has no name. Errors: Fault."""
        values = _values(edit)
        if "email" not in values:
            raise Fault("missing_parameter", "A member needs an email address.", param="email")
        row = {"name": values["email"][:64], "role": "viewer", **values, "id": new_id("mem_"), "org_id": org_id}
        row |= {"created_at_ms": now_ms(), "removed_at_ms": None, "version": 1}
        try:
            async with writing(self._engine).begin() as connection:
                await find_row(connection, organisations, organisations.c.id == org_id, no_wallet(org_id))
                await connection.execute(insert(members).values(**row))
                await record(connection, actor, "member.add", org_id, row["id"], given(edit))
        except exc.IntegrityError as error:
            raise _taken() from error
        return Member(**row)

    async def find(self, org_id: str, member_id: str) -> Member:
        """One member of an organisation. Errors: Fault not_found."""
        async with self._engine.connect() as connection:
            return Member(**await find_row(connection, members, _is(org_id, member_id), _missing(member_id)))

    async def list_of(self, org_id: str, *, after: Mark | None = None, limit: int | None = None) -> list[Member]:
        """An organisation's members, without those who were removed, oldest first; a page of them by (created_at_ms, id)."""
        here = (members.c.org_id == org_id) & members.c.removed_at_ms.is_(None)
        query = cut(select(members).where(here), (members.c.created_at_ms, members.c.id), after, limit)
        async with self._engine.connect() as connection:
            return [Member(**row) for row in (await connection.execute(query)).mappings()]

    async def update(self, org_id: str, member_id: str, version: int, edit: MemberEdit, *, actor: str) -> Member:
        """Change a member. The last owner stays one. Errors: Fault not_found, conflict, invalid_value."""
        values = _values(edit)
        try:
            async with writing(self._engine).begin() as connection:
                await gate(connection, "keys")
                if values.get("role", "owner") != "owner":
                    await _keep_an_owner(connection, org_id, member_id)
                changed = await change_row(connection, members, _is(org_id, member_id), version, values, _missing(member_id))
                await record(connection, actor, "member.update", org_id, member_id, changed.detail)
        except exc.IntegrityError as error:
            raise _taken() from error
        return Member(**changed.after)

    async def remove(self, org_id: str, member_id: str, version: int, *, actor: str) -> Member:
        """Remove a member, whose keys are revoked. The last owner stays. Errors: Fault."""
        async with writing(self._engine).begin() as connection:
            await gate(connection, "keys")
            await _keep_an_owner(connection, org_id, member_id)
            change = {"removed_at_ms": now_ms()}
            changed = await change_row(connection, members, _is(org_id, member_id), version, change, _missing(member_id))
            for key in await read_keys(connection, (api_keys.c.member_id == member_id) & api_keys.c.replaced_by.is_(None)):
                await revoke_key(connection, key)
            await record(connection, actor, "member.remove", org_id, member_id)
        return Member(**changed.after)


async def _keep_an_owner(connection: AsyncConnection, org_id: str, member_id: str) -> None:
    owners = (members.c.org_id == org_id) & (members.c.role == "owner") & members.c.removed_at_ms.is_(None)
    query = select(func.count(), func.count().filter(members.c.id == member_id)).where(owners)
    everyone, this_one = (await connection.execute(query)).one()
    if this_one and everyone == 1:
        raise Fault("invalid_value", "An organisation must keep an owner: make somebody else one first.", param="role")


def _values(edit: MemberEdit) -> dict[str, Any]:
    values = given(edit)
    if "email" in values:
        values["email"] = check_email(values["email"])
    if "name" in values:
        values["name"] = check_name(values["name"], "member's name")
    return values


def _is(org_id: str, member_id: str) -> ColumnElement[bool]:
    return (members.c.org_id == org_id) & (members.c.id == member_id) & members.c.removed_at_ms.is_(None)


def _missing(member_id: str) -> Fault:
    return Fault("not_found", f"There is no member {member_id[:64]!r}.", param="member")


def _taken() -> Fault:
    return Fault("conflict", "There is a member with this email address already.", param="email")
