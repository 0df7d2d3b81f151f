"""The process that makes students: it takes up queued jobs, one at a time, and has each done by a process of its own.

It is light itself and waits most of its life; what trains loads its libraries in a process that ends with the job (labour.py). There is one
trainer in a home, which a lock sees to, so that a job of this home's that seems to be worked on was left by the one before. Run by the
parent as `python -m shoal.wiring.trainer --url URL`.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from shoal.core.errors import Fault
from shoal.core.money import NANO_PER_USD
from shoal.distil.telling import Order
from shoal.net.parent import follow_parent, tell_ready
from shoal.settings import Settings, home, load
from shoal.storage.holders import read_home
from shoal.storage.jobs import Job
from shoal.storage.store import STORE_ERRORS, Store, open_store
from shoal.telemetry.log import configure
from shoal.wiring.labour import COMMAND, Labour
from shoal.wiring.tidying import tidy

log = logging.getLogger("shoal.trainer")

NICENESS = 15
LOOK_S = 1.0
TIDY_S = 3600.0
LOCK = "trainer.lock"
_LONGEST_REST_S = 60.0
_KEY_LIFE_MS = 7 * 24 * 3600 * 1000


class Trainer:
    """Works on what is queued, for ever. `url` is where the gateway answers."""

    def __init__(self, store: Store, settings: Settings, url: str, command: Sequence[str] = COMMAND) -> None:
        self._store, self._settings, self._url, self._command = store, settings, url, command
        self._home = home()

    async def run(self) -> None:
        """Until it is cancelled; the job it then works on is given back."""
        rest_s, tidied_at = LOOK_S, float("-inf")
        while True:
            worked = None
            try:
                worked = await self.work()
                if time.monotonic() > tidied_at + TIDY_S:
                    tidied_at = time.monotonic()
                    await tidy(self._store, self._home, self._settings.storage.retention_days)
            except STORE_ERRORS as error:
                log.error("cannot look for jobs, will try again: %s", error)
            rest_s = min(rest_s * 2, _LONGEST_REST_S) if worked is False else LOOK_S  # a process that dies may die again
            if worked is not True:
                await asyncio.sleep(rest_s)

    async def work(self, job_id: str | None = None) -> bool | None:
        """Take up one job, this one if it is named: True when it has ended, False when its process died, None where there is none."""
        job = await self._store.jobs.claim(await asyncio.to_thread(read_home, self._home), job_id)
        if job is None:
            return None
        borrowed = await self._borrow_secret(job)
        try:
            org = await self._store.organisations.find(job.org_id)
            order = self._order(job, org.name, borrowed[1] if borrowed else "")
            return await Labour(self._store, job, order, self._command).run()
        except asyncio.CancelledError:
            await self._store.jobs.release(job)
            raise
        finally:
            if borrowed:
                await self._store.keys.revoke(borrowed[0], actor="trainer")

    async def work_to_end(self, job_id: str) -> None:
        """Work on one job until it has ended, or is halted, however often its process dies."""
        died = True
        while died:
            died = await self.work(job_id) is False
            await asyncio.sleep(LOOK_S if died else 0)

    async def _borrow_secret(self, job: Job) -> tuple[str, str] | None:
        """A secret that spends what the key may spend that wished for the job; its row's id and itself. None: there is no such key."""
        try:
            return await self._store.key_changes.stand_in(job.org_id, job.key_id, expires_at_ms=int(time.time() * 1000) + _KEY_LIFE_MS)
        except Fault:
            return None

    def _order(self, job: Job, org_name: str, secret: str) -> Order:
        distil, storage = self._settings.distil, self._settings.storage
        certificate = self._settings.server.tls_cert
        return Order(
            job=job,
            store=storage.url or str(self._home / "shoal.db"),
            home=str(self._home),
            org_name=org_name,
            url=self._url,
            key=secret,
            authority="" if certificate is None else str(Path(certificate).absolute()),
            threads=distil.threads or os.cpu_count() or 1,
            watts_per_core=distil.watts_per_core,
            usd_per_hour=self._settings.mini.usd_per_hour,
            most_minutes=distil.most_minutes,
            budget_nano=round(distil.budget_usd * NANO_PER_USD),
            overrides=distil.licence_overrides,
        )


class Locked:
    """Whether this process is the home's trainer."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> bool:
        """True, once nobody else is."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go."""
        os.close(self._file)


async def train(settings: Settings, url: str) -> None:
    """Work until a signal."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        store = await open_store(settings.storage.url or home() / "shoal.db")
        stack.push_async_callback(store.close)
        locked = Locked(home())
        stack.callback(locked.close)
        working = asyncio.create_task(_work_locked(locked, Trainer(store, settings, url)))
        stopped = asyncio.create_task(stopping.wait())
        tell_ready()
        await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        working.cancel()
        await asyncio.gather(working, stopped, return_exceptions=True)
        if not working.cancelled():
            working.result()  # it never ends by itself, unless by a fault of ours


async def _work_locked(locked: Locked, trainer: Trainer) -> None:
    while True:
        if locked.take():
            await trainer.run()
        await asyncio.sleep(LOOK_S)  # it is another one's, or a command's that trains in the foreground


def main() -> None:
    """Entry of the process."""
    arguments = argparse.ArgumentParser(prog="shoal.wiring.trainer")
    arguments.add_argument("--url", required=True)
    arguments.add_argument("--config", type=Path)
    given = arguments.parse_args()
    configure()
    follow_parent(lambda: os._exit(1))
    os.nice(NICENESS)
    try:
        asyncio.run(train(load(given.config), given.url))
    except Fault as fault:
        print(f"shoal: {fault.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
