"""Callers over kept connections, from one process: requests at a steady rate, or one caller's after the other, and what came of each.

A request of a steady rate is sent when it is due, whether or not others have been answered, and its times count from then.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

PATIENCE_S = 30.0
"""How long after the last request answers are waited for."""
TICK_S = 0.001
NO_ANSWER = 0


class Reply(NamedTuple):
    """What came of one request. `status` is NO_ANSWER where none came whole. Times are the loop's, in seconds.

    `kind` is which of the requests it was, `heads` the headers of the answer by their names in lower case.
    """

    kind: int
    due: float
    first: float
    end: float
    status: int
    heads: Mapping[str, str]
    body: bytes
    why: str = ""


class Caller(asyncio.Protocol):
    """One kept connection, one request at a time; `heard` is called when that has ended."""

    def __init__(self, heard: Callable[["Caller", Reply], None]) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiting = False
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def ask(self, request: bytes, kind: int, due: float) -> None:
        """Send a request that was due at `due`."""
        assert self._transport is not None
        self._kind, self._due, self._first = kind, due, 0.0
        self._heads: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._waiting = True
        self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._heads[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        if not self._pieces:
            self._first = self._loop.time()
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        self._end(self._parser.get_status_code())

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        if self._waiting:
            self._end(NO_ANSWER, "the connection was lost")

    def _end(self, status: int, why: str = "") -> None:
        self._waiting = False
        body = b"".join(self._pieces)
        self._heard(self, Reply(self._kind, self._due, self._first, self._loop.time(), status, self._heads, body, why))


def write_request(url: str, headers: Mapping[str, str], body: object) -> bytes:
    """A POST as it goes over the line."""
    at, data = urlsplit(url), json.dumps(body).encode()
    fields = {"host": at.netloc, "content-type": "application/json", "content-length": str(len(data)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {at.path} HTTP/1.1\r\n{lines}\r\n".encode() + data


class Load:
    """Requests by turns at a steady rate; `note` hears what came of each."""

    def __init__(self, url: str, requests: Sequence[bytes], note: Callable[[Reply], None]) -> None:
        self._loop = asyncio.get_running_loop()
        at = urlsplit(url)
        self._host, self._port = at.hostname, at.port
        self._requests, self._note = requests, note
        self._free: deque[Caller] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self.open = 0
        """Requests that have not ended."""

    async def run(self, rate: float, seconds: float) -> float:
        """Send `rate` requests a second for so many seconds, and wait for the answers. Answers when the first was due."""
        begin = await self.offer(rate, seconds)
        await self.finish()
        return begin

    async def offer(self, rate: float, seconds: float) -> float:
        """Send `rate` requests a second for so many seconds, each when it is due. Answers when the first was."""
        begin, wanted, sent = self._loop.time() + 0.01, round(rate * seconds), 0
        while sent < wanted:
            due = min(wanted, int((self._loop.time() - begin) * rate) + 1)
            while sent < due:
                self._send(begin + sent / rate, sent % len(self._requests))
                sent += 1
            await asyncio.sleep(max(TICK_S, begin + sent / rate - self._loop.time()))
        return begin

    async def finish(self, patience_s: float = PATIENCE_S) -> None:
        """Wait for the answers; what is not there in time stays in `open`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self.open:
                    self._idle.clear()
                    await self._idle.wait()

    def _send(self, due: float, kind: int) -> None:
        self.open += 1
        while self._free:
            caller = self._free.pop()
            if not caller.gone:
                caller.ask(self._requests[kind], kind, due)
                return
        task = self._loop.create_task(self._connect(due, kind))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _connect(self, due: float, kind: int) -> None:
        try:
            _, caller = await self._loop.create_connection(lambda: Caller(self._heard), self._host, self._port)
        except OSError as error:
            now = self._loop.time()
            self._count(Reply(kind, due, now, now, NO_ANSWER, {}, b"", f"no connection: {error.strerror}"))
            return
        caller.ask(self._requests[kind], kind, due)

    def _heard(self, caller: Caller, reply: Reply) -> None:
        if not caller.gone:
            self._free.append(caller)
        self._count(reply)

    def _count(self, reply: Reply) -> None:
        self.open -= 1
        self._note(reply)
        if not self.open:
            self._idle.set()


class Line:
    """One caller who waits for each answer before the next request."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        self._host, self._port = at.hostname, at.port
        self._caller: Caller | None = None

    async def ask(self, request: bytes, kind: int = 0) -> Reply:
        """One request. Errors: OSError without a connection."""
        loop = asyncio.get_running_loop()
        if self._caller is None or self._caller.gone:
            _, self._caller = await loop.create_connection(lambda: Caller(self._heard), self._host, self._port)
        self._reply: asyncio.Future[Reply] = loop.create_future()
        self._caller.ask(request, kind, loop.time())
        return await self._reply

    def close(self) -> None:
        """Hang up."""
        if self._caller is not None:
            self._caller.close()

    def _heard(self, _: Caller, reply: Reply) -> None:
        if not self._reply.done():
            self._reply.set_result(reply)
