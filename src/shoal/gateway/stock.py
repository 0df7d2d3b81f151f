"""A quantity that is borrowed in blocks before it runs dry, so that taking some of it nearly never waits.

Who must wait is served in the order of coming; who needs no more than there is does not wait behind those who do. What is taken comes
back by `put`, whole or in part. One errand at a time is under way to the lender, in the background, and it outlives whoever waits for
it: what it brings is never lost.
"""

import abc
import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from shoal.core.errors import Fault

log = logging.getLogger("shoal.gateway")

REST_S = 0.5
"""How long a refusal holds: the lender is not asked again for as much."""

_ALL = -(2**63)
_errands: set[asyncio.Task[None]] = set()  # the loop alone would not keep them


class Refusal(NamedTuple):
    """The lender has not enough. `fault` is told to whoever needs more than `most`, until `until`."""

    fault: Callable[[int], Fault]
    most: int
    until: float


class Stock(abc.ABC):
    """One quantity of one key. `free` can be taken; `open` is taken, and not yet put back or used up."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.free = 0
        self.open = 0
        self.low = 0  # where `free` falls below this, more is borrowed
        self.largest = 0  # of what was taken at once of late
        self.takes = 0
        self.refusal: Refusal | None = None
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._errand: asyncio.Task[None] | None = None
        self._rests_until = 0.0
        self._failed: Fault | None = None  # why the lender could not be asked the last time

    def take(self, amount: int) -> bool:
        """Take some at once, if it is there."""
        if amount > self.free:
            return False
        self.free -= amount
        self.open += amount
        self.takes += 1
        if self.free < self.low and self._errand is None:
            self._refill()
        return True

    async def wait(self, amount: int) -> None:
        """Take some as soon as it is there. Errors: Fault, the lender's refusal."""
        self.largest = max(self.largest, amount)
        if self.take(amount):
            return
        now = self._clock()
        if self._failed is not None and (self._errand is not None or now < self._rests_until):
            raise _repeat(self._failed, amount)  # one asks whether it is well again, the others need not wait for that
        refusal = self.refusal
        if refusal is not None and now < refusal.until and amount - self.free > refusal.most:
            raise refusal.fault(amount)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        if self._errand is None:
            self._send()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.put(amount, 0)
            raise

    def put(self, taken: int, used: int) -> None:
        """Of what was taken so much is used up; the rest is free again."""
        self.open -= taken
        self.free += taken - used
        if self._waiting:
            self._serve()

    @property
    def is_still(self) -> bool:
        """Whether nothing is under way."""
        return not self.open and not self._waiting and self._errand is None

    # what a kind of stock decides

    @abc.abstractmethod
    def block(self) -> int:
        """How much is borrowed at a time."""

    @abc.abstractmethod
    async def fetch(self, need: int, want: int) -> Refusal | None:
        """Borrow `want`, or less, but at least `need`, and add it to `free`. A need of 0 is never refused. Errors: Fault."""

    # errands

    def _refill(self) -> None:
        """Borrow ahead of need, unless there was nothing to be had a moment ago."""
        now = self._clock()
        if now >= self._rests_until:
            self._rests_until = now + REST_S
            self._send()

    def rest(self) -> None:
        """Borrow nothing ahead of need for a while: others need it."""
        self._rests_until = self._clock() + 2 * REST_S

    def _send(self) -> None:
        self._errand = errand = asyncio.get_running_loop().create_task(self._fetch_all())
        _errands.add(errand)
        errand.add_done_callback(_errands.discard)

    async def _fetch_all(self) -> None:
        """For those who wait, one after the other; or ahead of need, where nobody waits."""
        try:
            if not self._waiting:
                await self.fetch(0, max(1, self.block()))
                if self.free >= self.low:
                    self._rests_until = 0.0
            while self._waiting:
                await self._fetch_for_first()
            self._failed = None
        except Fault as fault:
            self._failed, self._rests_until = fault, self._clock() + REST_S
            self._refuse(_ALL, functools.partial(_repeat, fault))
        except Exception:
            log.exception("what a key may spend could not be borrowed")
            self._refuse(
                _ALL, functools.partial(_repeat, Fault("internal", "The server failed on this request; it was logged. Try again."))
            )

        self._errand = None
        if self._waiting:
            self._send()

    async def _fetch_for_first(self) -> None:
        self._serve()
        if not self._waiting:
            return
        need = self._waiting[0][0] - self.free
        wanted = sum(amount for amount, _ in self._waiting) - self.free
        refusal = await self.fetch(need, max(need, wanted + self.block()))
        self.refusal = refusal
        if refusal is not None:
            self._refuse(self.free + refusal.most, refusal.fault)

    def _serve(self) -> None:
        """Give those who wait what is there, the first first; who has gone away is passed over."""
        while self._waiting:
            amount, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            if amount > self.free:
                return
            self._waiting.popleft()
            self.free -= amount
            self.open += amount
            self.takes += 1
            turn.set_result(None)

    def _refuse(self, most: int, fault: Callable[[int], Fault]) -> None:
        """Turn away all who wait for more than `most`."""
        waiting, self._waiting = self._waiting, deque()
        for amount, turn in waiting:
            if turn.done():
                continue
            if amount > most:
                turn.set_exception(fault(amount))
            else:
                self._waiting.append((amount, turn))
        self._serve()


def _repeat(fault: Fault, amount: int) -> Fault:
    """An exception of its own for everybody who waits."""
    return Fault(fault.kind, fault.message, retry_after_s=fault.retry_after_s)


async def all_home() -> None:
    """Wait until no errand is under way."""
    await asyncio.gather(*_errands, return_exceptions=True)
