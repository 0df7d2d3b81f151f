"""One key's requests, tokens and parallel requests in this process: drawn in small blocks from a bucket that all processes share.

While the store cannot be asked, a process serves its share of the key's rate: one in `processes` of it.
"""

import math
from collections.abc import Callable

from shoal.core.errors import Fault
from shoal.core.lending import Lender, StoreAway, Unit
from shoal.gateway.stock import Refusal, Stock

BLOCKS_A_MINUTE = 300
"""A block is a fifth of a second's worth."""

_PARALLEL_S = 0.1  # until slots may have come back elsewhere
_NAMES = {"requests": "requests per minute", "tokens": "tokens per minute", "parallel": "requests at a time"}


class Bucket(Stock):
    """Units of one kind. `limit` is what may be used in a minute (of "parallel": at a time), `burst` what may be used at once.

    Requests and tokens are used as soon as they are taken. `spent` is what was used and not reported yet; below zero it is what was
    reported and not used after all, or what this process lent itself while the store was away.
    """

    def __init__(self, key_id: str, unit: Unit, lender: Lender, processes: int, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.unit: Unit = unit
        self._key_id = key_id
        self._lender = lender
        self._processes = processes
        self.spent = 0
        self.set_limits(1, 1)
        self._left = 0
        self._left_at = clock()
        self._seen = 0
        self._idle_since = clock()
        self._own = 0.0
        self._own_at: float | None = None

    def set_limits(self, limit: int, burst: int) -> None:
        """What the key's terms say."""
        self.limit, self.burst = limit, burst
        of, unit = b"x-ratelimit-", self.unit.encode()
        self._lines = b"%blimit-%b: %d\r\n%bremaining-%b: %%d\r\n%breset-%b: %%b\r\n" % (of, unit, limit, of, unit, of, unit)

    def use(self, amount: int) -> bool:
        """Take some at once and use it up, if it is there."""
        if not self.take(amount):
            return False
        self.put(amount, amount)
        return True

    async def wait_to_use(self, amount: int) -> None:
        """Take some as soon as it is there, and use it up. Errors: Fault rate_limited."""
        await self.wait(amount)
        self.put(amount, amount)

    def put(self, taken: int, used: int) -> None:
        """So many of what was taken were used, the rest is free."""
        self.spent += used
        super().put(taken, used)

    def block(self) -> int:
        """A fifth of a second's worth, or a request of the largest size of late. Nothing, where it would be missing elsewhere."""
        if self.unit == "parallel":
            return self.limit // 16
        return min(self.burst, max(self.limit // BLOCKS_A_MINUTE, self.largest if self.unit == "tokens" else 0))

    def correct(self, difference: int) -> None:
        """A request used so many units less (below zero: more) than was reckoned with."""
        self.free += difference
        self.spent -= difference
        if self._waiting:
            self._serve()

    async def fetch(self, need: int, want: int) -> Refusal | None:
        """Report what was used, and draw more."""
        debt = max(0, -(self.free + self.open))  # reported as spent, it is the bucket's
        reported = max(0, self.spent)
        need, want = min(max(0, need - debt), self.burst), min(want - debt, self.burst)
        self.free += debt
        self.spent -= reported
        try:
            draw = await self._lender.draw(self._key_id, self.unit, need, want, reported, 0)
        except StoreAway:
            self.free -= debt
            self.spent += reported
            return self._lend_own(need, want)
        self._own_at = None
        self.free += draw.granted
        self._left, self._left_at = draw.left, self._clock()
        self.low = self.block() // 2
        if draw.granted >= need:
            return None
        return self._refusal(draw.retry_after_s)

    def _refusal(self, wait_s: float) -> Refusal:
        until = self._clock() + (_PARALLEL_S if self.unit == "parallel" else wait_s)
        return Refusal(lambda _: self._explain(until), 0, until)

    def _explain(self, until: float) -> Fault:
        wait_s = 1.0 if self.unit == "parallel" else max(0.001, until - self._clock())
        text = f"The key's limit of {self.limit:,} {_NAMES[self.unit]} is reached"
        text += "; wait until another request ends." if self.unit == "parallel" else f"; try again in {duration(wait_s)}."
        return Fault("rate_limited", text, retry_after_s=wait_s)

    def _lend_own(self, need: int, want: int) -> Refusal | None:
        """The store is away: lend from what is this process's share."""
        now = self._clock()
        if self.unit == "parallel":
            self._own, enough = float(max(1, self.limit // self._processes) + min(0, self.spent)), need
        else:
            per_s, most = self.limit / 60 / self._processes, max(1.0, self.burst / self._processes)
            self._own = min(most, self._own + (now - self._own_at) * per_s) if self._own_at is not None else most
            enough = min(need, int(most))  # of a request larger than the share the rest is owed
        self._own_at = now
        if self._own < enough:
            return self._refusal((enough - self._own) * 60 * self._processes / self.limit)
        granted = max(need, min(want, int(self._own)))
        self._own -= granted
        self.spent -= granted
        self.free += granted
        return None

    async def look_after(self, idle_after_s: float) -> None:
        """Give back what nobody takes. To be called now and then. Errors: StoreAway."""
        now = self._clock()
        if self.takes != self._seen:
            self._seen, self._idle_since = self.takes, now
        elif now - self._idle_since >= idle_after_s:
            await self.give_back()

    async def give_back(self) -> None:
        """Report what was used and give back what is free. Errors: StoreAway, and all is as it was."""
        free, spent = self.free, self.spent
        if free <= 0 and spent <= 0:
            return
        self.free, self.spent = min(0, free), 0
        try:
            draw = await self._lender.draw(self._key_id, self.unit, 0, 0, max(0, spent), max(0, free))
        except BaseException:
            self.free += max(0, free)
            self.spent += spent
            raise
        self._left, self._left_at = draw.left, self._clock()

    def header_lines(self) -> bytes:
        """OpenAI's headers: the limit, what could be used at once just now, and when all of the burst can be used again."""
        waiting_s = self._clock() - self._left_at
        remaining = min(self.burst, max(0, self.free + min(self.burst, self._left + int(waiting_s * self.limit / 60))))
        return self._lines % (remaining, duration((self.burst - remaining) * 60 / self.limit).encode())


def duration(seconds: float) -> str:
    """A time as OpenAI writes it in its headers: 0s, 12ms, 1.5s, 6m0s, 1h2m3s (https://platform.openai.com/docs/guides/rate-limits)."""
    ms = math.ceil(seconds * 1000)
    if ms < 1000:
        return f"{ms}ms" if ms > 0 else "0s"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + text
