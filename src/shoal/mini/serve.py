"""The mini's process: `python -m shoal.mini.serve --socket PATH --home PATH --model minnow --threads N`.

It listens on its Unix socket before it loads anything, so that whoever waits can ask /health. It never outlives its parent: the end of
standard input ends it, and on Linux the kernel does too. A broken engine ends it with status 70, for the parent to start it afresh.
"""

import argparse
import asyncio
import ctypes
import logging
import os
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

from shoal.mini import catalogue
from shoal.mini.card import Speed
from shoal.mini.door import MiniDoor
from shoal.mini.engine import Engine
from shoal.mini.loading import StudentLoader, speed_of
from shoal.mini.memory import machine_bytes
from shoal.mini.pull import PullFailed
from shoal.mini.residents import Residents
from shoal.mini.served import HeadTurns, ServedChat, ServedEmbedder
from shoal.mini.shelf import Published, Shelf
from shoal.mini.stepper import Stepper
from shoal.net import host, parent
from shoal.net.private import listen

log = logging.getLogger("shoal.mini")

EXIT_BROKEN = 70  # EX_SOFTWARE
EXIT_UNPREPARED = 78  # EX_CONFIG: starting again will not help
_FLUSH_S = 0.2  # for the last error events to reach the callers of a broken engine
_GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
_STUDENTS_SHARE = 3  # students may take a third of the memory; the minnow's cache has its own share


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m shoal.mini.serve", description="Serve local models on a Unix socket.")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--home", type=Path, required=True, help="the directory that holds weights/")
    parser.add_argument("--model", action="append", required=True, help="a prepared generative model; may be repeated")
    parser.add_argument("--embed", default=catalogue.EMBEDDING, help="a prepared sentence model, served if it is there")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="threads of each engine")
    parser.add_argument("--students-mb", type=int, default=0, help="memory for all students together; 0: a third of the machine's")
    return parser.parse_args(arguments)


def follow_parent() -> None:
    """End this process when its parent ends. A terminal or a file on standard input means there is nobody to follow."""
    mode = os.fstat(0).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    parent.follow_parent(lambda: os._exit(0))  # at once: nobody is left to read an answer


class Mini:
    """The process's parts: the door, and the engines behind it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._engines: list[Engine] = []
        self._stepper = Stepper()
        self._on_broken = _make_breaker(asyncio.get_running_loop())
        self._loader = StudentLoader(options.home, options.threads, self._stepper, self._on_broken)
        budget = options.students_mb << 20 or machine_bytes() // _STUDENTS_SHARE
        self.residents = Residents(Shelf(options.home), self._loader, budget)
        self.door = MiniDoor([*options.model, options.embed], self.residents, self._speed_of)

    def _speed_of(self, student: Published, reading: Speed | None) -> Speed | None:
        return speed_of(self._options.home, student, reading)

    async def load(self) -> None:
        """Load all models, the first one first. Exits the process when a generative model cannot be loaded."""
        options = self._options
        try:
            for name in options.model:
                engine = await asyncio.to_thread(
                    catalogue.load_engine, options.home, name, options.threads, self._on_broken, stepper=self._stepper
                )
                self._engines.append(engine)
                self.door.open(ServedChat(name, engine), _read_speed(options.home, name))
        except PullFailed as error:
            _leave(f"cannot load {name}: {error}", EXIT_UNPREPARED)
        except Exception:
            log.exception("loading failed")
            _leave(f"cannot load {name}", EXIT_BROKEN)
        await self._load_embedder()
        parent.tell_ready()

    async def _load_embedder(self) -> None:
        options = self._options
        try:
            threads = max(1, options.threads // 2)  # answers under way keep the other half
            embedder = await asyncio.to_thread(catalogue.load_embedder, options.home, threads, options.embed)
            served = ServedEmbedder(options.embed, embedder)
            async with served.turn:
                self._loader.turns = HeadTurns(served)
                self.door.open(served, await asyncio.to_thread(catalogue.measure_reading, options.home, options.embed, embedder))
        except Exception as error:
            if isinstance(error, PullFailed):
                log.warning("no embeddings: %s", error)
            else:
                log.exception("no embeddings: loading %s failed", options.embed)
            self._loader.lacks = str(error)
            self.door.close(options.embed)

    async def close(self) -> None:
        """Free the engines."""
        await self.residents.close()
        for engine in self._engines:
            await asyncio.to_thread(engine.close)
        await asyncio.to_thread(self._stepper.close)


def _make_breaker(loop: asyncio.AbstractEventLoop) -> Callable[[str], None]:
    """What an engine calls, from its own thread, when it can serve no more."""

    def end(reason: str) -> None:
        log.error("the engine is broken, this process ends: %s", reason)
        loop.call_soon_threadsafe(loop.call_later, _FLUSH_S, os._exit, EXIT_BROKEN)

    return end


def _read_speed(home: Path, name: str) -> Speed | None:
    try:
        return catalogue.measured_speed(home, name)
    except OSError:
        log.warning("the speed of %s was not measured", name)
        return None


def _leave(reason: str, status: int) -> None:
    print(f"shoal: {reason}", file=sys.stderr, flush=True)
    os._exit(status)  # uvicorn would turn an exception in a task into a server that never becomes ready


async def run(options: argparse.Namespace) -> None:
    """Serve until a signal ends it."""
    sock = listen(options.socket)
    mini = Mini(options)
    loading = asyncio.get_running_loop().create_task(mini.load())
    try:
        await host.serve(mini.door, host.nowhere, sockets=[sock], drain=host.Drain(drain_s=0.0, grace_s=_GRACE_S))
    finally:
        loading.cancel()
        options.socket.unlink(missing_ok=True)
        await mini.close()


def main() -> int:
    """Run as a program."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # whoever starts it is told by the greeting
    follow_parent()
    options = parse()
    try:
        uvloop.run(run(options))
    except OSError as error:
        print(f"shoal: cannot listen at {options.socket}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
