"""A request served in the turn of the event loop that brought it.

A task costs more than many requests do in all: its making, its registration, two turns of the loop. So the coroutine that serves a request
is started at once, and gone on with when the head of its upstream's answer is there; only one that has to wait for anything else becomes
a task then, for good.
"""

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

log = logging.getLogger("shoal.net")

_running: "Run | None" = None  # the one whose coroutine runs now, outside of a task


class Run:
    """One coroutine on its way; it is in `among` until it has ended. Cancelled like a task."""

    __slots__ = ("_among", "_coroutine", "_loop", "_task", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, None], among: set[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._among = among
        self._loop = loop
        self._waits_for: Event | None = None
        self._task: asyncio.Task[None] | None = None
        among.add(self)

    def step(self, error: BaseException | None = None) -> None:
        """Go on until it has to wait."""
        global _running
        outer, _running = _running, self
        self._waits_for = None
        try:
            awaited = self._coroutine.send(None) if error is None else self._coroutine.throw(error)
        except StopIteration:
            self._among.discard(self)
            return
        except BaseException:
            self._among.discard(self)
            log.exception("a request failed for a reason of our own")
            return
        finally:
            _running = outer
        if type(awaited) is Event:
            self._waits_for = awaited
            awaited.then = self.step
        else:
            self._task = self._loop.create_task(self._go_on(awaited))

    def cancel(self, msg: object = None) -> None:
        """Stop it where it waits, in the next turn of the loop: who cancels may be walking over `among`. `msg` is a task's, and unused."""
        self._loop.call_soon(self._stop)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        elif self._waits_for is not None:
            self._waits_for.then = None
            self.step(asyncio.CancelledError())

    async def _go_on(self, awaited: Any) -> None:
        try:
            await _rest(awaited, self._coroutine)
        finally:
            self._among.discard(self)


@types.coroutine
def _rest(awaited: Any, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    """What is left of a coroutine that waits for `awaited`, for the task that takes it over."""
    while True:
        try:
            value = yield awaited
        except BaseException as error:
            step: Callable[[Any], Any] = coroutine.throw
            value = error
        else:
            step = coroutine.send
        try:
            awaited = step(value)
        except StopIteration:
            return


@types.coroutine
def in_task() -> Generator[None, None, None]:
    """Await this before what only works in a task, such as asyncio.timeout."""
    if _running is not None:
        yield


class Event:
    """Something that happens once, well or with an error, and that one coroutine awaits. `then` is called by whoever makes it happen."""

    __slots__ = ("_error", "_future", "_loop", "done", "then")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._error: BaseException | None = None
        self._future: asyncio.Future[None] | None = None
        self.done = False
        self.then: Callable[[], None] | None = None

    def happen(self, error: BaseException | None = None) -> None:
        """It has happened. Who waits goes on when `tell` is called, in the same turn of the loop."""
        self.done, self._error = True, error

    def tell(self) -> None:
        """Let the one who waits go on, if it has happened."""
        if not self.done:
            return
        if (then := self.then) is not None:
            self.then = None
            then()
        elif self._future is not None and not self._future.done():
            self._future.set_result(None)

    def __await__(self) -> Generator[Any, Any, None]:
        if not self.done:
            if _running is not None:
                yield self
            else:
                self._future = self._loop.create_future()
                yield from self._future
        if self._error is not None:
            raise self._error
