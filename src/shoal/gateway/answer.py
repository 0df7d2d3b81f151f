"""Brings an upstream's answer to the caller: whole, or event by event as it comes, with the receipt at its end.

The settled entry is in the ledger before the last byte leaves. A caller who reads slowly stops the upstream, so nothing piles up here.
"""

import time

from shoal.core.errors import Fault
from shoal.core.ports import Ledger
from shoal.core.usage import Usage
from shoal.gateway.call import Call
from shoal.gateway.settle import receipt_headers, settle
from shoal.net.upstream import Response
from shoal.telemetry.tally import Tally
from shoal.wire.openai_chat import errors, forward

_JSON = b"content-type: application/json\r\n"
_EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"


async def bring(call: Call, response: Response, ledger: Ledger, tally: Tally) -> None:
    """Answer the caller with what the upstream says. Errors: Fault, for an error answer, or one that breaks."""
    assert call.request is not None and call.deployment is not None
    if call.deployment.local:
        call.dropped = response.headers.get(b"x-minnow-dropped", b"").decode("latin-1")
    if response.status != 200:
        raise errors.read(response.status, response.headers, await _read(call, response))
    if call.request.stream:
        if not response.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            raise Fault("upstream_garbled", "The upstream answered a streaming request with something that is not an event stream.")
        await _Relay(call, response, ledger, tally).run()
    else:
        await _whole(call, response, ledger, tally)


async def _read(call: Call, response: Response) -> bytes:
    before = time.perf_counter()
    try:
        return await response.read()
    finally:
        call.waited_s += time.perf_counter() - before


async def _whole(call: Call, response: Response, ledger: Ledger, tally: Tally) -> None:
    body = await _read(call, response)
    call.first_byte_at = time.perf_counter()
    cost: str | None = None

    def close(usage: Usage | None) -> tuple[str | None, bytes]:
        nonlocal cost
        cost, receipt = settle(call, 200, usage, None, ledger, tally)
        return cost, receipt

    out = forward.complete(body, close)
    call.exchange.answer(200, _JSON + receipt_headers(call, cost), out)


class _Relay:
    """A stream from the upstream to the caller, driven by the upstream's bytes: no task wakes for a chunk."""

    def __init__(self, call: Call, response: Response, ledger: Ledger, tally: Tally) -> None:
        assert call.request is not None
        self.call = call
        self.exchange = call.exchange
        self.response = response
        self.stream = forward.Stream(call.request.wants_usage, lambda usage: settle(call, 200, usage, None, ledger, tally))

    async def run(self) -> None:
        """Until the stream has ended well. Errors: Fault; nothing has reached the caller if the exchange has not started."""
        self.exchange.on_pause, self.exchange.on_resume = self.response.pause, self.response.resume
        try:
            await self.response.relay(self.forward)
        except Fault:
            if not self.stream.done:  # after [DONE] nothing is missing
                raise
        finally:
            self.exchange.on_pause = self.exchange.on_resume = None
        last = self.stream.close()
        self._begin()
        self.exchange.end(last)

    def forward(self, data: bytes) -> None:
        """One piece from the upstream. Errors: Fault, which ends the relay."""
        out = self.stream.feed(data)
        if out:
            self._begin()
            self.exchange.send(out)
        if self.stream.failed is not None:
            raise self.stream.failed

    def _begin(self) -> None:
        if not self.exchange.response_started:
            self.call.first_byte_at = time.perf_counter()
            self.exchange.start(200, _EVENT_STREAM + receipt_headers(self.call, None))
            if self.exchange.paused:
                self.response.pause()
