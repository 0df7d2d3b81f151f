"""A pool of connections to one upstream: bounded, reused, swept for deadlines. Every failure is a Fault that says where it happened."""

import asyncio
import contextlib
import ssl
from collections import deque

from shoal.core.errors import Fault
from shoal.net.dial import connect
from shoal.net.limits import Timeouts
from shoal.net.run import in_task
from shoal.net.target import Target
from shoal.net.upstream import Heard, Response, Upstream

_IDLE_KEEP_S = 30.0
_SWEEP_S = 0.1
_FEWEST_SILENT = 5
"""Requests that hear nothing make an upstream silent; until it is heard again one is enough."""


class Pool:
    """Connections to one target: at most `size`, the idle ones reused last in, first out, and closed after 30 s of idleness."""

    def __init__(self, target: Target, size: int = 4096) -> None:
        self.target = target
        self.size = size
        self.loop = asyncio.get_running_loop()
        self.idle: list[Upstream] = []
        self.busy: set[Upstream] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_due = 0.0

    async def send(
        self, head: bytes, body: bytes, timeouts: Timeouts, heard: Heard | None = None, silence_s: float | None = None
    ) -> Response:
        """Send a request (`head` ends after its last header line) and wait for the answer's head.

        `silence_s` is Try's; `heard` is shared by all requests whose answers tell that the upstream is not silent to this one.

        A reused connection that the upstream had closed before it sent a byte is replaced once by a fresh one.
        """
        data = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        while True:
            connection = self._reuse() or await self._open(timeouts)
            self.busy.add(connection)
            response = connection.request(data, timeouts, heard or Heard(), silence_s)
            if self._sweeper is None:
                self._sweep_again(self.loop.time())
            try:
                await response.head
            except Fault as fault:
                if fault.kind == "upstream_cut" and connection.used > 1 and not connection.head_bytes:
                    continue
                raise
            except asyncio.CancelledError:
                connection.abort()
                raise
            return response

    def _reuse(self) -> Upstream | None:
        while self.idle:
            connection = self.idle.pop()
            if connection.usable:
                return connection
        return None

    async def _open(self, timeouts: Timeouts) -> Upstream:
        while len(self.busy) + len(self.idle) + self._opening >= self.size:
            await self._await_place(timeouts)
            reused = self._reuse()
            if reused is not None:
                return reused
        self._opening += 1
        connection = None
        try:
            await in_task()
            async with asyncio.timeout(timeouts.connect_s):
                connection = await connect(self, self.target, self.loop)
                return connection
        except TimeoutError:
            raise Fault("upstream_unreachable", f"No connection to {self.target.authority} within {timeouts.connect_s:g} s.") from None
        except ssl.SSLError as error:
            raise Fault("upstream_unreachable", f"TLS with {self.target.authority} failed: {error.reason or error}.") from None
        except OSError as error:
            raise Fault("upstream_unreachable", f"Cannot connect to {self.target.authority}: {error.strerror or error}.") from None
        finally:
            self._opening -= 1
            if connection is None:  # whoever waits for a place may try in its stead
                self._admit_next()

    async def _await_place(self, timeouts: Timeouts) -> None:
        place = self.loop.create_future()
        self._waiting.append(place)
        try:
            await in_task()
            async with asyncio.timeout(timeouts.connect_s):
                await place
        except TimeoutError:
            raise Fault("overloaded", f"All {self.size} connections to {self.target.authority} are busy.", retry_after_s=1) from None
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # given a place in the moment of leaving
                self._admit_next()
            raise
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(place)

    def take_back(self, connection: Upstream, reusable: bool) -> None:
        """An exchange is complete; its connection may carry another."""
        self.busy.discard(connection)
        if reusable and connection.usable:
            connection.idle_since = self.loop.time()
            self.idle.append(connection)
        elif connection.transport is not None:
            connection.transport.close()
        self._admit_next()

    def forget(self, connection: Upstream) -> None:
        """A connection is lost."""
        self.busy.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        self._admit_next()

    def _admit_next(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    def _sweep(self) -> None:
        """Ten times a second while anything is open: deadlines of the busy, age of the idle."""
        now = self.loop.time()
        for connection in [one for one in self.busy if one.deadline <= now]:
            connection.time_out()
        self._forgive(now - self._sweep_due)
        self._give_up_the_silent(now)
        while self.idle and self.idle[0].idle_since + _IDLE_KEEP_S <= now:
            expired = self.idle.pop(0)
            if expired.transport is not None:
                expired.transport.close()
        self._sweeper = None
        if self.busy or self.idle:
            self._sweep_again(now)

    def _sweep_again(self, now: float) -> None:
        self._sweep_due = now + _SWEEP_S
        self._sweeper = self.loop.call_at(self._sweep_due, self._sweep)

    def _give_up_the_silent(self, now: float) -> None:
        """End the requests that hear nothing, where they are several, and the streams beside them that can be gone on with elsewhere."""
        waiting = [one for one in self.busy if one.hears_nothing(now)]
        for heard in {one.heard for one in waiting}:
            silent = [one for one in waiting if one.heard is heard]
            if len(silent) >= _FEWEST_SILENT or heard.is_silent:
                heard.silent_since = heard.at
                for connection in [*silent, *(one for one in self.busy if one.heard is heard and one.is_replaceable)]:
                    connection.time_out()

    def _forgive(self, late_s: float) -> None:
        """Where this process itself was held up, what has come meanwhile is not read yet: that is no silence of the upstream's."""
        if late_s > _SWEEP_S:
            now = self.loop.time()
            for heard in {one.heard for one in self.busy}:
                heard.shift(late_s, now)

    def close(self) -> None:
        """Close every connection; answers under way fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in [*self.busy, *self.idle]:
            connection.abort()
