"""What a process borrows from the store, so that counting money and rates costs no look into the store on a request's path.

A lease is money for one key, reserved in every allowance of the key at once (its organisation's wallet, where that is prepaid, and its
budgets). A draw is a part of a key's bucket of requests, tokens or parallel requests. The lender knows the key's limits from the store.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

Unit = Literal["requests", "tokens", "parallel"]
Allowance = Literal["wallet", "daily", "weekly", "monthly", "total"]


class StoreAway(Exception):
    """The store cannot be asked just now. What is held may be spent; nothing more is lent."""


class Shortfall(msgspec.Struct, frozen=True):
    """Why nothing was lent: which allowance is short, the nano-USD that could be lent of it, and when it is filled again (milliseconds
    since 1970; None: never by itself). `in_flight`: it would do, were others' open holds settled."""

    what: Allowance
    available_nano: int
    resets_at_ms: int | None = None
    in_flight: bool = False


class Grant(msgspec.Struct, frozen=True):
    """Nano-USD that were added to this process's lease of a key; 0, and `short` says why, where what was needed did not fit."""

    lease: str
    amount_nano: int
    short: Shortfall | None = None


class Draw(msgspec.Struct, frozen=True):
    """Units that were drawn, and what the bucket still has; 0 were drawn where fewer than were needed are there, and then
    `retry_after_s` is when they can be."""

    granted: int
    retry_after_s: float = 0.0
    left: int = 0


class Spent(msgspec.Struct, frozen=True):
    """What a key was charged, in nano-USD, without open holds: ever, on this UTC day, in this ISO week and in this calendar month.

    `wallet_nano` is its organisation's balance, None where that pays nothing in advance; `free_tier`: nothing was ever paid into it.
    """

    total_nano: int = 0
    daily_nano: int = 0
    weekly_nano: int = 0
    monthly_nano: int = 0
    wallet_nano: int | None = None
    free_tier: bool = False


class Lender(Protocol):
    """The store's side. One for every process; what it lent to a process that is dead returns by itself. Errors of all: StoreAway."""

    async def borrow(self, key_id: str, need_nano: int, want_nano: int) -> Grant:
        """Add `want_nano`, or less where that does not fit, but not less than `need_nano`, to this process's lease of the key.

        Where others hold free money they are asked to give it back first, for a moment. With a need of 0, which is never refused, nobody
        is asked, and 0 may be lent. A key that has no lease gets one, which keeps its id until it has been given back whole.
        """

    async def give_back(self, key_id: str, lease: str, amount_nano: int) -> None:
        """Take free money out of a lease. What was charged leaves it when the journal's entry, which names the lease, is folded."""

    async def draw(self, key_id: str, unit: Unit, need: int, want: int, spent: int, unspent: int) -> Draw:
        """Draw `want` units, or less, but not less than `need`; need 0 and want 0 only report.

        First `spent`, then `unspent` of what was drawn before are taken off what this process is lent. What of `spent` exceeds that is
        taken from the bucket's level, which may be below zero for a time: requests turned out larger than was reckoned with. `unspent`
        is added to the level, all of it, but not beyond the burst: some may have been reported as spent before. Of `parallel` nothing
        is ever spent. What a key without such a limit asks for is granted.
        """

    async def recalled(self) -> Sequence[tuple[str, str]]:
        """Keys, each with "money" or a unit, of which others need what this process holds free."""

    async def beat(self) -> None:
        """Say that this process lives: to be called every few seconds."""
