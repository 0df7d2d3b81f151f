"""The double-entry ledger: every movement of money has two sides, in whole nano-USD, and is made once.

A movement is known by its kind and its reference: the same again changes nothing. Its postings sum to 0; an account's balance is kept, and
equals the sum of its postings. The database itself refuses changes of what is written, and a wallet below 0. Whoever changes a wallet
locks it first, before keys and leases, and the installation's own accounts last: so no two transactions wait for each other.
"""

from collections.abc import Mapping

import msgspec
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.core.money import usd_text
from shoal.core.terms import MOST_NANO
from shoal.storage.audit import record
from shoal.storage.database import is_postgres, open_engine, writing
from shoal.storage.identifiers import now_ms
from shoal.storage.proof import find_errors
from shoal.storage.schema import accounts, leases, movements, postings

INCOME = "income"
UNCOLLECTED = "uncollected"
"""What was used and could not be charged, since nothing was held for it."""

MOST_BALANCE_NANO = 4 * MOST_NANO

_NEW = text(
    "INSERT INTO movements (at_ms, kind, reference, org_id, memo, actor) VALUES (:at_ms, :kind, :reference, :org_id, :memo, :actor) "
    "ON CONFLICT (kind, reference) DO NOTHING RETURNING id"
)
_BOOK = text(
    "INSERT INTO accounts (id, org_id, balance_nano) VALUES (:id, :org_id, :amount) "
    "ON CONFLICT (id) DO UPDATE SET balance_nano = accounts.balance_nano + excluded.balance_nano"
)


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """Money on its way: `amounts` in nano-USD by account, which sum to 0. `actor` is who caused it."""

    kind: str
    reference: str
    org_id: str | None
    amounts: Mapping[str, int]
    memo: str = ""
    actor: str = ""


class Line(msgspec.Struct, frozen=True):
    """A movement as its organisation sees it: `amount_nano` is what its wallet gained or lost."""

    id: int
    at_ms: int
    kind: str
    reference: str
    memo: str
    actor: str
    amount_nano: int


class Balance(msgspec.Struct, frozen=True):
    """A wallet: what is in it, and how much of that processes hold for requests."""

    balance_nano: int
    held_nano: int


def wallet(org_id: str) -> str:
    """The account of an organisation's prepaid money."""
    return f"wallet/{org_id}"


