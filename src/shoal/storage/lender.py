"""What this process borrows from the store. It counts with the store: an answer that got lost on its way is found out, not lost.

A call that failed may have been done all the same. So the store and this side each keep a total; what the store has lent beyond ours
belongs to the next grant, or goes back. A give-back counts as done at once: what has not arrived is found in the same way.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.lending import Draw, Grant, StoreAway, Unit
from shoal.storage import buckets, leases
from shoal.storage.database import POSTGRES, writing
from shoal.storage.holders import Holders, Lifeline
from shoal.storage.schema import bucket_leases
from shoal.storage.schema import leases as lease_table

Result = TypeVar("Result")

PATIENCE_S = 4.0
"""How long the store may take before it counts as away; to wait for one's turn is part of that."""

AGAIN_S = 1.0
"""How long it may take while it is known to be silent. A beat has more patience: what is only slow is found to be back by that."""

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
        self._silent = False  # the last that was heard of the store is that it does not answer

    async def borrow(self, key_id: str, need_nano: int, want_nano: int) -> Grant:
        """See `core.lending.Lender`."""
        until = self._patience_ends()
        async with _reached(), self._turn(key_id, until):
            end = asyncio.get_running_loop().time() + RECALL_S
            last = False
            while True:
                self._unsure.add(key_id)
                loan = await self._in_time(until, self._ask_loan(key_id, need_nano, want_nano))
                self._lent[key_id] = loan.lent_nano
                if loan.grant.short is None:
                    self._unsure.discard(key_id)
                if loan.grant.short is None or not loan.grant.short.in_flight or last or asyncio.get_running_loop().time() >= end:
                    return loan.grant
                last = not await self._in_time(until, self._recall(key_id, loan))
                if not last:  # otherwise whoever held it has given it back meanwhile: look once more
                    await asyncio.sleep(_LOOK_S)
                until = self._patience_ends()

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
        until = self._patience_ends()
        async with _reached(), self._turn(f"{key_id} {unit}", until):
            while True:
                report = buckets.Report(need, want, spent, unspent, self._in_hand.get((key_id, unit), 0))
                drawn, self._in_hand[key_id, unit], asked = await self._in_time(until, self._ask_draw(key_id, unit, report))
                spent = unspent = 0
                if not asked or asyncio.get_running_loop().time() >= end:
                    return drawn
                await asyncio.sleep(_LOOK_S)
                until = self._patience_ends()

    async def recalled(self) -> Sequence[tuple[str, str]]:
        """See `core.lending.Lender`."""
        async with _reached():
            return await self._in_time(self._patience_ends(), self._find_recalled())

    async def beat(self) -> None:
        """See `core.lending.Lender`."""
        async with _reached():
            await self._in_time(asyncio.get_running_loop().time() + PATIENCE_S, self._holders.renew(self.lifeline))
        for key_id in list(self._unsure):
            async with self._turn(key_id):
                await self._settle(key_id)

    def close(self) -> None:
        """Give up: what is still borrowed is free once the journal is folded."""
        self.lifeline.cut()

    async def _ask_loan(self, key_id: str, need: int, want: int) -> leases.Loan:
        async with self._money.begin() as connection:
            return await leases.borrow(connection, self.lifeline.id, key_id, need, want, self._lent.get(key_id, 0))

    async def _recall(self, key_id: str, loan: leases.Loan) -> bool:
        async with self._money.begin() as connection:
            return await leases.recall(connection, self.lifeline.id, key_id, loan)

    async def _ask_draw(self, key_id: str, unit: Unit, report: buckets.Report) -> tuple[Draw, int, bool]:
        """What is drawn, what is in hand then, and, where that is too little, whether others were asked for theirs."""
        async with self._rates.begin() as connection:
            drawn, in_hand = await buckets.draw(connection, self.lifeline.id, key_id, unit, report)
            short = drawn.granted < report.need
            return drawn, in_hand, short and await buckets.recall(connection, self.lifeline.id, key_id, unit)

    async def _find_recalled(self) -> Sequence[tuple[str, str]]:
        ours = self.lifeline.id
        money = select(lease_table.c.key_id).where(lease_table.c.holder == ours, lease_table.c.recalled)
        units = select(bucket_leases.c.key_id, bucket_leases.c.unit).where(bucket_leases.c.holder == ours, bucket_leases.c.recalled)
        async with self._engine.connect() as connection:
            keys = (await connection.execute(money)).scalars().all()
            return [*((key_id, "money") for key_id in keys), *((row[0], row[1]) for row in await connection.execute(units))]

    async def _give_back(self, key_id: str) -> None:
        async with self._money.begin() as connection:
            await leases.give_back(connection, self.lifeline.id, key_id, self._lent.get(key_id, 0))

    async def _settle(self, key_id: str) -> None:
        """Bring the store's total to ours."""
        if key_id in self._unsure:
            async with _reached():
                await self._in_time(self._patience_ends(), self._give_back(key_id))
            self._unsure.discard(key_id)

    @contextlib.asynccontextmanager
    async def _turn(self, name: str, until: float | None = None) -> AsyncIterator[None]:
        """One call at a time for each key, or key and unit: totals are compared. Errors: TimeoutError where it has not come in time."""
        turn = self._turns.setdefault(name, asyncio.Lock())
        async with asyncio.timeout_at(until):
            await turn.acquire()
        try:
            yield
        finally:
            turn.release()

    def _patience_ends(self) -> float:
        return asyncio.get_running_loop().time() + (AGAIN_S if self._silent else PATIENCE_S)

    async def _in_time(self, until: float, work: Coroutine[Any, Any, Result]) -> Result:
        """What this work brings. Errors: TimeoutError at `until`. To give up a silent connection takes seconds: nobody waits for that."""
        task = asyncio.create_task(work)
        _tasks.add(task)
        task.add_done_callback(_forget)
        try:
            await asyncio.wait([task], timeout=until - asyncio.get_running_loop().time())
        finally:
            given_up = not task.done() and task.cancel()
        self._silent = given_up
        if given_up:
            raise TimeoutError("the store does not answer")
        return task.result()


_tasks: set[asyncio.Task[Any]] = set()  # the loop alone would not keep them


def _forget(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled():
        task.exception()  # whoever still waits has it


@contextlib.asynccontextmanager
async def _reached() -> AsyncIterator[None]:
    """What the store raises while it is away, as the one error that is declared."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:  # what is lent is not waited for like an answer: a purse has its own words
        raise StoreAway(str(error)) from error
