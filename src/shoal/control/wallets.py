"""Wallets: what is in them, how money gets in, and the statement of what became of it.

A movement is made once: the same reference again moves nothing. An amount of a statement is what the wallet gained, or lost.
"""

from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta

from shoal.control.amounts import Usd, moment_text, nano_of, require_usd
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import NUMBER, Cursor, Id, Limit, Page, by_number, paged, read_cursor
from shoal.core.errors import Fault
from shoal.core.money import usd_text
from shoal.core.terms import MOST_NANO
from shoal.storage.identifiers import new_id
from shoal.storage.ledger import Line
from shoal.storage.store import Store

Reference = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="Your own name of it: a second top-up of the same name moves nothing."),
]
Memo = Annotated[str, Meta(max_length=512)]
Currency = Annotated[str, Meta(max_length=16)]


class WalletView(msgspec.Struct, frozen=True, kw_only=True):
    """A wallet. `held_usd` of its balance is lent to processes, for requests that run or will."""

    organisation_id: str
    prepaid: bool
    balance_usd: str
    held_usd: str
    available_usd: str


class TopUp(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Money into a wallet."""

    amount_usd: Usd
    reference: Reference | None = None
    memo: Memo = ""
    currency: Currency = "usd"


class Adjustment(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A correction of a wallet, up or down, and why."""

    amount_usd: Usd
    memo: Annotated[str, Meta(min_length=1, max_length=512)]
    reference: Reference | None = None
    currency: Currency = "usd"


class Redemption(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A code that is worth something, once."""

    code: Annotated[str, Meta(min_length=1, max_length=128)]


class MovedView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of moving money: `applied` is false where the reference had been used. The wallet is as it is now."""

    applied: bool
    reference: str
    amount_usd: str
    wallet: WalletView


class LineView(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a statement."""

    id: int
    at: str | None
    kind: str
    amount_usd: str
    reference: str
    memo: str
    actor: str


@get("/organisations/{org_id:str}/wallet")
async def get_wallet(org_id: Id, actor: GivenActor, store: GivenStore) -> WalletView:
    """Show a wallet."""
    actor.require("viewer", org_id)
    return await _wallet(org_id, store)


@post("/organisations/{org_id:str}/wallet/top-ups")
async def top_up(org_id: Id, data: JSONBody[TopUp], actor: GivenActor, store: GivenStore) -> MovedView:
    """Put money into a wallet (the operator)."""
    actor.require("viewer", org_id)
    actor.require_operator()
    require_usd(data.currency)
    nano, reference = nano_of(data.amount_usd, "amount_usd", least=1), data.reference or new_id("top_")
    made = await store.ledger.top_up(org_id, nano, "admin", f"{org_id}:{reference}", memo=_clean(data.memo), actor=actor.name)
    return MovedView(applied=made, reference=reference, amount_usd=usd_text(nano), wallet=await _wallet(org_id, store))


@post("/organisations/{org_id:str}/wallet/adjustments")
async def adjust(org_id: Id, data: JSONBody[Adjustment], actor: GivenActor, store: GivenStore) -> MovedView:
    """Correct a wallet, up or down (the operator)."""
    actor.require("viewer", org_id)
    actor.require_operator()
    require_usd(data.currency)
    nano, reference = nano_of(data.amount_usd, "amount_usd", least=-MOST_NANO), data.reference or new_id("adj_")
    made = await store.ledger.adjust(org_id, nano, f"{org_id}:{reference}", memo=_clean(data.memo), actor=actor.name)
    return MovedView(applied=made, reference=reference, amount_usd=usd_text(nano), wallet=await _wallet(org_id, store))


@post("/organisations/{org_id:str}/wallet/redemptions")
async def redeem(org_id: Id, data: JSONBody[Redemption], actor: GivenActor, store: GivenStore) -> MovedView:
    """Redeem a code."""
    actor.require("admin", org_id)
    nano = await store.codes.redeem(org_id, data.code, actor=actor.name)
    return MovedView(applied=True, reference="code", amount_usd=usd_text(nano), wallet=await _wallet(org_id, store))


@get("/organisations/{org_id:str}/wallet/movements")
async def list_movements(org_id: Id, actor: GivenActor, store: GivenStore, limit: Limit = 50, cursor: Cursor = None) -> Page[LineView]:
    """Every movement of a wallet, newest first; use is one for every half second or so."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    after = read_cursor(cursor, NUMBER)
    rows = await store.ledger.statement(org_id, before=None if after is None else after[0], limit=limit + 1)
    return paged(rows, limit, show_line, by_number)


HANDLERS = [get_wallet, top_up, adjust, redeem, list_movements]


def show_line(line: Line) -> LineView:
    """A line as it is shown."""
    return LineView(
        id=line.id,
        at=moment_text(line.at_ms),
        kind=line.kind,
        amount_usd=usd_text(line.amount_nano),
        reference=line.reference,
        memo=line.memo,
        actor=line.actor,
    )


async def _wallet(org_id: str, store: Store) -> WalletView:
    organisation = await store.organisations.find(org_id)
    try:
        balance = await store.ledger.balance(org_id)
    except Fault:
        raise Fault("not_found", f"The organisation {org_id!r} has no wallet.", param="organisation") from None
    return WalletView(
        organisation_id=org_id,
        prepaid=organisation.prepaid,
        balance_usd=usd_text(balance.balance_nano),
        held_usd=usd_text(balance.held_nano),
        available_usd=usd_text(balance.balance_nano - balance.held_nano),
    )


def _clean(memo: str) -> str:
    """Errors: Fault invalid_value for a memo with line breaks or control characters."""
    if not memo.isprintable():
        raise Fault("invalid_value", "The memo must be printable: no control characters or line breaks.", param="memo")
    return memo