class Ledger:
    """What changes wallets, other than their use (charges.py). Every method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def top_up(self, org_id: str, amount_nano: int, source: str, reference: str, *, memo: str = "", actor: str = "") -> bool:
        """Put money into a wallet, from `funding/SOURCE`. False: this reference has been here. Errors: Fault."""
        amounts = {wallet(org_id): _checked(amount_nano, 1), f"funding/{source}": -amount_nano}
        return await self._move(
            "wallet.top_up", Movement(kind="topup", reference=reference, org_id=org_id, amounts=amounts, memo=memo, actor=actor)
        )

    async def adjust(self, org_id: str, amount_nano: int, reference: str, *, memo: str, actor: str) -> bool:
        """Correct a wallet, up or down. It cannot be lowered by what is held. False: this reference has been here. Errors: Fault."""
        amounts = {wallet(org_id): _checked(amount_nano, -MOST_NANO), "adjustments": -amount_nano}
        return await self._move(
            "wallet.adjust", Movement(kind="adjustment", reference=reference, org_id=org_id, amounts=amounts, memo=memo, actor=actor)
        )

    async def balance(self, org_id: str) -> Balance:
        """A wallet. Errors: Fault not_found."""
        held = select(func.coalesce(func.sum(leases.c.amount_nano), 0)).where(leases.c.org_id == org_id).scalar_subquery()
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(accounts.c.balance_nano, held).where(accounts.c.id == wallet(org_id)))).first()
        if row is None:
            raise no_wallet(org_id)
        return Balance(row[0], int(row[1]))

    async def statement(self, org_id: str, *, before: int | None = None, limit: int = 100) -> list[Line]:
        """An organisation's movements, newest first, those before the movement `before`."""
        query = (
            select(movements, func.coalesce(postings.c.amount_nano, 0))
            .join(postings, (postings.c.movement_id == movements.c.id) & (postings.c.account_id == wallet(org_id)), isouter=True)
            .where(movements.c.org_id == org_id)
            .order_by(movements.c.id.desc())
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            rows = await connection.execute(query if before is None else query.where(movements.c.id < before))
            return [Line(row.id, row.at_ms, row.kind, row.reference, row.memo, row.actor, row[-1]) for row in rows]

    async def check(self) -> list[str]:
        """What is wrong with the books, a sentence each; nothing, as long as nobody writes into the tables by hand. Reads all of them."""
        engine = open_engine(self._engine.url, patient=True)
        try:
            async with engine.connect() as connection:
                if is_postgres(connection):
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                return await find_errors(connection)
        finally:
            await engine.dispose()

    async def _move(self, action: str, movement: Movement) -> bool:
        async with writing(self._engine).begin() as connection:
            made = await move(connection, movement)
            if made:
                detail = {
                    "amount_nano": movement.amounts[wallet(str(movement.org_id))],
                    "reference": movement.reference,
                    "memo": movement.memo,
                }
                await record(connection, movement.actor, action, movement.org_id, str(movement.org_id), detail)
            return made


async def move(connection: AsyncConnection, movement: Movement) -> bool:
    """Make a movement of one wallet in the caller's transaction, unless it has been made: then False.

    Errors: Fault not_found without that wallet, invalid_value where it holds too little, or would hold too much.
    """
    account = wallet(str(movement.org_id))
    balance = await lock_wallet(connection, account)
    if balance is None:
        raise no_wallet(str(movement.org_id))
    seen = (movements.c.kind == movement.kind) & (movements.c.reference == movement.reference)
    if (await connection.execute(select(movements.c.id).where(seen))).first() is not None:
        return False
    amount = movement.amounts.get(account, 0)
    if amount > 0 and balance + amount > MOST_BALANCE_NANO:
        raise _bad_amount(f"would bring the balance above {usd_text(MOST_BALANCE_NANO)} USD")
    if amount < 0:
        held = select(func.coalesce(func.sum(leases.c.amount_nano), 0)).where(leases.c.org_id == movement.org_id)
        free = balance - int((await connection.execute(held)).scalar_one())
        if free + amount < 0:
            raise _bad_amount(f"is more than what can be taken now: {usd_text(max(0, free))} USD; the rest is held by requests that run")
    return await book(connection, movement)


async def lock_wallet(connection: AsyncConnection, account: str) -> int | None:
    """The balance of a wallet, which nobody changes until this transaction ends; None without one."""
    balance: int | None = (
        await connection.execute(select(accounts.c.balance_nano).where(accounts.c.id == account).with_for_update())
    ).scalar()
    return balance


async def book(connection: AsyncConnection, movement: Movement) -> bool:
    """Write a movement, its postings and the new balances, unless it has been written: then False. Its wallet is locked by the caller."""
    if sum(movement.amounts.values()):
        raise ValueError(f"the postings of {movement.reference} do not sum to 0")
    row = {name: getattr(movement, name) for name in ("kind", "reference", "org_id", "memo", "actor")}
    number = (await connection.execute(_NEW, row | {"at_ms": now_ms()})).scalar()
    if number is None:
        return False
    amounts = {account: amount for account, amount in movement.amounts.items() if amount}
    own = [account for account in amounts if account.startswith("wallet/")]
    others = sorted(set(amounts) - set(own))
    for account in own:  # not as below: a negative amount is no balance that a wallet may begin with
        change = {"balance_nano": accounts.c.balance_nano + amounts[account]}
        await connection.execute(update(accounts).where(accounts.c.id == account).values(**change))
    if amounts:
        owner = movement.org_id if any(account.startswith("owed/") for account in others) else None
        rows = [{"id": one, "org_id": owner if one.startswith("owed/") else None, "amount": amounts[one]} for one in others]
        await connection.execute(_BOOK, rows)
        await connection.execute(
            insert(postings), [{"movement_id": number, "account_id": one, "amount_nano": amounts[one]} for one in (*own, *others)]
        )
    return True


def _checked(amount_nano: int, least: int) -> int:
    if not least <= amount_nano <= MOST_NANO or not amount_nano:
        raise _bad_amount(f"must be {'positive and ' if least > 0 else 'other than 0 and '}at most {usd_text(MOST_NANO)} USD")
    return amount_nano


def _bad_amount(what: str) -> Fault:
    return Fault("invalid_value", f"The amount {what}.", param="amount")


def no_wallet(org_id: str) -> Fault:
    """There is no such organisation, as far as whoever asks is concerned."""
    return Fault("not_found", f"There is no organisation {org_id[:64]!r}.", param="organisation")
