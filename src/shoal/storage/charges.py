"""What folded requests cost their organisations: charged to wallet and lease in the transaction that folds them, so exactly once.

A charge is covered by its lease, whose money nobody else can have. What a lease does not cover (the operator released it, though its
process went on) is taken from what is free in the wallet, and beyond that from nobody: a wallet is never below 0.
"""

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.identity import OPERATOR
from shoal.core.ledger import Entry
from shoal.storage.ledger import INCOME, UNCOLLECTED, Movement, book, wallet
from shoal.storage.schema import accounts, leases, organisations

_TAKE = update(leases).where(leases.c.id == bindparam("lease")).values(amount_nano=leases.c.amount_nano - bindparam("taken"))


async def charge(connection: AsyncConnection, entries: Sequence[Entry], reference: str) -> None:
    """Charge these requests: one movement an organisation, whose reference ends in its id."""
    by_org: dict[str, Counter[str]] = {}
    for entry in entries:
        if entry.charged_nano:
            by_org.setdefault(entry.org_id or OPERATOR, Counter())[entry.lease] += entry.charged_nano
    if not by_org:
        return
    known, balances = await _lock_wallets(connection, sorted(by_org))
    for stranger in by_org.keys() - known:  # who is not there pays nothing; what it used is the operator's own
        by_org.setdefault(OPERATOR, Counter()).update(by_org.pop(stranger))
    covered = await _take_from_leases(connection, sum(by_org.values(), Counter()))
    movements = []
    for org_id, charges in sorted(by_org.items()):
        total = charges.total()
        amounts = {f"owed/{org_id}": -total, INCOME: total}
        if org_id in balances:
            paid = await _payable(connection, org_id, balances[org_id], sum(covered[lease] for lease in charges), total)
            amounts = {wallet(org_id): -paid, UNCOLLECTED: paid - total, INCOME: total}
        movements.append(Movement(kind="usage", reference=f"{reference}:{org_id}", org_id=org_id, amounts=amounts))
    for movement in movements:
        await book(connection, movement)


async def _lock_wallets(connection: AsyncConnection, org_ids: Sequence[str]) -> tuple[set[str], dict[str, int]]:
    """Which of these organisations there are, and the balances of those that are prepaid, which nobody changes until the end."""
    everyone = {*org_ids, OPERATOR}
    rows = (await connection.execute(select(organisations.c.id, organisations.c.prepaid).where(organisations.c.id.in_(everyone)))).all()
    prepaid = [wallet(org_id) for org_id, pays in rows if pays]
    query = select(accounts.c.org_id, accounts.c.balance_nano).where(accounts.c.id.in_(prepaid)).order_by(accounts.c.id).with_for_update()
    balances = {org_id: int(balance) for org_id, balance in await connection.execute(query)} if prepaid else {}
    return {org_id for org_id, _ in rows}, balances


async def _take_from_leases(connection: AsyncConnection, charges: Counter[str]) -> Counter[str]:
    """Take the charges out of their leases, as far as they go; what each covered."""
    held = select(leases.c.id, leases.c.amount_nano).where(leases.c.id.in_(sorted(charges))).order_by(leases.c.id).with_for_update()
    covered = Counter({lease: min(charges[lease], int(amount)) for lease, amount in await connection.execute(held)})
    taken = [{"lease": lease, "taken": amount} for lease, amount in covered.items() if amount]
    if taken:
        await connection.execute(_TAKE, taken)
    return covered


async def _payable(connection: AsyncConnection, org_id: str, balance: int, covered: int, total: int) -> int:
    """What of a charge the wallet pays: what leases covered (they have been lowered by it), and of the rest what nobody holds."""
    if covered == total:
        return min(total, balance)
    held = select(func.coalesce(func.sum(leases.c.amount_nano), 0)).where(leases.c.org_id == org_id)
    free = balance - covered - int((await connection.execute(held)).scalar_one())
    return min(balance, covered + min(total - covered, max(0, free)))
