"""Money lent to processes: a lease is reserved in every allowance its key has, the wallet of its organisation and its budgets.

What can be lent of a wallet is its balance less all leases of the organisation, of a budget its limit less what was charged in its window
and all leases of the key. Leases shrink as their charges are folded (charges.py), so money is at every moment in one place.
"""

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from sqlalchemy import ColumnElement, ScalarSelect, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.lending import Allowance, Grant, Shortfall
from shoal.core.terms import Terms
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.ledger import lock_wallet, wallet
from shoal.storage.schema import api_keys, leases, organisations, usage_days
from shoal.storage.windows import end_ms, first_days

_GREEDY = 4  # a quarter of what there is goes to one process at once, unless it needs more
_terms = msgspec.json.Decoder(Terms)


class Loan(msgspec.Struct, frozen=True):
    """What came of asking: the grant, and all that its holder was lent and did not give back, this included."""

    grant: Grant
    lent_nano: int
    org_id: str = ""


async def borrow(connection: AsyncConnection, holder: str, key_id: str, need: int, want: int, known: int) -> Loan:
    """Lend at least `need` and at most `want` nano-USD, or nothing and say why.

    `known` is what the holder believes to have been lent. Where more was, an answer of ours did not arrive: that is part of the grant now.
    """
    query = select(api_keys.c.org_id, api_keys.c.terms, organisations.c.prepaid)
    query = query.join(organisations, organisations.c.id == api_keys.c.org_id).where(api_keys.c.id == key_id)
    key = (await connection.execute(query)).first()
    if key is None:
        return Loan(Grant("", 0, Shortfall("total", 0)), known)
    terms = _terms.decode(key.terms)
    balance = await lock_wallet(connection, wallet(key.org_id)) or 0 if key.prepaid else None
    if terms.budgets:
        await connection.execute(select(api_keys.c.id).where(api_keys.c.id == key_id).with_for_update())
    lease = await _find_lease(connection, holder, key_id)
    stray = 0 if lease is None else max(0, lease.lent_nano - known)
    available, others = await _allowances(connection, key_id, key.org_id, terms, balance, lease)
    need, want = max(0, need - stray), max(0, want - stray)
    what = min(available, key=lambda name: available[name])
    most = max(0, available[what])
    if need > most:
        resets_at_ms = None if what == "wallet" else end_ms(what, now_ms())
        short = Shortfall(what, most, resets_at_ms, in_flight=need <= most + others[what])
        return Loan(Grant("" if lease is None else lease.id, 0, short), known, key.org_id)
    amount = max(need, min(want, most // _GREEDY))
    lease_id = await _lend(connection, holder, key_id, key.org_id, lease, amount)
    return Loan(Grant(lease_id, amount + stray), amount + (0 if lease is None else lease.lent_nano), key.org_id)


async def _find_lease(connection: AsyncConnection, holder: str, key_id: str) -> Any:
    query = select(leases.c.id, leases.c.amount_nano, leases.c.lent_nano)
    query = query.where(leases.c.holder == holder, leases.c.key_id == key_id).with_for_update()
    return (await connection.execute(query)).first()


async def _allowances(
    connection: AsyncConnection, key_id: str, org_id: str, terms: Terms, balance: int | None, lease: Any
) -> tuple[Mapping[Allowance, int], Mapping[Allowance, int]]:
    """What each allowance can lend, and what other leases hold of it. One statement, so that a fold is in all of its sums or in none."""
    now = now_ms()
    days = first_days(now)
    windows = cast("list[Allowance]", list(terms.budgets))
    sums = [_charged_since(key_id, days[window]) for window in windows]
    row = (await connection.execute(select(_held(leases.c.org_id == org_id), _held(leases.c.key_id == key_id), *sums))).one()
    of_org, of_key = int(row[0]), int(row[1])
    own = 0 if lease is None else lease.amount_nano
    available: dict[Allowance, int] = {}
    others: dict[Allowance, int] = {}
    if balance is not None:
        available["wallet"], others["wallet"] = balance - of_org, of_org - own
    for window, limit, charged in zip(windows, terms.budgets.values(), row[2:], strict=True):
        available[window], others[window] = limit - int(charged) - of_key, of_key - own
    if not available:  # nothing is counted any more: what is asked for is lent
        available["total"], others["total"] = 2**62, 0
    return available, others


def _held(where: ColumnElement[bool]) -> ScalarSelect[int]:
    return select(func.coalesce(func.sum(leases.c.amount_nano), 0)).where(where).scalar_subquery()


def _charged_since(key_id: str, day: int) -> ScalarSelect[int]:
    charged = select(func.coalesce(func.sum(usage_days.c.charged_nano), 0))
    return charged.where(usage_days.c.key_id == key_id, usage_days.c.day >= day).scalar_subquery()


async def _lend(connection: AsyncConnection, holder: str, key_id: str, org_id: str, lease: Any, amount: int) -> str:
    if lease is None:
        row = {"id": new_id("lease_"), "holder": holder, "key_id": key_id, "org_id": org_id, "taken_at_ms": now_ms(), "recalled": False}
        await connection.execute(insert(leases).values(**row, amount_nano=amount, lent_nano=amount))
        return str(row["id"])
    more = {"amount_nano": leases.c.amount_nano + amount, "lent_nano": leases.c.lent_nano + amount, "taken_at_ms": now_ms()}
    await connection.execute(update(leases).where(leases.c.id == lease.id).values(**more))
    return str(lease.id)


async def give_back(connection: AsyncConnection, holder: str, key_id: str, known: int) -> None:
    """Leave a holder of a key's lease what it knows of (`known`, as in `borrow`), and take the rest back. A recall is answered by it."""
    lease = await _find_lease(connection, holder, key_id)
    if lease is None:
        return
    amount = max(0, min(lease.lent_nano - known, lease.amount_nano))
    less = {"amount_nano": lease.amount_nano - amount, "lent_nano": min(lease.lent_nano, known), "recalled": False}
    await connection.execute(update(leases).where(leases.c.id == lease.id).values(**less))


async def recall(connection: AsyncConnection, holder: str, key_id: str, loan: Loan) -> bool:
    """Ask for what others hold of the allowance that is short. False: nobody holds any."""
    of_wallet = loan.grant.short is not None and loan.grant.short.what == "wallet"
    theirs = (leases.c.org_id == loan.org_id) if of_wallet else (leases.c.key_id == key_id)
    own = (leases.c.holder == holder) & (leases.c.key_id == key_id)
    query = select(leases.c.id).where(theirs, ~own, leases.c.amount_nano > 0).order_by(leases.c.id).with_for_update()
    ids = (await connection.execute(query)).scalars().all()
    if ids:
        await connection.execute(update(leases).where(leases.c.id.in_(ids)).values(recalled=True))
    return bool(ids)
