"""Errors in OpenAI's shape: an upstream's as a Fault, inside a 200 too, and a Fault as what a caller reads.

Those who speak the dialect do not agree on the shape: `error` is an object, a text, or missing (Mistral, Cerebras, FastAPI's `detail`;
MiniMax's `base_resp`, in an answer that looks like a success).
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.wire.retry import retry_after_s as read_retry_after

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode

# what an error inside a 200 would have had as its status: OpenAI's codes and types, and those that others use in their stead
_STATUS = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "tool_use_failed": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "timeout": 504,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "rate_limit_reached_error": 429,
    "insufficient_quota": 429,
    "exceeded_current_quota_error": 429,
    "engine_overloaded_error": 529,
    "overloaded_error": 529,
}
# https://platform.minimax.io/docs/api-reference/errorcode
_BASE_STATUS = {
    1001: 504,
    1002: 429,
    1004: 401,
    1008: 402,
    1026: 400,
    1027: 400,
    1039: 400,
    1041: 429,
    1042: 400,
    2013: 400,
    2049: 401,
    2056: 429,
}
# OpenAI's, Mistral's, and Z.AI's (https://docs.z.ai/api-reference/api-code)
_CONTEXT_CODES = ("context_length_exceeded", "string_above_max_length", "3051", "1261")
_BAD_KEY_CODES = ("invalid_api_key", "API_KEY_INVALID")


class _Said(msgspec.Struct):
    """What an upstream says of an error, wherever it put it."""

    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    more: dict[str, Any] = {}
    status: int | None = None
    """The status that a code of MiniMax's stands for."""


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An upstream's error answer as a Fault; kinds come from the status and the code, never from words.

    What the upstream says about the caller's own mistake is passed on; what it says about our key or its own troubles is not.
    """
    said = _read_error(body) or _Said()
    plain = f"The upstream answered with status {status}."
    message = said.message or plain
    retry_after_s = read_retry_after(headers)
    if status in (401, 402, 403) or (400 <= status < 500 and said.code in _BAD_KEY_CODES):
        text = "The upstream refused this gateway's credentials; the operator must check the provider's api_key."
        if status == 402:
            text = "The upstream asks this gateway for money; the operator must look after its account with the provider."
        return Fault("upstream_auth", text, upstream_status=status)
    if status == 404:
        return Fault("upstream_not_found", message, param=said.param, upstream_status=status)
    if status == 408 or status == 504:
        return Fault("upstream_timeout", plain, upstream_status=status)
    if status == 429:
        text = "The upstream is busy, or has reached the limit of what it does for this gateway; try again later."
        return Fault("upstream_busy", text, retry_after_s=retry_after_s, upstream_status=status)
    if 400 <= status < 500:
        if str(said.code) in _CONTEXT_CODES:
            return Fault("context_length", message, param=said.param, upstream_status=status)
        return _Rejected(message, status, said)
    if 300 <= status < 400:
        text = f"The upstream redirects (status {status}), which is not followed; the operator must correct the provider's base_url."
        return Fault("upstream_error", text, upstream_status=status)
    return Fault("upstream_error", plain, retry_after_s=retry_after_s, upstream_status=status)


def read_within(body: bytes) -> Fault:
    """An error inside a 200: its code or type tells the status that was not sent."""
    said = _read_error(body) or _Said()
    if said.status is not None:
        return read(said.status, {}, body)
    for sign in (str(said.code), str(said.type)):
        status = int(sign) if sign.isdecimal() and len(sign) == 3 else _STATUS.get(sign, 0)
        if 400 <= status < 600:
            return read(status, {}, body)
    return Fault("upstream_error", "The upstream answered with an error of its own.", upstream_status=200)


def read_instead(body: bytes) -> Fault:
    """What came in a 200 in place of an answer: an error, if it says anything."""
    if (said := _read_error(body)) is not None and said.message:
        return read_within(body)
    return Fault("upstream_garbled", "The upstream answered without any choice.")


class _Rejected(Fault):
    """A caller's mistake as the upstream described it: its status, type, code and whatever else it said in words are kept."""

    def __init__(self, message: str, status: int, said: _Said) -> None:
        super().__init__("upstream_rejected", message, param=said.param, upstream_status=status)
        self._said = said

    def error(self) -> dict[str, Any]:
        """OpenAI's error object with the upstream's own type and code where it gave them."""
        out: dict[str, Any] = super().error()
        out["type"] = self._said.type or out["type"]
        out["code"] = str(self._said.code) if self._said.code is not None else out["code"]
        return {**self._said.more, **out}


def _read_error(body: bytes) -> _Said | None:
    try:
        seen = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(seen, list) and seen:  # Gemini, speaking this dialect, wraps its error in a list
        seen = seen[0]
    if not isinstance(seen, dict):
        return None
    error, base = seen.get("error"), seen.get("base_resp")
    if error is None and isinstance(base, dict):
        return _read_base(base)
    words = error or seen.get("message") or seen.get("detail") or seen.get("msg")
    members = error if isinstance(error, dict) else {**seen, "message": words}
    message = members.get("message")
    if message is None and error is None:
        return None
    code = members.get("code")
    return _Said(
        message=_masked(_text(message)) if message else None,
        type=_string(members.get("type")),
        param=_string(members.get("param")),
        code=code if isinstance(code, str) or (isinstance(code, int) and not isinstance(code, bool)) else None,
        more=_read_more(members),
    )


def _read_base(base: dict[str, Any]) -> _Said | None:
    code = base.get("status_code")
    if not code or not isinstance(code, int):
        return None
    return _Said(message=_text(base.get("status_msg") or ""), code=code, status=_BASE_STATUS.get(code, 500))


def _read_more(members: dict[str, Any]) -> dict[str, Any]:
    """What else is told of a caller's mistake: what a model made that was no call (Groq), what the provider behind said (OpenRouter)."""
    made, behind = members.get("failed_generation"), members.get("metadata")
    more: dict[str, Any] = {"failed_generation": made} if isinstance(made, str) else {}
    if isinstance(behind, dict):
        more["metadata"] = {name: _masked(value) if isinstance(value, str) else value for name, value in behind.items()}
    return more


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()[:500]


_MASKED_KEY = re.compile(r"""[^\s"']*\*{3,}[^\s"']*""")


def _masked(message: str) -> str:
    """The message without the rest of a key that an upstream has half hidden (`sk***Yz`): it is ours, not the caller's."""
    return _MASKED_KEY.sub("***", message)


def write(fault: Fault, receipt: bytes) -> bytes:
    """An error answer's body: OpenAI's error object, and the receipt (a JSON object, or null) at its end."""
    return b'{"error":%b,"shoal":%b}' % (_encode(fault.error()), receipt)


def write_event(fault: Fault, receipt: bytes) -> bytes:
    """One typed error event, which is the last thing a broken stream says."""
    return error_event(write(fault, receipt))


def error_event(body: bytes) -> bytes:
    """An error's body as an event."""
    return b"data: %b\n\n" % body
