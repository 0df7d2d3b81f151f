"""One request and its answer on a caller's connection. Every byte the caller sees of it is written here, framed once and correctly."""

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Protocol

from shoal.core.errors import Fault
from shoal.net.outbox import Outbox
from shoal.net.run import Run

Headers = Iterable[tuple[bytes, bytes]] | bytes
"""Names and values, or header lines that are ready to be sent: each ends in CRLF."""

JSON = (b"content-type", b"application/json")
_STATUS_LINE = {
    code: b"HTTP/1.1 %d %s\r\n" % (code, HTTPStatus(code).phrase.encode() if code in HTTPStatus._value2member_map_ else b"Status")
    for code in range(100, 600)
}


def _event(fault: Fault) -> bytes:
    return b"data: %b\n\n" % fault.body()


class Line(Protocol):
    """What an exchange needs of the connection it came on."""

    transport: asyncio.Transport
    outbox: Outbox
    room: asyncio.Event  # set while the caller reads as fast as we write

    def answered(self, exchange: "Exchange") -> None:
        """The answer is complete; the connection may go on to the next request, or close."""

    def common_headers(self) -> bytes:
        """Header lines that every answer carries."""


class Exchange:
    """A request, whole, and the one answer to it.

    `received_at` is time.perf_counter when the headers were complete. `gone` turns True when the caller disconnects; `on_gone` is then
    called once (by default it cancels the task that serves the exchange).
    `paused` is True while the caller reads more slowly than we write; `on_pause` and `on_resume` tell when that changes.
    """

    # class-level defaults: an exchange sets only what differs, which is what makes it cheap
    body = b""
    holder: Any = None  # who asks, as the door found on the headers
    settled = False  # the end of the answer depends on the record of it
    told = False  # that there is no such record
    ticket: Any = None  # by which the door admits another request with the same head
    run: Run | None = None
    on_gone: Callable[[], None] | None = None
    on_pause: Callable[[], None] | None = None
    on_resume: Callable[[], None] | None = None
    # the connection's book-keeping
    received = 0
    whole = False
    turn = False
    refusal: Fault | None = None
    expects_continue = False
    keep_alive = True
    disconnected = False
    response_started = False
    response_complete = False
    chunked = False

    def __init__(self, line: Line, method: bytes, path: bytes, query: bytes, headers: dict[bytes, bytes], peer: str, at: float) -> None:
        self._line = line
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.peer = peer
        self.received_at = at
        self.pieces: list[bytes] = []
        self.wording: Callable[[Fault], bytes] = Fault.body  # how a refusal is said
        self.event_wording: Callable[[Fault], bytes] = _event  # how a stream says that it broke

    @property
    def gone(self) -> bool:
        """Whether the caller has disconnected."""
        return self.disconnected

    @property
    def paused(self) -> bool:
        """Whether the caller's connection has more than its share of unsent bytes."""
        return not self._line.room.is_set()

    async def drained(self) -> None:
        """Wait until the caller has read enough for more to be sent, or is gone."""
        while not self._line.room.is_set() and not self.disconnected:
            await self._line.room.wait()

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole answer. Errors: RuntimeError when one was begun already. A caller who is gone gets nothing."""
        shown = body if self.method != b"HEAD" else b""
        self._write(b"%bcontent-length: %d\r\n\r\n%b" % (self._head(status, headers), len(body), shown), self._unrecorded)
        self._finish()

    def start(self, status: int, headers: Headers) -> None:
        """Begin an answer of unknown length; `send` its pieces and `end` it."""
        head = self._head(status, headers)
        # HTTP/1.0 knows no chunks: the end of the connection is the end of the body
        self.chunked = self.keep_alive or self.headers.get(b":version") != b"1.0"
        self._write(head + (b"transfer-encoding: chunked\r\n\r\n" if self.chunked else b"\r\n"))

    def send(self, data: bytes) -> None:
        """Send one piece. Never blocks; look at `paused` and wait for `drained` before sending much more."""
        if data and not self.told:
            self._write(self._piece(data), self._break_off)

    def end(self, data: bytes = b"") -> None:
        """Send a last piece, if any, and complete the answer."""
        self._write(self._last_piece(data if not self.told else b""), self._end_broken)
        self._finish()

    def refuse(self, fault: Fault) -> None:
        """Answer with a fault in OpenAI's shape; an answer that has begun is cut off, so that the caller cannot take it for whole."""
        if self.response_complete:
            return
        if self.response_started:
            self.abort()
            return
        self.answer(fault.status, [JSON, *fault_headers(fault)], self.wording(fault))

    def abort(self) -> None:
        """Cut the connection: the protocol's only way to say that a begun answer will not be completed."""
        self.response_complete = True
        self._line.outbox.flush()
        self._line.transport.abort()

    def _head(self, status: int, headers: Headers) -> bytes:
        if self.response_started:
            raise RuntimeError("this exchange was answered already")
        self.response_started = True
        if not isinstance(headers, bytes):
            headers = b"".join(b"%b: %b\r\n" % field for field in headers)
        closing = b"" if self.keep_alive else b"connection: close\r\n"
        return _STATUS_LINE[status] + self._line.common_headers() + closing + headers

    def _piece(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked and data else data

    def _last_piece(self, data: bytes) -> bytes:
        return self._piece(data) + b"0\r\n\r\n" if self.chunked else data

    def _unrecorded(self, fault: Fault) -> bytes:
        """What is sent instead of a whole answer that could not be recorded."""
        self.response_started = False
        fields, body = [JSON, *fault_headers(fault)], self.wording(fault)
        return b"%bcontent-length: %d\r\n\r\n%b" % (self._head(fault.status, fields), len(body), body)

    def _break_off(self, fault: Fault) -> bytes:
        """What is sent, once, instead of what ends a stream that could not be recorded."""
        event = b"" if self.told else self.event_wording(fault)
        self.told = True
        return self._piece(event)

    def _end_broken(self, fault: Fault) -> bytes:
        return self._break_off(fault) + self._last_piece(b"")

    def _write(self, data: bytes, instead: Callable[[Fault], bytes] | None = None) -> None:
        if data and not self.disconnected:
            line = self._line
            line.outbox.put(line.transport, data, instead if self.settled else None)

    def _finish(self) -> None:
        if not self.response_complete:
            self.response_complete = True
            self._line.answered(self)


def fault_headers(fault: Fault) -> list[tuple[bytes, bytes]]:
    """Headers that a fault brings along: Retry-After in whole seconds, WWW-Authenticate, Allow."""
    out: list[tuple[bytes, bytes]] = []
    if fault.retry_after_s is not None:
        out.append((b"retry-after", b"%d" % max(1, -int(-fault.retry_after_s // 1))))
    if fault.status == 401:
        out.append((b"www-authenticate", b'Bearer realm="shoal"'))
    if fault.status == 405 and fault.param:
        out.append((b"allow", fault.param.encode()))
    return out


def last_words(fault: Fault, common: bytes) -> bytes:
    """The bytes of an answer to what was no request, after which the connection ends."""
    fields = b"".join(b"%b: %b\r\n" % field for field in (JSON, *fault_headers(fault)))
    body = fault.body()
    return b"%b%bconnection: close\r\n%bcontent-length: %d\r\n\r\n%b" % (_STATUS_LINE[fault.status], common, fields, len(body), body)
