"""Errors of the Responses API: an upstream's as a Fault, and a Fault as a caller reads it.

Statuses and the error object are those of chat completions; in a stream an error is an event, or a response that failed with a code of its
own. https://platform.openai.com/docs/api-reference/responses-streaming/error
"""

from collections.abc import Mapping

import msgspec

from shoal.core.errors import Fault
from shoal.wire.openai_chat import errors as chat


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None
    error: "_Error | None" = None


_error = msgspec.json.Decoder(_Error | None)

_STATUSES = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "vector_store_timeout": 504,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
}
"""The status that a code or a type would have had, outside a stream."""

_REJECTED = [
    "invalid_prompt",
    "data_residency_mismatch",
    "bio_policy",
    "invalid_image",
    "invalid_image_format",
    "invalid_base64_image",
    "invalid_image_url",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "image_content_policy_violation",
    "invalid_image_mode",
    "image_file_too_large",
    "unsupported_image_media_type",
    "empty_image_file",
    "failed_to_download_image",
    "image_file_not_found",
    "invalid_encrypted_content",
]
"""Codes that blame the request."""


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An upstream's error answer as a Fault; kinds come from status, code and parameter."""
    said = _decode(body)
    if status == 404 and said is not None and said.param in ("input", "previous_response_id"):
        # an item that the request refers to is not there, which says nothing of the model
        fault = chat.read(400, headers, body)
        fault.upstream_status = status
        return fault
    return _of_code(said) or chat.read(status, headers, body)


def read_within(data: bytes) -> Fault:
    """An error inside a stream, or a response's own: its code, else its type, tells the status that was not sent."""
    said = _decode(data)
    if said is None:
        return Fault("upstream_error", "The upstream answered with an error of its own.", upstream_status=200)
    fault = _of_code(said)
    if fault is not None:
        return fault
    status = next((found for found in map(_status, (said.code, said.type)) if found is not None), None)
    if status is None:
        return Fault("upstream_error", "The upstream answered with an error of its own.", upstream_status=200)
    error = {"message": said.message, "type": said.type or "invalid_request_error", "param": said.param, "code": said.code}
    return chat.read(status, {}, msgspec.json.encode({"error": error}))


def _status(word: str | int | None) -> int | None:
    if word in _REJECTED:
        return 400
    if isinstance(word, str) and word in _STATUSES:
        return _STATUSES[word]
    number = int(word) if isinstance(word, int) or (word is not None and word.isdecimal()) else 0
    return number if 400 <= number < 600 else None


def _of_code(said: _Error | None) -> Fault | None:
    if said is None or said.code != "context_length_exceeded":
        return None
    text = said.message or "The input is longer than the model's context."
    return Fault("context_length", text, param=said.param, upstream_status=400)


def _decode(body: bytes) -> _Error | None:
    try:
        found = _error.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found.error or found if found is not None else None


def write(fault: Fault, receipt: bytes) -> bytes:
    """An error answer's body, the receipt `shoal` at its end."""
    return msgspec.json.encode({"error": fault.error(), "shoal": msgspec.Raw(receipt)})


def write_event(fault: Fault, receipt: bytes, sequence_number: int = 0) -> bytes:
    """The event that ends a broken stream. The documented members stand beside an `error` object, by which OpenAI's own clients raise."""
    error = fault.error()
    event = {
        "type": "error",
        "sequence_number": sequence_number,
        "code": error["code"],
        "message": error["message"],
        "param": error["param"],
        "error": error,
        "shoal": msgspec.Raw(receipt),
    }
    return b"event: error\ndata: %b\n\n" % msgspec.json.encode(event)
