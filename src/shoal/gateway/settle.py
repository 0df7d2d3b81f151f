"""The end of every request: what it used and cost, the receipt that says so, and the entry in the ledger. Once, whatever happened."""

import functools
import time

import msgspec

from shoal.core.errors import Fault
from shoal.core.ledger import Entry
from shoal.core.models import Deployment
from shoal.core.money import usd_text
from shoal.core.ports import Ledger
from shoal.core.usage import Usage, charge
from shoal.gateway.call import Call
from shoal.net.exchange import JSON, fault_headers
from shoal.telemetry.tally import Tally
from shoal.wire.openai_chat import errors


class ReceiptAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One try, as the receipt lists it."""

    provider: str
    model: str
    ms: float
    error: str | None = None
    status: int | None = None


class Receipt(msgspec.Struct, frozen=True):
    """The `shoal` member of every answer. Times are milliseconds; `cost_usd` is null when a price or a count is not known."""

    id: str
    requested: str | None
    model: str | None
    provider: str | None
    attempts: list[ReceiptAttempt]
    cost_usd: msgspec.Raw
    usage: Usage
    overhead_ms: float
    first_byte_ms: float | None
    duration_ms: float
    dropped: tuple[str, ...]
    warnings: tuple[str, ...]


_encode = msgspec.json.Encoder().encode
_NULL = msgspec.Raw(b"null")
_UNPRICED = ("the price of this model is unknown",)


def settle(call: Call, status: int, usage: Usage | None, error: str | None, ledger: Ledger, tally: Tally) -> tuple[str | None, bytes]:
    """Charge, write the ledger's entry, and give the cost in USD (None if unknown) and the receipt's JSON.

    Errors: Fault overloaded when the ledger cannot be written: an answer that cannot be accounted for is not given.
    """
    now = time.perf_counter()
    deployment = call.deployment
    usage = usage or Usage()
    cost_nano = _cost_nano(call, status, usage)
    cost = None if cost_nano is None else usd_text(cost_nano)
    if call.attempts and call.attempts[-1].error is None:
        call.attempts[-1].duration_s = now - call.attempts[-1].started_at
    overhead_s = max(0.0, now - call.started_at - _waited_s(call, now))
    receipt = _encode(_receipt(call, usage, cost, overhead_s, now))
    entry = Entry(
        request_id=call.id,
        at_ms=int(call.at_s * 1000),
        key_id=call.principal.key_id,
        endpoint=call.endpoint,
        requested_model=call.request.model[:512] if call.request else "",
        model=deployment.model if deployment else "",
        provider=deployment.provider if deployment else "",
        deployment=deployment.id if deployment else "",
        status=status,
        stream=call.request.stream if call.request else False,
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
        reasoning_tokens=usage.reasoning,
        cost_nano=cost_nano,
        attempts=len(call.attempts),
        overhead_us=int(overhead_s * 1e6),
        first_token_us=None if call.first_byte_at is None else int((call.first_byte_at - call.started_at) * 1e6),
        duration_us=int((now - call.started_at) * 1e6),
        error_code=error,
        receipt=msgspec.Raw(receipt),
    )
    call.settled = True
    ledger.append(entry)
    tally.count(entry)
    return cost, receipt


def _cost_nano(call: Call, status: int, usage: Usage) -> int | None:
    """Nothing is charged for an answer of which nothing came; what a broken one cost is not known."""
    if status != 200:
        return 0 if call.first_byte_at is None else None
    return charge(usage, call.deployment.price if call.deployment else None)


def _waited_s(call: Call, now: float) -> float:
    """Time spent waiting for upstreams; all that follows the first byte of a stream is the upstream's time, too."""
    streaming = call.request is not None and call.request.stream and call.first_byte_at is not None
    return call.waited_s + (now - call.first_byte_at if streaming and call.first_byte_at is not None else 0.0)


def _receipt(call: Call, usage: Usage, cost: str | None, overhead_s: float, now: float) -> Receipt:
    deployment = call.deployment
    return Receipt(
        id=call.id,
        requested=call.request.model if call.request else None,
        model=deployment.model if deployment else None,
        provider=deployment.provider if deployment else None,
        attempts=[
            ReceiptAttempt(one.deployment.provider, one.deployment.upstream_model, _ms(one.duration_s), one.error, one.status)
            for one in call.attempts
        ],
        cost_usd=_NULL if cost is None else msgspec.Raw(cost.encode()),
        usage=usage,
        overhead_ms=_ms(overhead_s),
        first_byte_ms=None if call.first_byte_at is None else _ms(call.first_byte_at - call.started_at),
        duration_ms=_ms(now - call.started_at),
        dropped=tuple(call.dropped.split(", ")) if call.dropped else (),
        warnings=_UNPRICED if cost is None and deployment is not None and deployment.price is None else (),
    )


def _ms(seconds: float) -> float:
    return int(seconds * 1e6) / 1000


def receipt_headers(call: Call, cost: str | None) -> bytes:
    """The receipt as far as it is known when headers leave, as header lines."""
    deployment = call.deployment
    overhead_s = (call.first_byte_at or time.perf_counter()) - call.started_at - call.waited_s
    return b"x-request-id: %b\r\nx-shoal-attempts: %d\r\nx-shoal-overhead-ms: %.3f\r\n%b%b" % (
        call.id.encode(),
        len(call.attempts),
        max(0.0, overhead_s * 1000),
        b"" if deployment is None else _deployment_headers(deployment),
        b"" if cost is None else b"x-shoal-cost-usd: %b\r\n" % cost.encode(),
    )


@functools.lru_cache(maxsize=4096)
def _deployment_headers(deployment: Deployment) -> bytes:
    return f"x-shoal-model: {_visible(deployment.model)}\r\nx-shoal-provider: {_visible(deployment.provider)}\r\n".encode()


def _visible(value: str) -> str:
    """A name as a header value: what HTTP does not allow there is percent-encoded."""
    return "".join(one if " " < one <= "~" else "".join(f"%{byte:02X}" for byte in one.encode()) for one in value)


def settle_failure(call: Call, fault: Fault, ledger: Ledger, tally: Tally) -> None:
    """Settle a request that failed, and tell the caller: an error answer, or, where an answer had begun, one error event."""
    exchange = call.exchange
    code = fault.row.code or fault.kind
    receipt = b"null"
    if not call.settled:  # otherwise the fault is the ledger's own
        try:
            _, receipt = settle(call, fault.status, None, code, ledger, tally)
        except Fault as unwritten:
            fault = unwritten
    body = b'{"error":%b,"shoal":%b}' % (_encode(fault.error()), receipt)
    if not exchange.response_started:
        exchange.answer(fault.status, _fault_lines(fault) + receipt_headers(call, None), body)
    elif not exchange.response_complete:
        exchange.end(errors.error_event(body))


def _fault_lines(fault: Fault) -> bytes:
    return b"".join(b"%b: %b\r\n" % field for field in (JSON, *fault_headers(fault)))
