"""What this process borrows from the store. It counts with the store: an answer that got lost on its way is found out, not lost.

A call that failed may have been done all the same. So the store and this side each keep a total; what the store has lent beyond ours
belongs to the next grant, or goes back. A give-back counts as done at once: what has not arrived is found in the same way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.lending import Draw, Grant, StoreAway, Unit
from shoal.storage import buckets, leases
from shoal.storage.database import POSTGRES, writing
from shoal.storage.holders import Holders, Lifeline
from shoal.storage.schema import bucket_leases
from shoal.storage.schema import leases as lease_table

PATIENCE_S = 4.0
"""How long the store may take before it counts as away."""

RECALL_S = 2.0
_RECALL_PARALLEL_S = 0.9
_LOOK_S = 0.1


class StoreLender:
    """A `core.lending.Lender` over the store. Call `beat` before anything else."""

    def __init__(self, engine: AsyncEngine, home: Path) -> None:
        self._engine = engine
        self._money = writing(engine, durable=engine.url.get_backend_name() == POSTGRES)  # of one machine: it goes with its processes
        self._rates = writing(engine, durable=False)
        self._holders = Holders(engine)
        self.lifeline = Lifeline(home)
        self._lent: dict[str, int] = {}  # nano-USD by key, as far as we know: lent less given back
        self._in_hand: dict[tuple[str, str], int] = {}  # thousandths by key and unit
        self._unsure: set[str] = set()  # keys of which the store may have lent more than we know
        self._turns: dict[str, asyncio.Lock] = {}

    async def borrow(self, key_id: str, need_nano: int, want_nano: int) -> Grant:
        """See `core.lending.Lender`."""
        async with self._turn(key_id), _reached():
            end = asyncio.get_running_loop().time() + RECALL_S
            last = False
            while True:
                self._unsure.add(key_id)
                async with asyncio.timeout(PATIENCE_S), self._money.begin() as connection:
                    known = self._lent.get(key_id, 0)
                    loan = await leases.borrow(connection, self.lifeline.id, key_id, need_nano, want_nano, known)
                self._lent[key_id] = loan.lent_nano
                if loan.grant.short is None:
                    self._unsure.discard(key_id)
                if loan.grant.short is None or not loan.grant.short.in_flight or last or asyncio.get_running_loop().time() >= end:
                    return loan.grant
                async with asyncio.timeout(PATIENCE_S), self._money.begin() as connection:
                    last = not await leases.recall(connection, self.lifeline.id, key_id, loan)
                if not last:  # otherwise whoever held it has given it back meanwhile: look once more
                    await asyncio.sleep(_LOOK_S)

    async def give_back(self, key_id: str, lease: str, amount_nano: int) -> None:
        """See `core.lending.Lender`. It is done even where the store is away: what could not be said is said by `beat`."""
        async with self._turn(key_id):
            self._lent[key_id] = max(0, self._lent.get(key_id, 0) - amount_nano)
            self._unsure.add(key_id)
            with contextlib.suppress(StoreAway):
                await self._settle(key_id)

    async def draw(self, key_id: str, unit: Unit, need: int, want: int, spent: int, unspent: int) -> Draw:
        """See `core.lending.Lender`."""
        end = asyncio.get_running_loop().time() + (_RECALL_PARALLEL_S if unit == "parallel" else 0.0)
        async with self._turn(f"{key_id} {unit}"), _reached():
            while True:
                async with asyncio.timeout(PATIENCE_S), self._rates.begin() as connection:
                    known = self._in_hand.get((key_id, unit), 0)
                    report = buckets.Report(need, want, spent, unspent, known)
                    drawn, in_hand = await buckets.draw(connection, self.lifeline.id, key_id, unit, report)
                    short = drawn.granted < need
                    asked = short and await buckets.recall(connection, self.lifeline.id, key_id, unit)
                self._in_hand[key_id, unit] = in_hand
                spent = unspent = 0
                if not asked or asyncio.get_running_loop().time() >= end:
                    return drawn
                await asyncio.sleep(_LOOK_S)

    async def recalled(self) -> Sequence[tuple[str, str]]:
        """See `core.lending.Lender`."""
        ours = self.lifeline.id
        money = select(lease_table.c.key_id).where(lease_table.c.holder == ours, lease_table.c.recalled)
        units = select(bucket_leases.c.key_id, bucket_leases.c.unit).where(bucket_leases.c.holder == ours, bucket_leases.c.recalled)
        async with _reached(), asyncio.timeout(PATIENCE_S), self._engine.connect() as connection:
            keys = (await connection.execute(money)).scalars().all()
            return [*((key_id, "money") for key_id in keys), *((row[0], row[1]) for row in await connection.execute(units))]

    async def beat(self) -> None:
        """See `core.lending.Lender`."""
        async with _reached(), asyncio.timeout(PATIENCE_S):
            await self._holders.renew(self.lifeline)
        for key_id in list(self._unsure):
            async with self._turn(key_id):
                await self._settle(key_id)

    def close(self) -> None:
        """Give up: what is still borrowed is free once the journal is folded."""
        self.lifeline.cut()

    async def _settle(self, key_id: str) -> None:
        """Bring the store's total to ours."""
        if key_id in self._unsure:
            async with _reached(), asyncio.timeout(PATIENCE_S), self._money.begin() as connection:
                await leases.give_back(connection, self.lifeline.id, key_id, self._lent.get(key_id, 0))
            self._unsure.discard(key_id)

    def _turn(self, name: str) -> asyncio.Lock:
        """One call at a time for each key, or key and unit: totals are compared."""
        return self._turns.setdefault(name, asyncio.Lock())


@contextlib.asynccontextmanager
async def _reached() -> AsyncIterator[None]:
    """What the store raises while it is away, as the one error that is declared."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:  # what is lent is not waited for like an answer: a purse has its own words
        raise StoreAway(str(error)) from error
