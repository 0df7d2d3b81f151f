"""A whole answer of the Messages API, both ways (https://platform.claude.com/docs/en/api/messages and .../handling-stop-reasons).

Blocks that have no noun (what ran at Anthropic's: searches, code) are passed over; blocks that nobody knows yet are too.
"""

from typing import Any

import msgspec

from shoal.core.answer import Answer, Choice
from shoal.core.conversation import Conversation, File, Finish, Image, Part, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.wire.anthropic import blocks, citations, errors, seals, usage

_NULL = msgspec.Raw(b"null")
FINISHES: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class Details(msgspec.Struct):
    """`stop_details`: why an answer was refused."""

    explanation: str | None = None


class Block(msgspec.Struct):
    """A block of an answer, of whatever type."""

    type: str = ""
    text: str | None = None
    citations: msgspec.Raw = _NULL
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = _NULL


class _Answer(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[Block] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Details | None = None
    usage: msgspec.Raw = _NULL


_answer = msgspec.json.Decoder(_Answer)
_list = msgspec.json.Decoder(list[msgspec.Raw] | None)


def read(body: bytes, conversation: Conversation) -> Answer:
    """A whole answer. Errors: Fault upstream_garbled, or the kind of an error that hides in a success."""
    try:
        seen = _answer.decode(body)
        if seen.type == "error":
            raise errors.read_within(body)
        if seen.content is None:
            raise Fault("upstream_garbled", "The upstream answered with something that is not a message.")
        parts = _parts(seen.content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not a message.") from None
    if seen.stop_details is not None and seen.stop_details.explanation:
        parts.append(Refusal(seen.stop_details.explanation))
    calls = any(isinstance(part, ToolCall) for part in parts)
    choice = Choice(tuple(parts), finish(seen.stop_reason, calls), stop_sequence=seen.stop_sequence)
    return Answer(id=seen.id or "", model=seen.model or "", choices=(choice,), usage=usage.read(seen.usage).usage())


def finish(reason: str | None, calls: bool) -> Finish | None:
    """Why the answer ended; reasons that nobody knows yet are a plain stop."""
    if reason is None:
        return None
    found = FINISHES.get(reason, "stop")
    if found in ("stop", "tool_calls"):  # the use of Anthropic's own tools is nothing that the caller could do
        return "tool_calls" if calls else "stop"
    return found


def _parts(content: list[Block]) -> list[Part]:
    parts: list[Part] = []
    length = 0
    for block in content:
        match block.type:
            case "text":
                text = block.text or ""
                start, length = length, length + len(text)
                cited = tuple(citations.read(one, start, length) for one in _list.decode(block.citations) or ())
                if text or cited:
                    parts.append(Text(text, citations=cited))
            case "thinking":
                parts.append(Reasoning(block.thinking or "", signature=block.signature or None, origin=seals.ORIGIN))
            case "redacted_thinking":
                parts.append(Reasoning(redacted=block.data, origin=seals.ORIGIN))
            case "tool_use":
                parts.append(ToolCall(block.id or "", block.name or "", called_with(block.input)))
    return parts


def called_with(raw: msgspec.Raw) -> str:
    """A call's arguments as JSON text; none are an empty object."""
    return "{}" if bytes(raw) == b"null" else bytes(raw).decode()


def write(answer: Answer, cost: str | None, receipt: bytes) -> bytes:
    """A whole answer's body, with `cost` at the end of its usage and `shoal` at its own end. Of several choices it is the first."""
    choice = answer.choices[0] if answer.choices else Choice(())
    return msgspec.json.encode(
        {
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [block for part in choice.parts for block in write_part(part)],
            **ending(choice.finish, choice.stop_sequence, any(isinstance(part, Refusal) for part in choice.parts)),
            "usage": {**usage.write(answer.usage), "cost": msgspec.Raw((cost or "null").encode())},
            "shoal": msgspec.Raw(receipt),
        }
    )


def ending(finish: Finish | None, stop_sequence: str | None, refused: bool) -> dict[str, Any]:
    """`stop_reason` and `stop_sequence`: a refusal in words is one, whatever else the upstream calls it."""
    if refused and finish in (None, "stop"):
        finish = "content_filter"
    reason = "stop_sequence" if stop_sequence is not None and finish == "stop" else _REASONS[finish or "stop"]
    return {"stop_reason": reason, "stop_sequence": stop_sequence}


def write_part(part: Part) -> list[dict[str, Any]]:
    """A part of an answer as blocks: most are one; a call that has a proof of its own has a thought before it."""
    match part:
        case Text(text=text, citations=cited):
            block: dict[str, Any] = {"type": "text", "text": text}
            return [{**block, "citations": [citations.write(one) for one in cited]} if cited else block]
        case Refusal(text=text):
            return [{"type": "text", "text": text}]
        case Reasoning(origin=seals.ORIGIN, redacted=str(data)):
            return [{"type": "redacted_thinking", "data": data}]
        case Reasoning(text=text):
            return [{"type": "thinking", "thinking": text, "signature": seals.seal(part)}]
        case ToolCall():
            proof = seals.proof(part)
            call = {"type": "tool_use", "id": part.id, "name": part.name, "input": blocks.arguments(part.arguments)}
            return [*(write_part(proof) if proof else ()), call]
        case Image() | File():
            made = blocks.write(part, "content")
            return [made] if made else []
    return []
