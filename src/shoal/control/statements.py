"""Statements of account: what a wallet held, every change of it, and what it held then; as JSON and as CSV. Use is summed up by day."""

import msgspec
from litestar import Response, get

from shoal.control.actor import Actor
from shoal.control.amounts import moment_text
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import Id
from shoal.control.usage import Day, read_days
from shoal.core.money import usd_text
from shoal.storage.statements import Position, Statement
from shoal.storage.store import Store
from shoal.storage.windows import DAY_MS


class PositionView(msgspec.Struct, frozen=True, kw_only=True):
    """One line: a movement, or all use of one day."""

    at: str | None
    kind: str
    reference: str
    memo: str
    amount_usd: str
    balance_usd: str


class StatementView(msgspec.Struct, frozen=True, kw_only=True):
    """What a wallet held at the beginning, what changed it, and what it held at the end, which is not included."""

    organisation_id: str
    begins_at: str | None
    ends_at: str | None
    opening_usd: str
    positions: list[PositionView]
    closing_usd: str


@get("/organisations/{org_id:str}/wallet/statement")
async def get_statement(org_id: Id, actor: GivenActor, store: GivenStore, since: Day = None, until: Day = None) -> StatementView:
    """A wallet's statement over some days, the last 31 unless it says otherwise."""
    return show(await _make(org_id, actor, store, since, until))


@get("/organisations/{org_id:str}/wallet/statement.csv", media_type="text/csv")
async def get_statement_csv(org_id: Id, actor: GivenActor, store: GivenStore, since: Day = None, until: Day = None) -> Response[str]:
    """The same as CSV (RFC 4180)."""
    statement = await _make(org_id, actor, store, since, until)
    headers = {"content-disposition": f'attachment; filename="statement-{org_id}.csv"'}
    return Response(statement.csv(), media_type="text/csv", headers=headers)


HANDLERS = [get_statement, get_statement_csv]


def show(statement: Statement) -> StatementView:
    """A statement as it is shown."""
    return StatementView(
        organisation_id=statement.org_id,
        begins_at=moment_text(statement.from_ms),
        ends_at=moment_text(statement.to_ms),
        opening_usd=usd_text(statement.opening_nano),
        positions=[_show(one) for one in statement.positions],
        closing_usd=usd_text(statement.closing_nano),
    )


def _show(one: Position) -> PositionView:
    return PositionView(
        at=moment_text(one.at_ms),
        kind=one.kind,
        reference=one.reference,
        memo=one.memo,
        amount_usd=usd_text(one.amount_nano),
        balance_usd=usd_text(one.balance_nano),
    )


async def _make(org_id: str, actor: Actor, store: Store, since: str | None, until: str | None) -> Statement:
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    first, last = read_days(since, until)
    return await store.statements.make(org_id, first * DAY_MS, (last + 1) * DAY_MS)
