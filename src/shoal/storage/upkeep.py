"""What is to be done now and then, by one process of every installation; what others have done already is done once all the same."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from shoal.storage.store import STORE_ERRORS, Store

LOOK_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0

log = logging.getLogger("shoal.storage")


class Upkeep:
    """Everything that a store needs done. The log is kept for `retention_days`, where a project does not say; None is for ever."""

    def __init__(self, store: Store, retention_days: int | None) -> None:
        self._store = store
        self._works: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
            ("grant what is free this month", HOUR_S, store.grants.give),
            ("look for low balances", LOOK_S, store.alerts.refresh),
            ("delete expired responses", HOUR_S, store.responses.expire),
            ("delete expired files", HOUR_S, store.files.expire),
            ("delete what is past its retention", HOUR_S, lambda: store.retention.expire(retention_days)),
            ("check the books", DAY_S, self._check),
        ]
        self._due = [0.0] * len(self._works)

    async def run(self) -> None:
        """Do what is due, for ever; what fails is tried again a minute later."""
        while True:
            await self.do_what_is_due(time.monotonic())
            await asyncio.sleep(LOOK_S)

    async def do_what_is_due(self, now_s: float) -> None:
        """One round."""
        for number, (what, every_s, work) in enumerate(self._works):
            if now_s >= self._due[number]:
                try:
                    await work()
                    self._due[number] = now_s + every_s
                except STORE_ERRORS as error:
                    log.error("cannot %s, will try again: %s", what, error)

    async def _check(self) -> None:
        for error in await self._store.ledger.check():
            log.critical("the books are wrong: %s", error)
