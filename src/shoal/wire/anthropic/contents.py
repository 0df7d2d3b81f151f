"""A caller's content, block by block, as parts of messages. What has no noun is refused by its place.

Results of tools stand in messages of users here, and in messages of their own with us.
"""

import itertools

import msgspec

from shoal.core.conversation import File, Image, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.anthropic import seals
from shoal.wire.anthropic.members import Cache, decode, lifetime

_NULL = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw


class _Source(msgspec.Struct):
    type: str
    data: str | None = None
    media_type: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: msgspec.Raw = _NULL


class _Citing(msgspec.Struct):
    enabled: bool | None = None


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    source: _Source | None = None
    title: str | None = None
    context: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NULL
    tool_use_id: str | None = None
    content: msgspec.Raw = _NULL
    is_error: bool | None = None
    citations: msgspec.Raw = _NULL
    cache_control: Cache | None = None


_message = msgspec.json.Decoder(_Message)
_block = msgspec.json.Decoder(_Block)
_blocks = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_citing = msgspec.json.Decoder(_Citing)
_NEEDED = {
    "text": ("text",),
    "image": ("source",),
    "document": ("source",),
    "thinking": ("thinking",),
    "redacted_thinking": ("data",),
    "tool_use": ("id", "name"),
    "tool_result": ("tool_use_id",),
}
_SOURCES = {"base64": "data", "text": "data", "url": "url", "file": "file_id"}
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


def read_system(raw: msgspec.Raw) -> tuple[Part, ...]:
    """The caller's `system`, text or blocks of text. Errors: Fault."""
    if bytes(raw) == b"null":
        return ()
    parts = _parts(raw, "system", set())
    for place, part in enumerate(parts):
        if not isinstance(part, Text):
            param = f"system[{place}].type"
            raise Fault("invalid_value", f"Invalid value for '{param}': a system prompt is made of text blocks.", param=param)
    return parts


def read(raw: msgspec.Raw, where: str, noted: set[str]) -> list[Message]:
    """One message as one of ours, or several where it holds results of tools. Errors: Fault.

    `noted` takes the names of what cannot be said elsewhere and changes nothing but the answer's trimmings.
    """
    message = decode(_message, raw, where)
    role = _ROLES.get(message.role)
    if role is None:
        text = f"Invalid value for '{where}.role': expected user, assistant or system, got '{message.role}'."
        raise Fault("invalid_value", text, param=f"{where}.role")
    parts = _signed(_parts(message.content, f"{where}.content", noted))
    if role != "user":
        return [Message(role, parts)]
    runs = itertools.groupby(parts, lambda part: isinstance(part, ToolResult))
    return [Message("tool" if results else "user", tuple(run)) for results, run in runs] or [Message("user", ())]


def _signed(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The parts with each call's own proof, which a thought before it carried, back at the call."""
    proofs = {part.id: part.signature for part in parts if isinstance(part, Reasoning) and part.origin == seals.CALL}
    if not proofs:
        return parts
    rest = (part for part in parts if not (isinstance(part, Reasoning) and part.origin == seals.CALL))
    return tuple(msgspec.structs.replace(part, signature=proofs.get(part.id)) if isinstance(part, ToolCall) else part for part in rest)


def _parts(raw: msgspec.Raw, where: str, noted: set[str]) -> tuple[Part, ...]:
    start = bytes(raw)[:1]
    if start == b'"':
        return (Text(decode(_text, raw, where)),)
    if start != b"[":
        raise Fault("invalid_type", f"Invalid value for '{where}': expected a string or an array of blocks.", param=where)
    found: list[msgspec.Raw] = decode(_blocks, raw, where)
    return tuple(_read(one, f"{where}[{place}]", noted) for place, one in enumerate(found))


def _read(raw: msgspec.Raw, where: str, noted: set[str]) -> Part:
    block = decode(_block, raw, where)
    if block.type not in _NEEDED:
        text = f"'{where}.type' is '{block.type}', which only Anthropic's own models understand; leave it out, or ask one of those."
        raise Fault("unsupported_parameter", text, param=f"{where}.type")
    for name in _NEEDED[block.type]:
        if getattr(block, name) is None:
            raise Fault("missing_parameter", f"Missing required parameter: '{where}.{name}'.", param=f"{where}.{name}")
    cache = lifetime(block.cache_control, where)
    match block.type:
        case "text":
            return Text(block.text or "", cache)
        case "image":
            return _image(block, cache, where)
        case "document":
            return _document(block, cache, where, noted)
        case "thinking":
            return seals.unseal(block.thinking or "", block.signature)
        case "redacted_thinking":
            return Reasoning(redacted=block.data, origin=seals.ORIGIN)
        case "tool_use":
            return _call(block, cache, where)
    content = () if bytes(block.content) == b"null" else _parts(block.content, f"{where}.content", noted)
    inner = tuple(part for part in content if isinstance(part, Text | Image | File))
    if len(inner) < len(content):
        param = f"{where}.content"
        raise Fault("invalid_value", f"Invalid value for '{param}': a result holds text, images and documents.", param=param)
    return ToolResult(block.tool_use_id or "", inner, bool(block.is_error), cache=cache)


def _call(block: _Block, cache: str | None, where: str) -> ToolCall:
    raw = b"{}" if bytes(block.input) == b"null" else bytes(block.input)
    decode(_object, raw, f"{where}.input")
    return ToolCall(block.id or "", block.name or "", raw.decode(), cache=cache)


def _checked(block: _Block, where: str) -> _Source:
    source = block.source
    assert source is not None
    needed = _SOURCES.get(source.type)
    if needed is None:
        param = f"{where}.source.type"
        raise Fault("unsupported_parameter", f"'{param}' is '{source.type}'; send base64, url, text or file.", param=param)
    if getattr(source, needed) is None:
        param = f"{where}.source.{needed}"
        raise Fault("missing_parameter", f"Missing required parameter: '{param}'.", param=param)
    return source


def _image(block: _Block, cache: str | None, where: str) -> Image | File:
    source = _checked(block, where)
    if source.file_id is not None:
        return File(id=source.file_id, media_type="image/*", cache=cache)
    return Image(source.url, source.data, source.media_type, cache=cache)


def _document(block: _Block, cache: str | None, where: str, noted: set[str]) -> File:
    if bytes(block.citations) != b"null" and decode(_citing, block.citations, f"{where}.citations").enabled:
        noted.add("citations")
    if block.context:
        noted.add("context")
    assert block.source is not None
    if block.source.type == "content":
        inner = _parts(block.source.content, f"{where}.source.content", noted)
        if not all(isinstance(part, Text) for part in inner):
            param = f"{where}.source.content"
            raise Fault("unsupported_parameter", f"'{param}' may hold text only; send images as blocks of their own.", param=param)
        return File(text="\n".join(part.text for part in inner if isinstance(part, Text)), name=block.title, cache=cache)
    source = _checked(block, where)
    if source.type == "text":
        return File(text=source.data, media_type="text/plain", name=block.title, cache=cache)
    kind = source.media_type or ("application/pdf" if source.type in ("base64", "url") else None)
    return File(source.url, source.data, id=source.file_id, media_type=kind, name=block.title, cache=cache)
