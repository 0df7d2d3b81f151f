"""A process that folds a journal's directory into a database until a line or the end of stdin.

Arguments: the database's address, directory, "all" or "dead" (whose segments).
"""

import asyncio
import sys
from pathlib import Path

from shoal.storage.store import open_store


async def main() -> None:
    store = await open_store(sys.argv[1])
    folder = store.fold(Path(sys.argv[2]))
    print("ready", flush=True)
    stopped = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    while not stopped.done():
        await folder.flush(everyone=sys.argv[3] == "all")
        await asyncio.sleep(0)
    await folder.flush()
    await store.close()


asyncio.run(main())
