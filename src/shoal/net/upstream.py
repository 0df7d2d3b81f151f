"""One connection to an upstream and the answer that comes over it.

Guarantees: what is received is re-framed, never relayed blind; an answer that is given up closes its connection at once; a reader who is
slow stops the upstream from sending; heads, bodies and silences are bounded.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Protocol

import httptools

from shoal.core.errors import Fault
from shoal.net.limits import Timeouts
from shoal.net.outbox import outbox
from shoal.net.run import Event

_HEAD_LIMIT = 256 * 1024
_BODY_LIMIT = 256 * 1024 * 1024
_UNREAD_LIMIT = 256 * 1024


class Heard:
    """When those who ask for the same model were last told a byte; `silent_since` is that time, once it was found to be too long ago."""

    __slots__ = ("at", "silent_since")

    def __init__(self) -> None:
        self.at = -math.inf
        self.silent_since = math.inf

    @property
    def is_silent(self) -> bool:
        """Whether it was found silent, and nothing has been heard since."""
        return self.silent_since == self.at

    def shift(self, seconds: float, now: float) -> None:
        """Forget so much of the time that has passed."""
        is_silent, self.at = self.is_silent, min(now, self.at + seconds)
        if is_silent:
            self.silent_since = self.at


class Home(Protocol):
    """Where a connection belongs: told when it is free again, and when it is lost."""

    def take_back(self, connection: "Upstream", reusable: bool) -> None:
        """An exchange is complete; its connection may carry another."""

    def forget(self, connection: "Upstream") -> None:
        """A connection is lost."""


class Response:
    """An answer on its way: `status` and `headers` are there, the body comes through `read` or `relay`."""

    size = 0
    status = 0
    complete = False
    reusable = False
    error: Fault | None = None
    told = False
    done: Event | None = None  # that nothing more will come
    raw_head = b""
    replaceable = False
    """Whether its reader can go on elsewhere, should the upstream fall silent in the middle of it."""
    _feed: Callable[[bytes], None] | None = None

    def __init__(self, connection: "Upstream") -> None:
        self._connection: Upstream | None = connection
        self._unread: list[bytes] = []
        self.head = Event(connection.loop)

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The answer's headers by lower-case name; made when asked for, since most answers are never asked."""
        return read_fields(self.raw_head)

    async def read(self) -> bytes:
        """The whole body. Errors: Fault when the connection fails first."""
        self.resume()
        await self._wait()
        return self.whole()

    def whole(self) -> bytes:
        """The body of an answer that is `complete`. Errors: Fault, the one that cut it short."""
        if self.error is not None:
            raise self.error
        pieces = self._unread
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def relay(self, feed: Callable[[bytes], None]) -> None:
        """Hand each piece to `feed` as it arrives, until the end. Errors: Fault when the connection fails; whatever `feed` raises."""
        self.resume()  # first, since `feed` may pause again
        pieces, self._unread = self._unread, []
        for piece in pieces:
            feed(piece)
        self._feed = feed
        await self._wait()

    async def _wait(self) -> None:
        if not self.complete and self._connection is not None:
            self.done = Event(self._connection.loop)
            await self.done
        if self.error is not None:
            raise self.error

    def pause(self) -> None:
        """Stop reading from the upstream until `resume`."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._connection is not None:
            self._connection.resume()

    def hurry(self, within_s: float) -> None:
        """Wait for no longer than this for what comes next."""
        if self._connection is not None:
            self._connection.hurry(within_s)

    def relax(self) -> None:
        """Wait for what comes next as long as is usual."""
        if self._connection is not None:
            self._connection.relax()

    def close(self) -> None:
        """Give the answer up: its connection is closed at once, unless the answer is complete already."""
        if self._connection is not None and not self.complete:
            self._connection.abort()

    # the connection's side

    def take(self, data: bytes) -> None:
        """A piece of the body has arrived."""
        if self.complete:
            return  # what follows a failure in the same read
        self.size += len(data)
        if self._feed is not None:
            try:
                self._feed(data)
            except Exception as error:  # the reader's failure must reach the reader, not die in the parser
                self._give_up(error if isinstance(error, Fault) else Fault("internal", f"The stream could not be processed: {error!r}"))
            return
        self._unread.append(data)
        if self.size > _BODY_LIMIT:
            self._give_up(Fault("upstream_garbled", f"The upstream's answer exceeds {_BODY_LIMIT} bytes."))
        elif self.done is None and self.size > _UNREAD_LIMIT:
            self.pause()

    def _give_up(self, fault: Fault) -> None:
        self.fail(fault)
        if self._connection is not None:
            self._connection.abort()

    def finish(self) -> None:
        """The body is complete."""
        self.complete = True
        self._connection = None
        if self.done is not None:
            self.done.happen()

    def fail(self, fault: Fault) -> None:
        """The connection failed before the body was complete."""
        if self.complete:
            return
        self.error = fault
        self.complete = True
        if not self.head.done:
            self.head.happen(fault)
        elif self.done is not None:
            self.done.happen()

    def tell(self) -> None:
        """Let whoever waits for the head, or for the end, go on if that is there: not from within the parser, which is not done yet."""
        self.told = True
        self.head.tell()
        if self.done is not None:
            self.done.tell()


def read_fields(raw: bytes) -> dict[bytes, bytes]:
    """Fields by lower-case name from an answer that begins with a head; the parser has found that head to be valid before."""
    out: dict[bytes, bytes] = {}
    head = raw.partition(b"\r\n\r\n")[0].partition(b"\n\n")[0]
    for line in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\n")[1:]:
        name, _, value = line.partition(b":")
        key = name.strip().lower()
        out[key] = out[key] + b", " + value.strip() if key in out else value.strip()
    return out


class Upstream(asyncio.Protocol):
    """One connection to an upstream; carries one exchange at a time."""

    def __init__(self, pool: Home, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.loop = loop
        self.transport: asyncio.Transport | None = None
        self.response: Response | None = None
        self.deadline = 0.0
        self.idle_since = 0.0
        self.used = 0
        self._timeouts = Timeouts()
        self._total_deadline = 0.0
        self._sent_at = 0.0
        self._silence_s: float | None = None
        self.heard = Heard()
        # one parser for all answers of a connection: it starts anew after each message
        self._parser = httptools.HttpResponseParser(self)
        self._outbox = outbox(loop)
        self.head_bytes = 0
        self._head = b""  # what has come of an answer's head
        self._interim = 0  # informational answers (RFC 9110, 15.2) in front of it
        self._until_eof = False
        self._paused = False
        self._lost = False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on this connection."""
        return not self._lost and self.transport is not None and not self.transport.is_closing()

    def request(self, data: bytes, timeouts: Timeouts, heard: Heard, silence_s: float | None = None) -> Response:
        """Send a request's bytes; the answer's head is awaited through `Response.head`."""
        assert self.transport is not None
        now = self.loop.time()
        self._timeouts = timeouts
        self._sent_at = now
        self._silence_s = silence_s
        self.heard = heard
        self._total_deadline = now + timeouts.total_s
        self.deadline = min(now + timeouts.first_byte_s, self._total_deadline)
        self.head_bytes = 0
        self._head = b""
        self._interim = 0
        self._until_eof = False
        self.used += 1
        self.response = response = Response(self)
        self._outbox.put(self.transport, data)
        return response

    def pause(self) -> None:
        if not self._paused and self.transport is not None and not self._lost:
            self._paused = True
            self.deadline = self._total_deadline  # waiting for our own reader is not the upstream's silence
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self.transport is not None and not self._lost:
            self._paused = False
            self.relax()
            self.transport.resume_reading()

    def relax(self) -> None:
        if not self._paused:
            self.deadline = min(self.loop.time() + self._timeouts.idle_s, self._total_deadline)

    def hurry(self, within_s: float) -> None:
        if not self._paused:
            self.deadline = min(self.deadline, self.loop.time() + within_s)

    def abort(self) -> None:
        """Close at once, throwing away what was not sent."""
        if self.transport is not None:
            self.transport.abort()

    def hears_nothing(self, now: float) -> bool:
        """Whether its request waits for an answer, and the upstream has told nobody anything for as long as the request is patient."""
        response = self.response
        if self._silence_s is None or response is None or response.status:
            return False
        return now - max(self._sent_at, self.heard.at) >= self._silence_s

    @property
    def is_replaceable(self) -> bool:
        """Whether its answer is waited for, and can be gone on with elsewhere."""
        return self.response is not None and self.response.replaceable and not self._paused

    def time_out(self) -> None:
        """The deadline has passed, or the upstream is silent."""
        response = self.response
        if response is not None:
            silence_s = self.loop.time() - max(self._sent_at, self.heard.at)
            if self.deadline > self.loop.time():
                text = f"The upstream has said nothing of this model, to this request or to others, for {silence_s:.3g} s."
            elif not response.status:
                text = f"The upstream did not begin to answer within {self._timeouts.first_byte_s:g} s."
            elif self.loop.time() >= self._total_deadline:
                text = f"The upstream's answer was not complete within {self._timeouts.total_s:g} s."
            else:
                text = f"The upstream stopped sending for {self._timeouts.idle_s:g} s."
            response.fail(Fault("upstream_timeout", text))
            self.loop.call_soon(response.tell)
        self.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        response = self.response
        if response is None:
            self.abort()  # nobody asked
            return
        self.heard.at = now = self.loop.time()
        if not self._paused:
            self.deadline = min(now + self._timeouts.idle_s, self._total_deadline)
        if not response.status:
            self.head_bytes += len(data)
            self._head = self._head + data if self._head else data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            response.fail(Fault("upstream_garbled", "The upstream tried to switch protocols."))
            self.abort()
        except httptools.HttpParserError as error:
            response.fail(Fault("upstream_garbled", f"The upstream's answer is not valid HTTP: {error}."))
            self.abort()
        if not response.status and self.head_bytes > _HEAD_LIMIT:
            response.fail(Fault("upstream_garbled", f"The upstream's headers exceed {_HEAD_LIMIT} bytes."))
            self.abort()
        if response.complete or (response.head.done and not response.told):
            response.tell()

    def eof_received(self) -> None:
        if self._until_eof and (response := self.response) is not None:
            self._complete(reusable=False)
            response.tell()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        response, self.response = self.response, None
        self.pool.forget(self)
        if response is not None:
            where = "in the middle of its answer" if response.status else "before it answered"
            response.fail(Fault("upstream_cut", f"The upstream closed the connection {where}."))
            response.tell()

    # httptools callbacks

    def on_message_begin(self) -> None:
        if self.response is None:
            self.abort()  # more than was asked for: it must not be taken for the answer to the next request

    def on_headers_complete(self) -> None:
        response, status = self.response, self._parser.get_status_code()
        if response is None:
            return
        if status < 200:
            self._interim += 1
            return
        response.status = status
        response.raw_head, self._head = self._head, b""
        for _ in range(self._interim):
            response.raw_head = response.raw_head.partition(b"\r\n\r\n")[2]
        response.reusable = self._parser.should_keep_alive()
        if not response.reusable:  # a parser that would keep the connection knows where the body ends
            headers = response.headers
            self._until_eof = b"content-length" not in headers and b"transfer-encoding" not in headers and status not in (204, 304)
        if not response.head.done:
            response.head.happen()

    def on_body(self, data: bytes) -> None:
        if self.response is not None:
            self.response.take(data)

    def on_message_complete(self) -> None:
        if self.response is not None and self.response.status:
            self._complete(self.response.reusable)

    def _complete(self, reusable: bool) -> None:
        response, self.response = self.response, None
        assert response is not None
        if self._paused:
            self.resume()
        response.finish()
        self.pool.take_back(self, reusable)
