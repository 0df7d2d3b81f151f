"""Contents that are lists of parts, as Mistral's are, made the texts that OpenAI's callers expect.

Thought goes beside them, as reasoning_content; a list that holds more than words and thought (references to sources) is kept as
content_parts. Every other member keeps its bytes. https://docs.mistral.ai/studio-api/conversations/reasoning
"""

import msgspec

from shoal.core.chat import members_of
from shoal.wire.openai_chat.chunks import Part

_choices = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_parts = msgspec.json.Decoder(list[Part])
_encode = msgspec.json.Encoder().encode
_SAID = ("text", "thinking")


def are_listed(data: bytes) -> bool:
    """Whether an answer, or a piece of a stream, holds such a content; cheap, since nearly none does."""
    return b'"content":[' in data or b'"content": [' in data


def write_out(data: bytes) -> bytes:
    """A chunk, or a whole answer, with its contents as texts. Errors: what msgspec raises."""
    members = members_of(data)
    choices = _choices.decode(members.get("choices", msgspec.Raw(b"[]")))
    for choice in choices:
        for name in ("delta", "message"):
            if name in choice and are_listed(bytes(choice[name])):
                choice[name] = _write_said(bytes(choice[name]), is_piece=name == "delta")
    return _encode(members | {"choices": choices})


def _write_said(data: bytes, is_piece: bool) -> msgspec.Raw:
    members = members_of(data)
    listed = members.get("content", msgspec.Raw(b"null"))
    if not bytes(listed).startswith(b"["):
        return msgspec.Raw(data)  # the list stands elsewhere
    parts = _parts.decode(listed)
    text = "".join(part.text or "" for part in parts if part.type == "text")
    thought = "".join(part.thought for part in parts)
    members["content"] = msgspec.Raw(_encode(text))
    if is_piece and not text:
        del members["content"]
    if thought:
        members["reasoning_content"] = msgspec.Raw(_encode(thought))
    if any(part.type not in _SAID for part in parts):
        members["content_parts"] = listed
    return msgspec.Raw(_encode(members))
