"""The keys whose money or rates are counted, in this process: what each has borrowed, looked after in the background.

What lies idle, or what others wait for, goes back to the store; when the process ends, everything does.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from shoal.core.identity import Principal
from shoal.core.lending import Lender, StoreAway, Unit
from shoal.core.terms import burst_requests, burst_tokens
from shoal.gateway import stock
from shoal.gateway.purse import Purse
from shoal.gateway.rates import Bucket

log = logging.getLogger("shoal.gateway")

LOOK_S = 0.4
BEAT_S = 5.0
MONEY_IDLE_S = 5.0
RATES_IDLE_S = 1.0


class Account:
    """One key's purse and buckets; those that its terms do not limit are None."""

    purse: Purse | None = None
    requests: Bucket | None = None
    tokens: Bucket | None = None
    parallel: Bucket | None = None

    def __init__(self, lender: Lender, processes: int, clock: Callable[[], float]) -> None:
        self._lender = lender
        self._processes = processes
        self._clock = clock
        self._purse: Purse | None = None
        self._buckets: dict[Unit, Bucket] = {}
        self.principal: Principal | None = None
        self.holds = 0  # requests under way

    def follow(self, principal: Principal) -> None:
        """Take over the key's terms, which have changed."""
        self.principal, terms = principal, principal.terms
        if principal.counted and self._purse is None:
            self._purse = Purse(principal.key_id, self._lender, self._clock)
        self.purse = self._purse if principal.counted else None
        self.requests = self._bucket("requests", terms.rpm, burst_requests(terms))
        self.tokens = self._bucket("tokens", terms.tpm, burst_tokens(terms))
        self.parallel = self._bucket("parallel", terms.parallel, terms.parallel or 1)

    def _bucket(self, unit: Unit, limit: int | None, burst: int) -> Bucket | None:
        if limit is None or self.principal is None:
            return None
        bucket = self._buckets.get(unit)
        if bucket is None:
            bucket = self._buckets[unit] = Bucket(self.principal.key_id, unit, self._lender, self._processes, self._clock)
        bucket.set_limits(limit, burst)
        return bucket

    async def look_after(self) -> None:
        """What is to be done now and then. Errors: StoreAway."""
        if self._purse is not None:
            await self._purse.look_after(MONEY_IDLE_S)
        for bucket in self._buckets.values():
            await bucket.look_after(RATES_IDLE_S)

    async def give_back(self, what: str | None = None) -> None:
        """Give back all that is free: "money", or of one unit; None is everything. Errors: StoreAway."""
        if self._purse is not None and what in (None, "money"):
            self._purse.rest()
            await self._purse.give_back(self._purse.free)
        for unit, bucket in self._buckets.items():
            if what in (None, unit):
                bucket.rest()
                await bucket.give_back()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is borrowed, and nothing under way."""
        purse, buckets = self._purse, self._buckets.values()
        if self.holds or (purse is not None and (purse.free or not purse.is_still)):
            return False
        return all(one.is_still and not one.free and not one.spent for one in buckets)

    def header_lines(self) -> bytes:
        """What callers are told of their rates with every answer."""
        lines = b"" if self.requests is None else self.requests.header_lines()
        return lines if self.tokens is None else lines + self.tokens.header_lines()


class Accounts:
    """Every account that is in use. `processes` is how many share a key on this machine."""

    def __init__(self, lender: Lender, processes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self._lender = lender
        self._processes = processes
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._away = False

    def find(self, principal: Principal) -> Account:
        """The account of a key."""
        account = self._accounts.get(principal.key_id)
        if account is None:
            account = self._accounts[principal.key_id] = Account(self._lender, self._processes, self._clock)
        if account.principal is not principal:
            account.follow(principal)
        return account

    async def run(self) -> None:
        """Look after all accounts for ever."""
        beaten_at = -BEAT_S
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._clock()
            if now - beaten_at >= BEAT_S and await self._try(self._lender.beat()):
                beaten_at = now
            await self._try(self._return_recalled())
            await self._look_after()

    async def _return_recalled(self) -> None:
        recalled = await self._lender.recalled()
        self._away = False
        for key_id, what in recalled:
            account = self._accounts.get(key_id)
            if account is not None:
                await account.give_back(what)

    async def _look_after(self) -> None:
        for key_id, account in list(self._accounts.items()):
            if not await self._try(account.look_after()):
                return
            if account.is_empty:
                self._accounts.pop(key_id, None)

    async def _try(self, work: Awaitable[None]) -> bool:
        """Whether the store could be asked; that it is away is said once."""
        try:
            await work
        except StoreAway as away:
            if not self._away:
                log.warning("what keys may spend cannot be borrowed: %s", away)
            self._away = True
            return False
        return True

    async def close(self) -> None:
        """Give everything back; requests are over."""
        await stock.all_home()
        for account in list(self._accounts.values()):
            if not await self._try(account.give_back()):
                return
