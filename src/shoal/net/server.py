"""A caller's connection: uvicorn's httptools protocol with the hot endpoints diverted to a `Door` once their headers are complete.

Everything else on the same connection goes to the ASGI app, and sockets, TLS, pipelining and shutdown stay uvicorn's. What is relied on
in uvicorn is written down in tests/contract/test_uvicorn.py. Guarantees: headers, bodies, connections and their times are bounded; a
request that HTTP cannot make sense of is answered with our error shape and the connection closed; `Door.serve` sees whole requests only.
"""

import asyncio
import logging
import time
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from shoal.core.errors import Fault
from shoal.net.door import Door
from shoal.net.exchange import Exchange, last_words
from shoal.net.head import head_size, origin_form, without_upgrade
from shoal.net.limits import Limits, body_too_large, head_too_large
from shoal.net.outbox import outbox
from shoal.net.recall import Known, Memory
from shoal.net.run import Run

log = logging.getLogger("shoal.net")

_UNCOUNTED = 256  # bytes of a head that are neither target nor header lines


class Connection(HttpToolsProtocol):
    """One caller's connection."""

    cycle: Any  # an Exchange (ours) or a RequestResponseCycle (the ASGI app's)
    pipeline: Any

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
        limits: Limits,
        memory: Memory,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.door, self.limits, self.memory = door, limits, memory
        self.outbox = outbox(self.loop)
        self.draining = False
        self.deadline: float | None = None
        self._peer = ""
        self.room = asyncio.Event()
        self.room.set()
        self._in_head = False
        self._head_began = False
        self._between = True  # nothing of a next request has been read
        self._first = b""  # a read that began with a head, until that has been looked at
        self._head_bytes = 0
        self._read_bytes = 0  # of the present read
        self._active: Exchange | None = None  # the one being answered; `cycle` is the last one read, which pipelining may put behind it
        self._ready: Exchange | None = None  # whose request came whole in the present read
        self._lingering = False
        self._upgrading = False
        self._common: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    # the transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = self.client[0] if self.client else ""
        transport.set_write_buffer_limits(high=self.limits.write_buffer_bytes)
        self.deadline = self.loop.time() + self.limits.header_timeout_s
        if len(self.connections) > self.limits.connections:
            self._close_with(Fault("overloaded", "Too many connections are open on this server; try again shortly.", retry_after_s=1))

    def connection_lost(self, exc: Exception | None) -> None:
        cycle = self.cycle
        if self._active is not None:
            self._lose(self._active)
        if type(cycle) is Exchange:
            self.cycle = None  # uvicorn would treat it as its own
            self._lose(cycle)
        for waiting, _ in self.pipeline:
            if type(waiting) is Exchange:
                self._lose(waiting)
        self.room.set()
        super().connection_lost(exc)

    def _lose(self, exchange: Exchange) -> None:
        if exchange.disconnected:
            return
        exchange.disconnected = True
        exchange.keep_alive = False
        if exchange.response_complete:
            return
        if exchange.on_gone is not None:
            exchange.on_gone()
        elif exchange.run is not None:
            exchange.run.cancel()

    def data_received(self, data: bytes) -> None:
        if self._lingering or self.transport.is_closing():
            return
        if self._between and not self.draining and (self.cycle is None or self.cycle.response_complete):
            if (known := self.memory.recall(data)) is not None and self._recall(*known):
                return
            self._first = data
        self._read_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            self._read_on(data[stop.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        else:
            if self._in_head and not self._lingering:
                # the read may begin with the end of an earlier request
                self._head_bytes = head_size(self.url, self.headers) if self._head_began else self._head_bytes + len(data)
                self._head_began = False
                if self._head_bytes > self.limits.header_bytes + _UNCOUNTED:
                    self._close_with(head_too_large(self.limits.header_bytes))
        if (ready := self._ready) is not None:
            self._ready = None
            self._run(ready).step()

    def _recall(self, known: Known, body: bytes) -> bool:
        """Begin a request whose head is known; what the parser would have done is done. False: it must be read after all."""
        exchange = Exchange(self, known.method, known.path, known.query, known.headers, self._peer, time.perf_counter())
        exchange.ticket = known.ticket
        if len(body) > self.limits.body_bytes or not self.door.readmit(exchange):
            return False
        exchange.body = body
        exchange.turn = exchange.whole = True
        self.cycle = exchange
        self.deadline = None
        self._run(exchange).step()
        return True

    def _read_on(self, rest: bytes) -> None:
        """There is nothing to upgrade to, and the wish may be ignored (RFC 9110, 7.8): read the request again without it."""
        if not self._upgrading:  # CONNECT: what follows is not HTTP
            self.cycle.keep_alive = False
            return
        self._upgrading = False
        head = without_upgrade(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(head + rest)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.room.clear()
        if self._active is not None and self._active.on_pause is not None:
            self._active.on_pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._active is not None and self._active.on_resume is not None:
            self._active.on_resume()
        self.room.set()

    # the parser's side

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = self._head_began = True
        self._between = False
        self._head_bytes = 0
        if self.cycle is None or self.cycle.response_complete:
            self.deadline = self.loop.time() + self.limits.header_timeout_s

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes later are trailers, which nobody here wants
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        path, _, query = self.url.partition(b"?")
        if path[:1] != b"/":
            path, query = origin_form(self.url)
        if not self.door.takes(path):
            self._hand_to_app()
            return
        headers, parser = dict(self.headers), self.parser
        if b"upgrade" in headers and parser.should_upgrade() and parser.get_method() != b"CONNECT":
            self._upgrading = True
            return
        exchange = Exchange(self, parser.get_method(), path, query, headers, self._peer, time.perf_counter())
        if self.draining or not parser.should_keep_alive():
            exchange.keep_alive = False
        if (version := parser.get_http_version()) != "1.1":
            headers[b":version"] = version.encode()
            exchange.keep_alive = False
            if version != "1.0":
                exchange.refusal = Fault("bad_http", f"HTTP/{version} is not spoken here; use HTTP/1.1.")
        exchange.expects_continue = headers.get(b"expect", b"").lower() == b"100-continue"
        previous, self.cycle = self.cycle, exchange
        if previous is None or previous.response_complete:
            exchange.turn = True
            self.deadline = self.loop.time() + self.limits.body_timeout_s
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))
        if exchange.refusal is None:
            self._judge(exchange, int(headers.get(b"content-length") or 0))

    def _judge(self, exchange: Exchange, length: int) -> None:
        """Admit or refuse on the headers alone; ask for the body where the caller waits for that."""
        first, self._first = self._first, b""
        try:
            most = self.limits.header_bytes
            # counted only where it may matter: the head came in several reads, or in one that is larger than a head may be
            if (self._head_bytes or self._read_bytes > most) and head_size(self.url, self.headers) > most:
                raise head_too_large(most)
            self.door.admit(exchange)
            if length > self.limits.body_bytes:
                raise body_too_large(self.limits.body_bytes)
            if first and exchange.turn and exchange.keep_alive and length and not exchange.expects_continue:
                self.memory.learn(first, Known(exchange.method, exchange.path, exchange.query, exchange.headers, exchange.ticket))
        except Fault as fault:
            exchange.refusal = fault
            if exchange.expects_continue or length > self.limits.discard_bytes or fault.kind == "headers_too_large":
                self._turn_away(exchange, fault)
            return
        if exchange.expects_continue and exchange.turn:
            self.outbox.put(self.transport, b"HTTP/1.1 100 Continue\r\n\r\n")

    def _turn_away(self, exchange: Exchange, fault: Fault) -> None:
        """Refuse before the whole body is there: the rest of it is nobody's, so the connection cannot go on."""
        exchange.refusal, exchange.keep_alive = fault, False
        if exchange.turn:
            exchange.refuse(fault)

    def _hand_to_app(self) -> None:
        headers, url = self.headers, self.url
        super().on_message_begin()
        self.url = url
        self.headers.extend(headers)
        self.expect_100_continue = any(name == b"expect" and value.lower() == b"100-continue" for name, value in headers)
        self.deadline = self.loop.time() + self.limits.body_timeout_s
        super().on_headers_complete()
        if self.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        exchange = self.cycle
        if type(exchange) is not Exchange:
            super().on_body(body)
            return
        exchange.received += len(body)
        if exchange.response_complete:
            return
        if exchange.refusal is not None:
            if exchange.received > self.limits.discard_bytes and exchange.turn:
                self._turn_away(exchange, exchange.refusal)
        elif exchange.received > self.limits.body_bytes:
            exchange.pieces.clear()
            self._turn_away(exchange, body_too_large(self.limits.body_bytes))
        else:
            exchange.pieces.append(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        self._between = True
        exchange = self.cycle
        self.deadline = None
        if type(exchange) is not Exchange:
            super().on_message_complete()
            return
        exchange.whole = True
        if exchange.response_complete:
            return
        pieces = exchange.pieces
        exchange.body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if exchange.refusal is not None:
            if exchange.turn:
                exchange.refuse(exchange.refusal)
        elif exchange.turn:
            self._ready = exchange  # the parser is not done with this read

    # the request's turn

    def _start_asgi_task(self, cycle: "RequestResponseCycle | Exchange", app: ASGI3Application) -> None:
        if type(cycle) is Exchange:
            cycle.turn = True
            if cycle.refusal is not None and (cycle.whole or not cycle.keep_alive):
                cycle.refuse(cycle.refusal)
                return
            if cycle.whole:  # in a turn of its own: a thousand requests may stand in line
                self.loop.call_soon(self._run(cycle).step)
                return
            self.deadline = self.loop.time() + self.limits.body_timeout_s
            if cycle.expects_continue and cycle.refusal is None:
                self.outbox.put(self.transport, b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def _run(self, exchange: Exchange) -> Run:
        self._active = exchange
        exchange.run = run = Run(self._serve(exchange), self.tasks, self.loop)
        return run

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self.door.serve(exchange)
        except Fault as fault:
            exchange.refuse(fault)
        except asyncio.CancelledError:
            # the caller is gone, or the server ends and has waited long enough
            exchange.refuse(Fault("draining", "The server is shutting down; send the request again.", retry_after_s=1))
        except Exception:
            log.exception("a request failed for a reason of our own")
            exchange.refuse(Fault("internal", "The server failed on this request; it was logged. Try again."))
        else:
            if not exchange.response_complete and not exchange.disconnected:
                log.error("a request was left without an answer: %s", exchange.path)
                exchange.refuse(Fault("internal", "The server left this request without an answer; it was logged. Try again."))

    def answered(self, exchange: Exchange) -> None:
        """An exchange has its whole answer: on to the next request, or close."""
        exchange.body = b""  # an idle connection keeps nothing
        if exchange.disconnected:
            return
        if exchange.keep_alive:
            self.on_response_complete()
        elif exchange.whole:
            self.outbox.flush()
            self.transport.close()
        else:
            self._linger()

    def _linger(self) -> None:
        """Close, but first let a caller who still sends read the answer: closing on unread bytes would reset the connection under it."""
        self.deadline = None
        self.outbox.flush()
        if not self.transport.can_write_eof():  # TLS cannot close one way only
            self.transport.close()
            return
        self._lingering = True
        self.transport.write_eof()
        self.deadline = self.loop.time() + self.limits.linger_s

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.deadline = self.loop.time() + self.limits.keep_alive_s

    # faults of the connection itself

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that are not HTTP with our error shape (uvicorn calls this too, with a text of its own)."""
        self._close_with(Fault("bad_http", "The request is not valid HTTP/1.1; check its framing and headers."))

    def time_out(self) -> None:
        """The connection's deadline has passed: tell the caller if a request had begun, and close."""
        waiting_for = self.cycle
        self.deadline = None
        if self._lingering:
            self.transport.close()
        elif self._in_head or (type(waiting_for) is Exchange and not waiting_for.whole and not waiting_for.response_complete):
            self._close_with(Fault("request_timeout", "The request did not arrive in time; send it faster, or in one piece."))
        else:
            self.transport.close()

    def _close_with(self, fault: Fault) -> None:
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if type(cycle) is Exchange and cycle.turn and not cycle.whole and not cycle.response_started:
                cycle.keep_alive = False
                cycle.refuse(fault)
                return
            # an earlier request is still being answered: it gets its answer whole, then the connection ends
            cycle.keep_alive = False
            if type(cycle) is Exchange and not cycle.whole:
                cycle.refusal = fault
            self.flow.pause_reading()
            return
        self.outbox.put(self.transport, last_words(fault, self.common_headers()))
        self._linger()

    def common_headers(self) -> bytes:
        """The Date header and whatever else the host adds, joined once a second."""
        headers = self.server_state.default_headers
        if headers is not self._common[0]:
            self._common = (headers, b"".join(name + b": " + value + b"\r\n" for name, value in headers))
        return self._common[1]
