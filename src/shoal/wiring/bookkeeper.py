"""The process that keeps the books: it folds every worker's journal into the store, takes back what the dead had borrowed, and
does what is due now and then.

It runs beside the workers with a lower priority, so that a busy machine answers first and counts a moment later: on the same core a
fold would cost a sixth of the path's speed. When it dies the journals wait; when the machine stops it folds what the workers left.
Run by the parent as `python -m shoal.wiring.bookkeeper`.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from shoal.core.errors import Fault
from shoal.net.parent import follow_parent, tell_ready
from shoal.settings import Settings, home, load
from shoal.storage.fold import Folder
from shoal.storage.store import STORE_ERRORS, Store, open_store
from shoal.storage.upkeep import Upkeep
from shoal.telemetry.log import configure

log = logging.getLogger("shoal")

NICENESS = 10
RELEASE_S = 1.0


async def keep(settings: Settings) -> None:
    """Keep the books until a signal, then fold once more."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        store = await open_store(settings.storage.url or home() / "shoal.db")
        stack.push_async_callback(store.close)
        folder = store.fold(home() / "journal", everyone=True)
        folding = asyncio.create_task(folder.run())
        upkeep = Upkeep(store, settings.storage.retention_days)
        others = [asyncio.create_task(one) for one in (upkeep.run(), _release(store, folder))]
        tell_ready()
        await stopping.wait()
        for task in others:
            task.cancel()
        folder.stop()
        await folding
        await _release_once(store, folder)


async def _release(store: Store, folder: Folder) -> None:
    """What dead workers had borrowed is free again a moment after their death."""
    while True:
        await _release_once(store, folder)
        await asyncio.sleep(RELEASE_S)


async def _release_once(store: Store, folder: Folder) -> None:
    try:
        released = await store.holders.release_dead(home(), folder)
        if released:
            log.info("what %d ended processes had borrowed is free again", len(released))
    except STORE_ERRORS as error:
        log.error("cannot take back what ended processes had borrowed, will try again: %s", error)


def main() -> None:
    """Entry of the process."""
    arguments = argparse.ArgumentParser(prog="shoal.wiring.bookkeeper")
    arguments.add_argument("--config", type=Path)
    given = arguments.parse_args()
    configure()
    follow_parent(lambda: os._exit(1))
    os.nice(NICENESS)
    try:
        asyncio.run(keep(load(given.config)))
    except Fault as fault:
        print(f"shoal: {fault.message}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
