"""One key's money in this process: borrowed from the store in blocks, held for requests, charged when they are settled.

What is free, open and charged-but-not-folded is together what the store has lent, so nothing can be spent that an allowance does not have.
"""

from collections.abc import Callable

from shoal.core.errors import Fault
from shoal.core.lending import Lender, Shortfall, StoreAway
from shoal.core.money import usd_text
from shoal.gateway.own_key import moment
from shoal.gateway.stock import REST_S, Refusal, Stock

AHEAD_S = 2.0
"""How long a block should last."""

_HOLDS = 8
_TOO_MUCH = 4  # blocks: what is free beyond them is given back
_IN_FLIGHT_S = 1.0
_WORDS = {
    "wallet": "The organisation's credit",
    "daily": "The key's daily budget",
    "weekly": "The key's weekly budget",
    "monthly": "The key's monthly budget",
    "total": "The key's budget",
}


class Purse(Stock):
    """Nano-USD. `lease` is where they are borrowed."""

    def __init__(self, key_id: str, lender: Lender, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._key_id = key_id
        self._lender = lender
        self._spent = 0
        self._per_s = 0.0
        self._looked_at = clock()
        self._seen = 0
        self._idle_s = 0.0
        self.lease = ""

    def put(self, taken: int, used: int) -> None:
        """A hold ends: so much was charged, the rest is free."""
        self._spent += used
        super().put(taken, used)

    def block(self) -> int:
        """Two seconds' worth, or eight holds of the usual size."""
        return max(int(self._per_s * AHEAD_S), _HOLDS * self.largest)

    async def fetch(self, need: int, want: int) -> Refusal | None:
        """Borrow more. Errors: Fault overloaded where the store is away."""
        try:
            grant = await self._lender.borrow(self._key_id, need, want)
        except StoreAway:
            raise store_away() from None
        if grant.amount_nano:
            self.lease = grant.lease
            self.free += grant.amount_nano
        self.low = max(int(self._per_s * AHEAD_S / 4), 2 * self.largest)
        short = grant.short
        if short is None or not need:
            return None
        return Refusal(lambda amount: self._explain(short, amount), short.available_nano, self._clock() + REST_S)

    def _explain(self, short: Shortfall, amount: int) -> Fault:
        left = self.free + short.available_nano
        waits = short.in_flight or amount <= left + self.open
        text = f"{_WORDS[short.what]} has {dollars(left)} left, and this request may cost {dollars(amount)}."
        if waits:
            text += " Requests under way hold more than that; what they do not use is free when they end."
        if short.resets_at_ms is not None:
            text += f" It is filled again at {moment(short.resets_at_ms)}."
        return Fault("insufficient_quota", text, retry_after_s=_IN_FLIGHT_S if waits else None)

    async def look_after(self, idle_after_s: float) -> None:
        """See how fast money is spent, and give back what is not needed. To be called now and then. Errors: StoreAway."""
        now = self._clock()
        elapsed_s, self._looked_at = max(now - self._looked_at, 1e-3), now
        self._per_s += (self._spent / elapsed_s - self._per_s) * min(1.0, elapsed_s / AHEAD_S)
        self._spent = 0
        self._idle_s = self._idle_s + elapsed_s if self.takes == self._seen else 0.0
        self._seen = self.takes
        if self._idle_s >= idle_after_s:
            self.largest = self.low = 0
            await self.give_back(self.free)
        elif self.free > _TOO_MUCH * self.block():
            await self.give_back(self.free - self.block())

    async def give_back(self, amount: int) -> None:
        """Give free money back. Errors: StoreAway, and it is free again."""
        amount = min(amount, self.free)
        if amount <= 0:
            return
        self.free -= amount
        try:
            await self._lender.give_back(self._key_id, self.lease, amount)
        except BaseException:
            self.free += amount
            raise


def store_away() -> Fault:
    """What is said while money cannot be counted."""
    text = "The store that counts what may be spent cannot be reached, so the request is not answered; try again shortly."
    return Fault("overloaded", text, retry_after_s=1)


def dollars(nano: int) -> str:
    """An amount for a sentence."""
    return f"${usd_text(nano)}"
