"""The receipt: who was asked and why, who answered, what it cost, how long we took. Whole in bodies, as far as it is known in headers."""

import time

import msgspec

from shoal.core.attempt import Attempt
from shoal.core.models import Deployment
from shoal.core.money import usd_text
from shoal.core.receipt import NOTHING, Receipt, ReceiptAttempt
from shoal.core.usage import Usage
from shoal.gateway.call import Call

_encode = msgspec.json.Encoder().encode
_NULL = msgspec.Raw(b"null")
_UNPRICED = ("the price of this model is unknown",)
_UNPRICED_TIER = ("the price of this model is unknown for the service tier that was used",)


def write(
    call: Call,
    usage: Usage,
    cost: str | None,
    overhead_us: int,
    first_us: int | None,
    duration_us: int,
    charged_nano: int | None = None,
    excess_nano: int = 0,
) -> bytes:
    """The receipt as a JSON object; what is charged is said where it is not the cost."""
    attempt = call.attempt
    deployment = None if attempt is None else attempt.deployment
    more: tuple[str, ...] = ()
    if cost is None and deployment is not None:
        price = deployment.price
        if price is None:
            more = _UNPRICED
        elif usage.service_tier is not None and usage.service_tier not in price.service_tiers:
            more = _UNPRICED_TIER
    if deployment is not None and deployment.ends_on is not None:
        more = (*more, f"{deployment.provider} serves {deployment.upstream_model} until {deployment.ends_on}")
    if attempt is not None and attempt.error is None and len(call.attempts) == 1:  # as nearly always
        one = attempt.deployment
        attempts = [ReceiptAttempt(one.provider, one.upstream_model, int(attempt.duration_s * 1e6) / 1000, why=attempt.why)]
    else:
        attempts = [_describe(call, one) for one in call.attempts]
    return _encode(
        Receipt(
            call.id,
            call.request.model if call.was_read else None,
            None if deployment is None else deployment.model,
            None if deployment is None else deployment.provider,
            call.policy,
            attempts,
            _NULL if cost is None else msgspec.Raw(cost.encode()),
            usage,
            overhead_us / 1000,
            None if first_us is None else first_us / 1000,
            duration_us / 1000,
            call.dropped,
            (*call.notes, *more) if more else call.notes,
            call.excluded,
            NOTHING if charged_nano is None else msgspec.Raw(usd_text(charged_nano).encode()),
            NOTHING if not excess_nano else msgspec.Raw(usd_text(excess_nano).encode()),
        )
    )


def _describe(call: Call, one: Attempt) -> ReceiptAttempt:
    deployment, ms = one.deployment, int(one.duration_s * 1e6) / 1000
    if one.error is None and one is call.attempt and not one.continued:
        return ReceiptAttempt(deployment.provider, deployment.upstream_model, ms, why=one.why)
    cost = msgspec.Raw(usd_text(one.cost_nano).encode()) if one.cost_nano else NOTHING
    return ReceiptAttempt(deployment.provider, deployment.upstream_model, ms, one.error, one.status, cost, one.continued, one.why)


def header_lines(call: Call, cost: str | None) -> bytes:
    """What is known of the receipt when headers leave, as header lines."""
    attempt = call.attempt
    overhead_s = (call.first_byte_at or time.perf_counter()) - call.started_at - call.waited_s
    named = b"request-id: %b\r\n" % call.id.encode() if call.endpoint.dialect == "anthropic" else b""  # where its SDK looks for it
    return b"x-request-id: %b\r\n%bx-shoal-attempts: %d\r\nx-shoal-overhead-ms: %.3f\r\n%b%b%b" % (
        call.id.encode(),
        named,
        len(call.attempts),
        max(0.0, overhead_s * 1000),
        b"" if attempt is None else _name_lines(attempt.deployment),
        b"" if cost is None else b"x-shoal-cost-usd: %b\r\n" % cost.encode(),
        call.more_headers if call.hold is None else call.more_headers + call.hold.header_lines(),
    )


# lines by the deployment's id: hashing a whole deployment would cost more than writing them
_lines: dict[str, tuple[Deployment, bytes]] = {}
_MOST_LINES = 4096


def _name_lines(deployment: Deployment) -> bytes:
    known = _lines.get(deployment.id)
    if known is not None and known[0] is deployment:
        return known[1]
    lines = f"x-shoal-model: {_visible(deployment.model)}\r\nx-shoal-provider: {_visible(deployment.provider)}\r\n".encode()
    if len(_lines) >= _MOST_LINES:
        _lines.clear()
    _lines[deployment.id] = (deployment, lines)
    return lines


def _visible(value: str) -> str:
    """A name as a header value: what HTTP does not allow there is percent-encoded."""
    return "".join(one if " " < one <= "~" else "".join(f"%{byte:02X}" for byte in one.encode()) for one in value)
