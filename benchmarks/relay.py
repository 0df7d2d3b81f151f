"""A TCP relay that a benchmark can cut, as a network is cut: `python benchmarks/relay.py PORT TARGET_PORT`.

From SIGUSR1 to SIGUSR2 no byte passes and no connection is closed: neither side hears anything. What was sent meanwhile arrives then.
"""

import asyncio
import contextlib
import signal
import sys

READ_BYTES = 65_536


class Relay:
    """Passes bytes both ways while `passes` is set."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.passes = asyncio.Event()
        self.passes.set()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect who has come with the target, until either ends."""
        await self.passes.wait()
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(self._copy(reader, to_there), self._copy(there, writer))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(READ_BYTES):
                await self.passes.wait()
                target.write(data)
                await target.drain()
            await self.passes.wait()  # an end is news, too
        target.close()


async def serve(port: int, target_port: int) -> None:
    """Relay until a signal ends it."""
    relay, loop = Relay(target_port), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, relay.passes.clear)
    loop.add_signal_handler(signal.SIGUSR2, relay.passes.set)
    listening = await asyncio.start_server(relay.join, "127.0.0.1", port, backlog=512)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
