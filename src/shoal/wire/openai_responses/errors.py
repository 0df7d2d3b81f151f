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
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_encrypted_content": 400,
    "data_residency_mismatch": 400,
    "bio_policy": 400,
    "invalid_image": 400,
    "invalid_image_format": 400,
    "invalid_base64_image": 400,
    "invalid_image_url": 400,
    "invalid_image_mode": 400,
    "image_too_large": 400,
    "image_too_small": 400,
    "image_parse_error": 400,
    "image_content_policy_violation": 400,
    "image_file_too_large": 400,
    "image_file_not_found": 400,
    "unsupported_image_media_type": 400,
    "empty_image_file": 400,
    "failed_to_download_image": 400,
}
"""The status that a code or a type would have had, outside a stream."""


def read(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
    """An upstream's error answer as a Fault; kinds come from status, code and parameter."""
    said = _decode(body)
    if status == 404 and said is not None and said.param in ("input", "previous_response_id"):
        # an item that the request refers to is not there, which says nothing of the model
        fault = chat.read(400, headers, body)
        fault.upstream_status = status
        return fault
    return chat.read(status, headers, body)


def read_within(data: bytes) -> Fault:
    """An error inside a stream, or a response's own: its code, else its type, tells the status that was not sent."""
    said = _decode(data) or _Error()
    status = next((found for found in map(_status, (said.code, said.type)) if found is not None), None)
    if status is None:
        return Fault("upstream_error", "The upstream answered with an error of its own.", upstream_status=200)
    error = {"message": said.message, "type": said.type or "invalid_request_error", "param": said.param, "code": said.code}
    return chat.read(status, {}, msgspec.json.encode({"error": error}))


def _status(word: str | int | None) -> int | None:
    if isinstance(word, str) and word in _STATUSES:
        return _STATUSES[word]
    number = int(word) if isinstance(word, int) or (word is not None and word.isdecimal()) else 0
    return number if 400 <= number < 600 else None


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
