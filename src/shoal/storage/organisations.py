"""Organisations: who pays, how, and at what markup. The operator's own is always there, and pays nothing in advance unless told to."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import ColumnElement, exc, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR
from shoal.core.terms import MOST_NANO
from shoal.storage.audit import record
from shoal.storage.database import gate, writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.keys import change_key, read_keys
from shoal.storage.ledger import no_wallet, wallet
from shoal.storage.names import check_name
from shoal.storage.pages import Mark, cut
from shoal.storage.schema import accounts, api_keys, organisations, projects
from shoal.storage.versions import change_row, find_row, given

Ppm = Annotated[int, Meta(ge=0, le=100_000_000)]
"""Millionths above cost; at most a hundredfold."""

Amount = Annotated[int, Meta(ge=0, le=MOST_NANO)]
Markups = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=256)], Ppm], Meta(max_length=256)]


class Organisation(msgspec.Struct, frozen=True, kw_only=True):
    """One organisation. `markup_ppm` is charged above cost, in millionths, and `markups` instead of it by a model's name or `route/NAME`;
    `free_monthly_nano` is granted each month; below `low_balance_nano` there is an alert."""

    id: str
    name: str
    prepaid: bool
    markup_ppm: int
    markups: dict[str, int]
    free_monthly_nano: int
    low_balance_nano: int | None
    created_at_ms: int
    closed_at_ms: int | None = None
    version: int


class OrganisationEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed of an organisation; what is not given stays."""

    name: str | UnsetType = UNSET
    prepaid: bool | UnsetType = UNSET
    markup_ppm: Ppm | UnsetType = UNSET
    markups: Markups | UnsetType = UNSET
    free_monthly_nano: Amount | UnsetType = UNSET
    low_balance_nano: Amount | UnsetType | None = UNSET


class Organisations:
    """The organisations. Every change is one transaction, with its line in the audit log."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, edit: OrganisationEdit, *, actor: str) -> Organisation:
        """Make an organisation, prepaid unless it says otherwise, with its wallet and a first project. Errors: Fault."""
        values = _values(edit)
        first: dict[str, Any] = {"prepaid": True, "markup_ppm": 0, "markups": "{}", "free_monthly_nano": 0, "low_balance_nano": None}
        row = {**first, **values, "id": new_id("org_"), "created_at_ms": now_ms(), "version": 1, "closed_at_ms": None}
        if "name" not in row:
            raise Fault("missing_parameter", "An organisation needs a name.", param="name")
        try:
            async with writing(self._engine).begin() as connection:
                await connection.execute(insert(organisations).values(**row))
                await connection.execute(insert(accounts).values(id=wallet(row["id"]), org_id=row["id"], balance_nano=0))
                project = {"id": new_id("proj_"), "org_id": row["id"], "name": "default", "keep_bodies": False, "version": 1}
                await connection.execute(insert(projects).values(**project, created_at_ms=row["created_at_ms"]))
                await record(connection, actor, "organisation.create", row["id"], row["id"], given(edit))
        except exc.IntegrityError as error:
            raise _taken(row["name"]) from error
        return _organisation(row)

    async def find(self, org_id: str) -> Organisation:
        """One organisation, closed ones too. Errors: Fault not_found."""
        async with self._engine.connect() as connection:
            return _organisation(await find_row(connection, organisations, _is(org_id), no_wallet(org_id)))

    async def list_all(self, *, after: Mark | None = None, limit: int | None = None) -> list[Organisation]:
        """Every organisation, closed ones too, oldest first; a page of them by (created_at_ms, id)."""
        query = cut(select(organisations), (organisations.c.created_at_ms, organisations.c.id), after, limit)
        async with self._engine.connect() as connection:
            rows = await connection.execute(query)
            return [_organisation({**row}) for row in rows.mappings()]

    async def update(self, org_id: str, version: int, edit: OrganisationEdit, *, actor: str) -> Organisation:
        """Change an organisation, which its keys follow within a second. Errors: Fault not_found, conflict, invalid_value."""
        values = _values(edit)
        try:
            return await self._change(org_id, version, values, "organisation.update", actor)
        except exc.IntegrityError as error:
            raise _taken(str(values.get("name"))) from error

    async def close(self, org_id: str, version: int, *, actor: str) -> Organisation:
        """Close an organisation: its keys open nothing any more. Its money and its log stay, what else it has kept goes. Errors: Fault."""
        if org_id == OPERATOR:
            raise Fault("invalid_value", "The operator's own organisation cannot be closed.")
        return await self._change(org_id, version, {"closed_at_ms": now_ms()}, "organisation.close", actor)

    async def _change(self, org_id: str, version: int, values: dict[str, Any], action: str, actor: str) -> Organisation:
        async with writing(self._engine).begin() as connection:
            await gate(connection, "keys")
            changed = await change_row(connection, organisations, _is(org_id), version, values, no_wallet(org_id))
            if changed.before["closed_at_ms"] is not None:
                raise Fault("conflict", "The organisation is closed, for good: nothing of it can be changed any more.")
            await _touch_keys(connection, org_id)
            await record(connection, actor, action, org_id, org_id, changed.detail)
        return _organisation(changed.after)


async def _touch_keys(connection: AsyncConnection, org_id: str) -> None:
    for key in await read_keys(connection, (api_keys.c.org_id == org_id) & api_keys.c.revoked_at_ms.is_(None)):
        await change_key(connection, key.id, {})


def _values(edit: OrganisationEdit) -> dict[str, Any]:
    values = given(edit)
    if "name" in values:
        values["name"] = check_name(values["name"], "organisation's name")
    if "markups" in values:
        values["markups"] = msgspec.json.encode(values["markups"], order="sorted").decode()
    return values


def _organisation(row: dict[str, Any]) -> Organisation:
    return Organisation(**row | {"markups": msgspec.json.decode(row["markups"], type=dict[str, int])})


def _is(org_id: str) -> ColumnElement[bool]:
    return organisations.c.id == org_id


def _taken(name: str) -> Fault:
    return Fault("conflict", f'There is an organisation called "{name}" already.', param="name")
