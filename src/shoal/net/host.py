"""The process that listens: uvicorn's server with a drain before its shutdown, and one sweep a second over connections' deadlines.

The drain: on the first signal `on_drain` is called (readiness turns 503) and for `drain_s` new requests are still served, each answer
closing its connection; then the listeners close, answers in flight have `grace_s` to finish, and the process ends.
"""

import asyncio
import contextlib
import functools
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn
from uvicorn._types import ASGI3Application

from shoal.core.errors import Fault
from shoal.net.door import Door
from shoal.net.exchange import JSON
from shoal.net.limits import Limits
from shoal.net.recall import Memory
from shoal.net.server import Connection

_LAST_WORDS_S, _LOOK_S = 2.0, 0.01


class Drain(msgspec.Struct, frozen=True):
    """How a server goes: seconds in which it still accepts, and seconds that answers in flight have after that."""

    drain_s: float = 2.0
    grace_s: float = 30.0


class Server(uvicorn.Server):
    """uvicorn's server, draining."""

    def __init__(
        self, config: uvicorn.Config, drain: Drain, on_drain: Callable[[], None] | None = None, on_ready: Callable[[], None] | None = None
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._on_drain = on_drain
        self._on_ready = on_ready
        self._ticks_left: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain (an interrupt at the terminal does not wait for load balancers). Second: end at once."""
        if self._ticks_left is not None:
            self.should_exit = self.force_exit = True
            return
        self._ticks_left = 0 if sig == signal.SIGINT else round(self._drain.drain_s * 10)
        if self._on_drain is not None:
            self._on_drain()
        for connection in self.server_state.connections:
            if isinstance(connection, Connection):
                connection.draining = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if self._on_ready is not None and self.started:
            self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        if self._ticks_left is not None:
            if self._ticks_left <= 0:
                self.should_exit = True
            self._ticks_left -= 1
            self._close_idle()
        if counter % 10 == 0:
            self._sweep()
        return await super().on_tick(counter)

    def _sweep(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.deadline is not None and connection.deadline <= connection.loop.time():
                connection.time_out()

    def _close_idle(self) -> None:
        """While draining, connections opened since the signal answer and close like the others."""
        for connection in self.server_state.connections:
            if isinstance(connection, Connection):
                connection.draining = True


async def serve(
    door: Door,
    app: ASGI3Application,
    *,
    sockets: list[socket.socket] | None = None,
    uds: Path | None = None,
    limits: Limits | None = None,
    drain: Drain | None = None,
    tls: tuple[Path, Path] | None = None,
    on_drain: Callable[[], None] | None = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve `door` and `app` on listening sockets or a Unix socket until a signal ends it. `tls` is (certificate, key)."""
    drain = drain or Drain()
    config = uvicorn.Config(
        app,
        http=functools.partial(Connection, door=door, limits=limits or Limits(), memory=Memory()),  # type: ignore[arg-type]
        uds=str(uds) if uds else None,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(drain.grace_s),
        ssl_certfile=str(tls[0]) if tls else None,
        ssl_keyfile=str(tls[1]) if tls else None,
    )
    server = Server(config, drain, on_drain, on_ready)
    await server.serve(sockets)
    # whoever had no time to finish is told, and settled, before the caller closes what that needs
    unfinished = server.server_state.tasks
    for run in list(unfinished):
        run.cancel()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORDS_S):
            while unfinished:  # noqa: ASYNC110 - uvicorn's set tells nobody when it changes
                await asyncio.sleep(_LOOK_S)


async def nowhere(scope: object, receive: object, send: object) -> None:
    """The ASGI app of a server whose door takes every path but those that do not exist: 404 in OpenAI's shape."""
    path = scope.get("path", "") if isinstance(scope, dict) else ""
    body = Fault("unknown_url", f"There is nothing at {path}.").body()
    headers = [JSON, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 404, "headers": headers})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": body})  # type: ignore[operator]
