"""Errors in OpenAI's shape: an upstream's as a Fault, inside a 200 too, and a Fault as what a caller reads."""

from collections.abc import Mapping
from math import isfinite

import msgspec

from shoal.core.errors import Fault

# msgspec takes no Raw in a union: what is absent reads as null
_ABSENT = msgspec.Raw(b"null")


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    detail: msgspec.Raw = _ABSENT


_error = msgspec.json.Decoder(_ErrorBody)


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An upstream's error answer as a Fault; kinds come from the status alone.

    What the upstream says about the caller's own mistake is passed on; what it says about our key or its own troubles is not.
    """
    said = _read_error(body)
    plain = f"The upstream answered with status {status}."
    message = (said.message if said else None) or plain
    retry_after_s = _retry_after_s(headers)
    if status in (401, 403):
        return Fault("upstream_auth", "The upstream refused this gateway's credentials; the operator must check the provider's api_key.")
    if status == 404:
        return Fault("upstream_not_found", message, param=said.param if said else None, upstream_status=status)
    if status == 408:
        return Fault("upstream_timeout", plain, upstream_status=status)
    if status == 429:
        text = "The upstream is busy, or has reached the limit of what it does for this gateway; try again later."
        return Fault("upstream_busy", text, retry_after_s=retry_after_s, upstream_status=status)
    if 400 <= status < 500:
        return _Rejected(message, status, said)
    if 300 <= status < 400:
        text = f"The upstream redirects (status {status}), which is not followed; the operator must correct the provider's base_url."
        return Fault("upstream_error", text, upstream_status=status)
    return Fault("upstream_error", plain, retry_after_s=retry_after_s, upstream_status=status)


def read_within(body: bytes) -> Fault:
    """An error inside a 200: its numeric code is the status that was not sent, its type tells whether the caller is to blame."""
    said = _read_error(body)
    if said is not None and isinstance(said.code, int) and 400 <= said.code < 600:
        return read(said.code, {}, body)
    if said is not None and said.type == "invalid_request_error":
        return read(400, {}, body)
    return Fault("upstream_error", "The upstream answered with an error of its own.", upstream_status=200)


class _Rejected(Fault):
    """A caller's mistake as the upstream described it: its status, type and code are kept."""

    def __init__(self, message: str, status: int, said: _Error | None) -> None:
        super().__init__("upstream_rejected", message, param=said.param if said else None, upstream_status=status)
        self._said = said

    def error(self) -> dict[str, str | None]:
        """OpenAI's error object with the upstream's own type and code where it gave them."""
        out = super().error()
        if self._said is not None:
            out["type"] = self._said.type or out["type"]
            out["code"] = str(self._said.code) if self._said.code is not None else out["code"]
        return out


def _read_error(body: bytes) -> _Error | None:
    try:
        seen = _error.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(seen.error, _Error):
        return seen.error
    detail = bytes(seen.detail)
    text = seen.error or seen.message or (detail.decode("utf-8", "replace")[:500] if detail != b"null" else None)
    return _Error(message=text) if text else None


_LONGEST_RETRY_S = 86_400.0


def _retry_after_s(headers: Mapping[bytes, bytes]) -> float | None:
    for name, scale in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        return min(max(0.0, seconds), _LONGEST_RETRY_S) if isfinite(seconds) else None
    return None


def error_event(body: bytes) -> bytes:
    """One typed error event, which is the last thing a broken stream says."""
    return b"data: %b\n\n" % body
