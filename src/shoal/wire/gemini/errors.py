"""Failures in Google's shape: `{"error": {code, message, status, details}}`. See https://cloud.google.com/apis/design/errors.

Kinds come from the HTTP status, from `status`, and from `reason` in `details`: https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from collections.abc import Mapping
from math import isfinite

import msgspec

from shoal.core.errors import Fault
from shoal.wire.gemini.parts import Json
from shoal.wire.retry import LONGEST_S, retry_after_s

_STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL",
    501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_CODES = {
    "CANCELLED": 499, "UNKNOWN": 500, "INVALID_ARGUMENT": 400, "DEADLINE_EXCEEDED": 504, "NOT_FOUND": 404, "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403, "UNAUTHENTICATED": 401, "RESOURCE_EXHAUSTED": 429, "FAILED_PRECONDITION": 400, "ABORTED": 409,
    "OUT_OF_RANGE": 400, "UNIMPLEMENTED": 501, "INTERNAL": 500, "UNAVAILABLE": 503, "DATA_LOSS": 500,
}  # fmt: skip
_OF_THE_KEY = ("API_KEY_", "ACCESS_TOKEN_", "CREDENTIALS_", "CONSUMER_", "SERVICE_DISABLED", "BILLING_DISABLED", "ACCOUNT_STATE_")
"""Reasons (google.api.ErrorReason) that blame the key and not the request, whatever the status."""


class _Detail(msgspec.Struct, rename="camel"):
    reason: str | None = None
    retry_delay: str | None = None


class _Error(msgspec.Struct):
    code: int | None = None
    message: str | None = None
    status: str | None = None
    details: list[_Detail] | None = None


class _Body(msgspec.Struct):
    error: _Error | None = None


_body = msgspec.json.Decoder(_Body | list[_Body])


def _said(body: bytes) -> _Error:
    """What an error says; Google wraps it into an array where it would have streamed one."""
    try:
        found = _body.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Error()
    if isinstance(found, list):
        found = found[0] if found else _Body()
    return found.error or _Error()


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An error answer as a Fault."""
    return _fault(status, headers, _said(body), body)


def read_within(body: bytes) -> Fault:
    """An error inside a success, such as an event of a stream: its code is the status that was not sent."""
    said = _said(body)
    status = said.code if said.code is not None and 400 <= said.code < 600 else _CODES.get(said.status or "", 500)
    return _fault(status, {}, said, body)


def _fault(status: int, headers: Mapping[bytes, bytes], said: _Error, body: bytes) -> Fault:
    plain = f"The upstream answered with status {status}."
    message = said.message or plain
    wait_s = _retry_after_s(headers, said)
    details = said.details or ()
    if status in (401, 403) or any(detail.reason and detail.reason.startswith(_OF_THE_KEY) for detail in details):
        text = "The upstream refused this gateway's credentials; the operator must check the provider's api_key."
        return Fault("upstream_auth", text, upstream_status=status)
    if status == 400 and said.status == "FAILED_PRECONDITION":
        text = "The upstream does not serve this gateway's account as it is; the operator must check its billing and its region."
        return Fault("upstream_auth", text, upstream_status=status)
    if status == 404:
        return Fault("upstream_not_found", message, upstream_status=status)
    if status in (408, 504):
        return Fault("upstream_timeout", plain, upstream_status=status)
    if status == 429:
        text = "The upstream is busy, or has reached the limit of what it does for this gateway; try again later."
        return Fault("upstream_busy", text, retry_after_s=wait_s, upstream_status=status)
    if 400 <= status < 499:
        return Fault("upstream_rejected", message, upstream_status=status, upstream_body=body)
    return Fault("upstream_error", plain, retry_after_s=wait_s, upstream_status=status)


def _retry_after_s(headers: Mapping[bytes, bytes], said: _Error) -> float | None:
    """Seconds to wait: RetryInfo's delay (a protobuf duration such as "37.5s"), or the header's."""
    delays = [detail.retry_delay.removesuffix("s") for detail in said.details or () if detail.retry_delay]
    for text in delays:
        try:
            seconds = float(text)
        except ValueError:
            continue
        if isfinite(seconds):
            return min(max(0.0, seconds), LONGEST_S)
    return retry_after_s(headers)


def _error(fault: Fault) -> Json:
    details: list[Json] = []
    code = fault.row.code or fault.kind
    details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code.upper(), "domain": "shoal"})
    if fault.param is not None:
        violation = {"field": fault.param, "description": fault.message}
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]})
    if fault.retry_after_s is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{fault.retry_after_s:g}s"})
    status = _STATUSES.get(fault.status, "INVALID_ARGUMENT" if fault.status < 500 else "INTERNAL")
    return {"code": fault.status, "message": fault.message, "status": status, "details": details}


def write(fault: Fault, receipt: bytes) -> bytes:
    """The error's body for a caller, with the receipt at its end."""
    return msgspec.json.encode({"error": _error(fault), "shoal": msgspec.Raw(receipt)})


def write_event(fault: Fault, receipt: bytes) -> bytes:
    """The event that ends a broken stream."""
    return b"data: %b\r\n\r\n" % write(fault, receipt)


def write_element(fault: Fault, receipt: bytes) -> bytes:
    """The same for a stream that is a JSON array and has begun."""
    return b",\r\n%b]" % write(fault, receipt)
