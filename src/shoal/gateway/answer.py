"""Brings an upstream's answer to the caller: whole, or event by event as it comes, with the receipt at its end.

The settled entry is in the ledger before the last byte leaves. A caller who reads slowly stops the upstream, so nothing piles up here.
"""

import time

from shoal.core.answer import split
from shoal.core.attempt import Attempt
from shoal.core.errors import Fault
from shoal.core.ports import Passage
from shoal.gateway import receipt
from shoal.gateway.bridge import Bridge
from shoal.gateway.call import Call
from shoal.gateway.settle import Settlement
from shoal.net.upstream import Response

JSON = b"content-type: application/json\r\n"
STREAMED = (b"text/event-stream", b"application/vnd.amazon.eventstream")
_LOST = ("upstream_cut", "upstream_timeout", "upstream_garbled")
"""How a connection may end after all has been said."""
_LINGER_S = 3.0
"""How long an upstream that has said all may take to tell what was used, and to end its answer."""
_KEPT_BYTES = 4 * 1024 * 1024


async def read(call: Call, response: Response) -> bytes:
    """The whole body; the time it takes is the upstream's."""
    before = time.perf_counter()
    try:
        return await response.read()
    finally:
        call.waited_s += time.perf_counter() - before


async def give(call: Call, attempt: Attempt, bridge: Bridge, bodies: tuple[bytes, ...]) -> None:
    """Give the caller a whole answer. Errors: Fault, and nothing has reached the caller then."""
    if call.hold is not None:
        call.heard = lambda: [] if call.endpoint.kind != "chat" else list(split(bridge.read(bodies[0])))
    settlement = Settlement(call, attempt)
    out = bridge.complete(bodies, settlement)
    if call.keeping is not None:
        await call.keeping.finish(attempt, bodies, out)
    call.exchange.answer(200, JSON + receipt.header_lines(call, settlement.cost), out)


def stream_lines(call: Call) -> bytes:
    """Header lines of a stream."""
    return b"content-type: %b\r\ncache-control: no-cache\r\n" % call.endpoint.stream_type


class Relay:
    """A stream from the upstream to the caller, driven by the upstream's bytes: no task wakes for a chunk.

    `kept` are the upstream's bytes of which the caller has had what they say, where they may be needed once more (`keeps`).
    `first_byte_s` is Try's: a head, or a sign of life, does not begin an answer.
    """

    def __init__(
        self,
        call: Call,
        attempt: Attempt,
        passage: Passage,
        response: Response,
        keeps: bool = False,
        first_byte_s: float | None = None,
    ) -> None:
        self.call = call
        self.attempt = attempt
        self.exchange = call.exchange
        self.response = response
        self.passage = passage
        self.keeps = keeps
        self.first_byte_s = first_byte_s
        self.kept: list[bytes] = []
        self._kept_bytes = 0
        self._end = b""

    @property
    def begun(self) -> bool:
        """Whether the caller has had something of the answer."""
        return self.exchange.response_started

    async def run(self) -> None:
        """Until the stream has ended well. Errors: Fault; nothing has reached the caller if the exchange has not started."""
        last = await self.run_on()
        self._begin()
        if self.call.keeping is not None:
            await self.call.keeping.finish_stream(self.attempt, last)
        self.exchange.end(last)

    async def run_on(self) -> bytes:
        """Relay until the upstream has said all; what ends the stream. Errors: Fault."""
        self.exchange.on_pause, self.exchange.on_resume = self.response.pause, self.response.resume
        if self.first_byte_s is not None:
            self.response.hurry(self._left_s(self.first_byte_s))
        try:
            await self.response.relay(self.forward)
        except Fault as fault:
            return self._end + self._close_despite(fault)
        finally:
            self.exchange.on_pause = self.exchange.on_resume = None
        return self._end + self.passage.close()

    def _left_s(self, first_byte_s: float) -> float:
        """Until the answer must have begun."""
        return max(0.0, self.attempt.started_at + first_byte_s - time.perf_counter())

    def _close_despite(self, fault: Fault) -> bytes:
        """What ends a stream whose connection broke when all had been said. Errors: `fault`, where something is missing."""
        if fault.kind not in _LOST and not self.passage.done:
            raise fault
        try:
            return self.passage.close()
        except Fault as incomplete:
            raise incomplete if self.call.settled else fault from None

    def forward(self, data: bytes) -> None:
        """One piece from the upstream. Errors: Fault, which ends the relay."""
        if self.call.contest is not None:
            self.call.contest.check(self.attempt)
        out = self.passage.feed(data)
        if self.passage.done and self.call.keeping is not None:  # what is kept of it is kept before the caller sees the end
            self._end, out = self._end + out, b""
        if out:
            self._begin()
            self.exchange.send(out)
        elif self.first_byte_s is not None and not self.begun:
            self.response.hurry(self._left_s(self.first_byte_s))
        if self.keeps:
            self._keep(data)
        if self.call.keeping is not None:
            self.call.keeping.pass_by(data, out)
        if self.passage.failed is not None:
            raise self.passage.failed
        if self.passage.whole:
            self.response.hurry(_LINGER_S)

    def _keep(self, data: bytes) -> None:
        self.kept.append(data)
        self._kept_bytes += len(data)
        if self._kept_bytes > _KEPT_BYTES:
            self.keeps = False
            self.kept.clear()

    def _begin(self) -> None:
        if not self.exchange.response_started:
            self.call.claim(self.attempt)
            self.call.first_byte_at = time.perf_counter()
            self.exchange.start(200, stream_lines(self.call) + receipt.header_lines(self.call, None))
            if self.first_byte_s is not None:
                self.response.relax()
            if self.exchange.paused:
                self.response.pause()


async def replay(call: Call, attempt: Attempt, bridge: Bridge, body: bytes) -> None:
    """Give the caller a streamed answer that is there whole already. Errors: Fault, and nothing has reached the caller then."""
    passage = bridge.stream(Settlement(call, attempt))
    call.claim(attempt)
    call.first_byte_at = time.perf_counter()
    out = passage.feed(body)
    if passage.failed is not None:
        raise passage.failed
    out += passage.close()
    if call.keeping is not None:
        await call.keeping.keep(out)
    call.exchange.start(200, stream_lines(call) + receipt.header_lines(call, None))
    call.exchange.end(out)
