"""Errors, both ways: an upstream's as a Fault, and a Fault as what a caller of the Messages API reads.

https://platform.claude.com/docs/en/api/errors: the type of an error stands for the status it would have had, in streams too.
"""

from collections.abc import Mapping

import msgspec

from shoal.core.errors import Fault
from shoal.wire.retry import retry_after_s as read_retry_after

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_TYPES = {status: type for type, status in _STATUSES.items()} | {408: "timeout_error", 503: "overloaded_error"}


class _Error(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _Body(msgspec.Struct):
    error: _Error | str | None = None


class _Receipt(msgspec.Struct):
    id: str | None = None


_body = msgspec.json.Decoder(_Body)
_receipt = msgspec.json.Decoder(_Receipt | None)


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An upstream's error answer as a Fault; kinds come from the status alone.

    What the upstream says about the caller's own mistake is passed on; what it says about our key or its own troubles is not.
    """
    said = _said(body)
    plain = f"The upstream answered with status {status}."
    retry_after_s = read_retry_after(headers)
    if status in (401, 402, 403):
        text = "The upstream refused this gateway's credentials or account; the operator must check the provider's api_key and its credit."
        return Fault("upstream_auth", text, upstream_status=status)
    if status == 404:
        return Fault("upstream_not_found", said.message or plain, upstream_status=status)
    if status in (408, 504):
        return Fault("upstream_timeout", plain, retry_after_s=retry_after_s, upstream_status=status)
    if status == 429:
        text = "The upstream is busy, or has reached the limit of what it does for this gateway; try again later."
        return Fault("upstream_busy", text, retry_after_s=retry_after_s, upstream_status=status)
    if 400 <= status < 500:
        return Fault("upstream_rejected", said.message or plain, upstream_status=status)
    if 300 <= status < 400:
        text = f"The upstream redirects (status {status}), which is not followed; the operator must correct the provider's base_url."
        return Fault("upstream_error", text, upstream_status=status)
    return Fault("upstream_error", plain, retry_after_s=retry_after_s, upstream_status=status)


def read_within(body: bytes) -> Fault:
    """An error inside a 200, or in the middle of a stream: its type is the status that was not sent."""
    return read(_STATUSES.get(_said(body).type or "", 500), {}, body)


def _said(body: bytes) -> _Error:
    try:
        seen = _body.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Error()
    return seen if isinstance(seen, _Error) else _Error(message=seen)


def write(fault: Fault, receipt: bytes) -> bytes:
    """An error answer's body, with the receipt at its end and the request's id where the receipt has one."""
    status = 529 if fault.upstream_status == 529 else fault.status
    kind = _TYPES.get(status) or ("invalid_request_error" if 400 <= status < 500 else "api_error")
    known = _receipt.decode(receipt)
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {"type": kind, "message": fault.message},
            "request_id": known.id if known else None,
            "shoal": msgspec.Raw(receipt),
        }
    )


def write_event(fault: Fault, receipt: bytes) -> bytes:
    """The one event that ends a broken stream."""
    return b"event: error\ndata: %b\n\n" % write(fault, receipt)
