"""The end of every request: what it used and cost, the receipt that says so, and the entry in the ledger. Once, whatever happened."""

import time

import msgspec

from shoal.core.attempt import Attempt
from shoal.core.errors import Fault
from shoal.core.ledger import Entry
from shoal.core.money import usd_text
from shoal.core.usage import Usage, charge
from shoal.gateway import receipt
from shoal.gateway.call import Call
from shoal.gateway.charges import charge_call, others_nano
from shoal.gateway.retention import withhold
from shoal.net.exchange import JSON, fault_headers

_NO_USAGE = Usage()
_FREE = Usage(input=0, output=0)  # nothing was used for this answer


class Settlement:
    """Settles a call that is answered well, when whoever has read its usage calls this. `cost` is its cost in USD then, None if unknown."""

    __slots__ = ("_attempt", "_call", "cost")

    def __init__(self, call: Call, attempt: Attempt | None = None) -> None:
        self._call = call
        self._attempt = attempt
        self.cost: str | None = None

    def __call__(self, usage: Usage | None) -> tuple[str | None, bytes]:
        if self._attempt is not None and self._call.claimed is None:  # all of the answer came at once, and its first byte is still here
            self._call.claim(self._attempt)
            self._call.first_byte_at = time.perf_counter()
        gone = self._call.exchange.gone  # and the upstream has gone on, whose answer was waited for
        self.cost, written = settle(self._call, 499 if gone else 200, usage, "client_gone" if gone else None)
        return self.cost, written


def settle(call: Call, status: int, usage: Usage | None, error: str | None) -> tuple[str | None, bytes]:
    """Charge, write the ledger's entry, and give what the caller pays in USD (None if unknown) and the receipt's JSON.

    Errors: Fault overloaded when the ledger cannot be written: an answer that cannot be accounted for is not given.
    """
    now = time.perf_counter()
    attempt, world = call.attempt, call.world
    deployment = None if attempt is None else attempt.deployment
    usage, cost_nano, charged_nano, excess_nano = _bill(call, status, usage, error)
    if attempt is not None and attempt.error is None:
        attempt.duration_s = now - attempt.started_at
        attempt.usage = usage
    cost = None if cost_nano is None else usd_text(cost_nano)
    first, started, request = call.first_byte_at, call.started_at, call.request if call.was_read else None
    streams = request is not None and request.stream
    # time spent waiting for upstreams is not ours; all that follows the first byte of a stream is the upstream's time, too
    waited_s = call.waited_s + (now - first if streams and first is not None else 0.0)
    overhead_us = max(0, int((now - started - waited_s) * 1e6))
    duration_us = int((now - started) * 1e6)
    first_us = None if first is None else int((first - started) * 1e6)
    told_nano = None if charged_nano == cost_nano else charged_nano
    written = receipt.write(call, usage, cost, overhead_us, first_us, duration_us, told_nano, excess_nano)
    entry = Entry(
        call.id,
        int(call.at_s * 1000),
        call.principal.key_id,
        call.endpoint.name,
        "" if request is None else request.model[:512],
        "" if deployment is None else deployment.model,
        "" if deployment is None else deployment.provider,
        "" if deployment is None else deployment.id,
        status,
        streams,
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_write,
        usage.reasoning,
        cost_nano,
        len(call.attempts),
        overhead_us,
        first_us,
        duration_us,
        error,
        msgspec.Raw(written),
        "" if call.hold is None else call.hold.lease,
        charged_nano,
        call.principal.org_id,
        call.principal.project_id,
        "" if request is None else request.user[:512],
    )
    if not call.keeps:
        entry = withhold(entry)
    call.settled = call.exchange.settled = True
    if status != 429 or attempt is not None:  # a limit that fills the disk with refusals would protect nobody
        world.ledger.append(entry)
    if call.hold is not None:
        call.hold.settle(charged_nano or 0, _tokens(status, usage))
    world.tally.count(entry)
    return cost if told_nano is None else usd_text(told_nano), written


def _bill(call: Call, status: int, usage: Usage | None, error: str | None) -> tuple[Usage, int | None, int | None, int]:
    """What was used, what it cost, what the caller pays, and what is the operator's, since it was not held."""
    usage = _FREE if call.free else usage or _NO_USAGE
    cost_nano = _cost_nano(call, status, usage)
    return charge_call(call, usage, cost_nano, error) if call.principal.metered else (usage, cost_nano, cost_nano, 0)


def _tokens(status: int, usage: Usage) -> int | None:
    """What counts against a key's tokens a minute; None where it is not known, 0 for a failure of which nothing is known."""
    if usage.input is None and usage.output is None:
        return None if status == 200 else 0
    return (usage.input or 0) + (usage.output or 0)


def _cost_nano(call: Call, status: int, usage: Usage) -> int | None:
    """What the answer costs, and what was spent on tries whose answers the caller did not get.

    Nothing is charged for an answer of which nothing came; what a broken one cost is not known.
    """
    if call.free:
        return 0
    attempt = call.attempt
    if status == 200 or usage is not _NO_USAGE:
        total = charge(usage, None if attempt is None else attempt.deployment.price)
    else:
        total = 0 if call.first_byte_at is None else None
    if len(call.attempts) > 1 and total is not None:
        total += others_nano(call, attempt)
    return total


def settle_failure(call: Call, fault: Fault) -> None:
    """Settle a request that failed, and tell the caller: an error answer, or, where an answer had begun, one error event."""
    exchange, endpoint = call.exchange, call.endpoint
    code = fault.row.code or fault.kind
    written = b"null"
    if not call.settled:  # otherwise the fault is the ledger's own
        try:
            _, written = settle(call, fault.status, None, code)
        except Fault as unwritten:
            fault = unwritten
    if not exchange.response_started:
        lines = b"".join(b"%b: %b\r\n" % field for field in (JSON, *fault_headers(fault)))
        exchange.answer(fault.status, lines + receipt.header_lines(call, None), endpoint.error(fault, written))
    elif not exchange.response_complete:
        exchange.end(endpoint.error_event(fault, written))
