"""Content as Anthropic takes it: each part of a message as a block (https://platform.claude.com/docs/en/api/messages).

A part that no block can hold is refused by its place, never left out.
"""

import base64
import binascii
import re
from typing import Any

import msgspec

from shoal.core.conversation import File, Image, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.anthropic.seals import ORIGIN
from shoal.wire.anthropic.tools import cache_control

Block = dict[str, Any]
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


def write(part: Part, where: str) -> Block | None:
    """One part, found at `where`; None for what must not be sent: empty words, and thought that Anthropic has not signed.

    Errors: Fault unsupported_parameter.
    """
    block = _write(part, where)
    cache = getattr(part, "cache", None)
    if block is not None and cache:
        block["cache_control"] = cache_control(cache)
    return block


def _write(part: Part, where: str) -> Block | None:
    match part:
        case Text(text=text) | Refusal(text=text):
            return {"type": "text", "text": text} if text.strip() else None  # blank blocks are an error
        case Image():
            return {"type": "image", "source": _source(part, where)}
        case File():
            return _file(part, where)
        case Reasoning():
            return thought(part) if part.origin == ORIGIN else None
        case ToolCall():
            return {"type": "tool_use", "id": tool_id(part.id), "name": part.name, "input": arguments(part.arguments)}
        case ToolResult():
            return _result(part, where)


def thought(part: Reasoning) -> Block | None:
    """A thought with Anthropic's proof; None where there is none, for a thought without it is refused."""
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature} if part.signature else None


def tool_id(id: str) -> str:
    """A call's id in the letters that Anthropic takes; others' ids hold dots and colons."""
    return _FOREIGN.sub("_", id)


def arguments(text: str) -> Any:
    """A call's arguments as the object that Anthropic wants; what is none goes in the wrapping that Anthropic recommends for it.

    https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming#handling-invalid-json-in-tool-responses
    """
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {"INVALID_JSON": text}
    return msgspec.Raw(text.encode()) if isinstance(value, dict) else {"INVALID_JSON": text}


def _source(image: Image, where: str) -> Block:
    if image.data is not None:
        return {"type": "base64", "media_type": image.media_type or "image/jpeg", "data": image.data}
    if image.url is not None:
        return {"type": "url", "url": image.url}
    raise _refusal(where, "a picture without data or address")


def _file(file: File, where: str) -> Block:
    """https://platform.claude.com/docs/en/build-with-claude/pdf-support and .../files."""
    kind = file.media_type or ""
    if kind.startswith("image/"):
        source = {"type": "file", "file_id": file.id} if file.id else _source(Image(file.url, file.data, file.media_type), where)
        return {"type": "image", "source": source}
    if kind.startswith(("audio/", "video/")):
        raise _refusal(where, f"a file of type {kind}")
    block: Block = {"type": "document", "source": _document(file, kind, where)}
    if file.name:
        block["title"] = file.name
    return block


def _document(file: File, kind: str, where: str) -> Block:
    if file.text is not None:
        return {"type": "text", "media_type": "text/plain", "data": file.text}
    if file.id is not None:
        return {"type": "file", "file_id": file.id}
    if file.url is not None and kind in ("", "application/pdf"):
        return {"type": "url", "url": file.url}
    if file.data is not None and kind in ("", "application/pdf"):
        return {"type": "base64", "media_type": "application/pdf", "data": file.data}
    if file.data is not None and kind.startswith(("text/", "application/json")):
        return {"type": "text", "media_type": "text/plain", "data": _plain(file.data, where)}
    raise _refusal(where, f"a file of type {kind}" if kind else "a file without data, text, address or id")


def _plain(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise Fault("invalid_value", f"Invalid value for '{where}': expected base64 of UTF-8 text.", param=where) from None


def _result(result: ToolResult, where: str) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": tool_id(result.id)}
    content = [one for part in result.parts if (one := write(part, where)) is not None]
    if content:
        plain = len(content) == 1 and content[0].keys() == {"type", "text"}
        block["content"] = content[0]["text"] if plain else content
    if result.is_error:
        block["is_error"] = True
    return block


def _refusal(where: str, what: str) -> Fault:
    return Fault("unsupported_parameter", f"'{where}' holds {what}, which Anthropic's models do not take.", param=where)
