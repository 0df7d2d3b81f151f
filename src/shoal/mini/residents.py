"""The students that are loaded: each when it is first asked for, several at once within a budget of memory, the least used first to go.

A student with runs under way, or that somebody waits for, is never unloaded; one that was taken off the shelf goes when its last run has
ended. Loading happens one at a time. What cannot be loaded is an error for those who asked for it, and is not tried again at once.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Protocol

import msgspec

from shoal.core.errors import Fault
from shoal.mini.memory import resident_bytes
from shoal.mini.served import ServedChat, ServedHead
from shoal.mini.shelf import Published, Shelf

_log = logging.getLogger(__name__)
WAIT_S = 30.0
"""How long a request waits for its student."""
MOST_WAITING = 512
_AGAIN_S = 5.0  # after a student could not be loaded
_LEAST_GROWTH = 4  # a loaded student takes at least a fourth of what was expected; the rest of what the process grew by may be others'


class Footprint(msgspec.Struct, frozen=True):
    """What a student takes, in bytes: its weights once loaded, as far as can be told before, and the cache that it may fill."""

    weights: int
    cache: int = 0

    @property
    def whole(self) -> int:
        """Both."""
        return self.weights + self.cache


class Loader(Protocol):
    """How students are loaded. Both block; they are called in threads."""

    def measure(self, student: Published) -> Footprint:
        """What it would take."""

    def load(self, student: Published, cache_bytes: int) -> ServedChat | ServedHead:
        """Load it. Raises Fault or anything else."""


class Resident:
    """A student that is loaded, or about to be."""

    def __init__(self, student: Published) -> None:
        self.student = student
        self.model: ServedChat | ServedHead | None = None
        self.loaded: asyncio.Future[ServedChat | ServedHead] = asyncio.get_running_loop().create_future()
        self.users = 0
        self.bytes = 0
        self.used = 0
        self.load_s = 0.0
        self.outdated = False


class Residents:
    """The loaded students of a shelf. Everything is called on the event loop."""

    def __init__(
        self, shelf: Shelf, loader: Loader, budget_bytes: int, *, wait_s: float = WAIT_S, held: Callable[[], int] = resident_bytes
    ) -> None:
        self.shelf = shelf
        self.budget_bytes = budget_bytes
        self._loader = loader
        self._wait_s = wait_s
        self._held = held
        self._loaded: dict[str, Resident] = {}
        self._failed: dict[str, tuple[float, Published, Fault]] = {}
        self._known: dict[str, int] = {}  # what a student's weights took when it was loaded before
        self._turn = asyncio.Lock()
        self._idle = asyncio.Event()
        self._order = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def loaded(self) -> list[Resident]:
        """Those that are ready to answer."""
        return [one for one in self._loaded.values() if one.model is not None]

    @property
    def bytes(self) -> int:
        """What the loaded ones take."""
        return sum(one.bytes for one in self._loaded.values())

    def find(self, name: str) -> Published:
        """The version behind a name or alias, as it is on the shelf now. Raises Fault model_not_found."""
        self.refresh()
        found = self.shelf.find(name)
        if found is None:
            raise Fault("model_not_found", f"The student {name[:200]!r} is not on this machine.", param="model")
        return found

    def refresh(self) -> None:
        """Look at the shelf, and let go of what is not there any more."""
        if not self.shelf.refresh():
            return
        for one in list(self._loaded.values()):
            there = self.shelf.find(one.student.id)
            if there is None or there.card != one.student.card:
                one.outdated = True
                self._let_go(one)

    @asynccontextmanager
    async def use(self, name: str) -> AsyncIterator[ServedChat | ServedHead]:
        """A loaded student, which stays loaded within the context. Raises Fault: it does not come, or not in time."""
        student = self.find(name)
        one = self._loaded.get(student.id)
        if one is None or one.outdated:
            one = self._begin(student)
        if one.model is None and one.users >= MOST_WAITING:
            raise Fault("rate_limited", f"Too many wait for {student.id!r} to be loaded; try again in a moment.", retry_after_s=2)
        one.users += 1
        one.used = next(self._order)
        try:
            yield one.model or await self._await(one)
        finally:
            one.users -= 1
            if not one.users:
                self._idle.set()
                if one.outdated:
                    self._let_go(one)

    async def close(self) -> None:
        """Free all of them."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for one in self.loaded:
            await asyncio.to_thread(_free, one)
        self._loaded.clear()

    async def _await(self, one: Resident) -> ServedChat | ServedHead:
        await asyncio.wait([one.loaded], timeout=self._wait_s)  # a request is no task, as asyncio.timeout wants it
        if one.loaded.done():
            return one.loaded.result()
        text = f"The student {one.student.id!r} is still being loaded; try again in a few seconds."
        raise Fault("not_ready", text, retry_after_s=2)

    def _begin(self, student: Published) -> Resident:
        failed = self._failed.get(student.id)
        if failed is not None and failed[0] > time.monotonic() and failed[1].card == student.card:
            raise failed[2]
        before = self._loaded.get(student.id)
        if before is not None:  # outdated, and still in use: it is counted until it goes
            self._loaded[f"{student.id} until it is idle {next(self._order)}"] = before
        one = self._loaded[student.id] = Resident(student)
        one.loaded.add_done_callback(_hear)
        self._start(self._load(one))
        return one

    async def _load(self, one: Resident) -> None:
        student = one.student
        async with self._turn:
            try:
                needs = await asyncio.to_thread(self._loader.measure, student)
                needs = Footprint(self._known.get(student.id, needs.weights), needs.cache)
                await self._make_room(one, needs)
                before, began = self._held(), time.monotonic()
                model = await asyncio.to_thread(self._loader.load, student, needs.cache)
                weights = min(max(self._held() - before, needs.weights // _LEAST_GROWTH), 2 * needs.weights)
            except asyncio.CancelledError:
                one.loaded.cancel()
                raise
            except Exception as error:  # supervised: a student is made by others, and must not end more than its own answers
                self._fail(one, error)
                return
            one.load_s, one.bytes = time.monotonic() - began, weights + needs.cache
            self._known[student.id] = weights
            self._failed.pop(student.id, None)
            one.model = model
            one.loaded.set_result(model)
            _log.info("loaded %s in %.1f s: %d MB of %d MB", student.id, one.load_s, one.bytes >> 20, self.budget_bytes >> 20)
        if one.outdated:
            self._let_go(one)

    def _fail(self, one: Resident, error: Exception) -> None:
        self._forget(one)
        if isinstance(error, Fault):
            fault = error
        else:
            _log.error("the student %s cannot be loaded", one.student.id, exc_info=error)
            fault = Fault("overloaded", f"The student {one.student.id!r} cannot be loaded: {_in_a_line(error)}", retry_after_s=_AGAIN_S)
        if fault.kind != "not_ready":
            self._failed[one.student.id] = (time.monotonic() + _AGAIN_S, one.student, fault)
        one.loaded.set_exception(fault)

    async def _make_room(self, one: Resident, needs: Footprint) -> None:
        """Unload until there is room, waiting for runs to end where nothing is idle. Raises Fault."""
        if needs.whole > self.budget_bytes:
            text = (
                f"The student {one.student.id!r} takes {needs.whole >> 20} MB, and all students together may take "
                f"{self.budget_bytes >> 20} MB: raise [mini] students_memory_mb."
            )
            raise Fault("overloaded", text, retry_after_s=_AGAIN_S)
        one.bytes = needs.whole
        until = time.monotonic() + self._wait_s
        while self.bytes > self.budget_bytes:
            idle = [other for other in self.loaded if not other.users]
            if idle:
                await self._unload(min(idle, key=lambda other: other.used))
                continue
            self._idle.clear()
            try:
                async with asyncio.timeout_at(asyncio.get_running_loop().time() + max(0.0, until - time.monotonic())):
                    await self._idle.wait()
            except TimeoutError:
                text = "The students that are loaded are all busy, and there is no room for another; try again in a few seconds."
                raise Fault("not_ready", text, retry_after_s=2) from None

    def _let_go(self, one: Resident) -> None:
        """Unload one that is not wanted any more, once nobody uses it."""
        if not one.users and one.model is not None:
            self._start(self._unload(one))

    async def _unload(self, one: Resident) -> None:
        self._forget(one)
        if one.model is not None:
            _log.info("unloading %s", one.student.id)
            await asyncio.to_thread(_free, one)

    def _forget(self, one: Resident) -> None:
        self._loaded = {name: other for name, other in self._loaded.items() if other is not one}

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _free(one: Resident) -> None:
    model, one.model = one.model, None
    if isinstance(model, ServedChat):
        model.engine.close()


def _hear(loaded: "asyncio.Future[ServedChat | ServedHead]") -> None:
    if not loaded.cancelled():
        loaded.exception()  # whoever waits has it; perhaps nobody does any more


def _in_a_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
