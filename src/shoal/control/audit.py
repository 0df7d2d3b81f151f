"""The audit log: who did what to whom. Nobody can change it, the database included."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter

from shoal.control.amounts import moment_text
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import NUMBER, Cursor, Id, Limit, Page, by_number, paged, read_cursor
from shoal.storage.audit import Act
from shoal.storage.store import Store


class ActView(msgspec.Struct, frozen=True, kw_only=True):
    """One act. `actor` is the key that acted, or "cli"; `detail` says what was changed, without secrets."""

    id: int
    at: str | None
    actor: str
    action: str
    organisation_id: str | None
    target: str
    detail: dict[str, msgspec.Raw]


@get("/audit")
async def list_audit(
    actor: GivenActor,
    store: GivenStore,
    organisation_id: Annotated[str | None, Parameter(max_length=64)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ActView]:
    """All acts, newest first (the operator)."""
    actor.require_operator()
    return await _read(store, organisation_id, limit, cursor)


@get("/organisations/{org_id:str}/audit")
async def list_organisation_audit(
    org_id: Id, actor: GivenActor, store: GivenStore, limit: Limit = 50, cursor: Cursor = None
) -> Page[ActView]:
    """The acts of an organisation, newest first."""
    actor.require("admin", org_id)
    await store.organisations.find(org_id)
    return await _read(store, org_id, limit, cursor)


HANDLERS = [list_audit, list_organisation_audit]


async def _read(store: Store, org_id: str | None, limit: int, cursor: str | None) -> Page[ActView]:
    after = read_cursor(cursor, NUMBER)
    rows = await store.audit.read(org_id, before=None if after is None else after[0], limit=limit + 1)
    return paged(rows, limit, show, by_number)


def show(act: Act) -> ActView:
    """An act as it is shown."""
    return ActView(
        id=act.id,
        at=moment_text(act.at_ms),
        actor=act.actor,
        action=act.action,
        organisation_id=act.org_id,
        target=act.target,
        detail=act.detail,
    )
