"""Messages as input items for an upstream. Nothing of the conversation is kept there, so that every item is said in full."""

from collections.abc import Iterable, Iterator
from typing import Any

from shoal.core.conversation import File, Image, Message, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.openai_responses import parts, reasoning


def write(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Items in the order of what was said. Errors: Fault unsupported_parameter, naming the message that cannot be said."""
    out: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        place = f"messages[{index}].content"
        out.extend(_said(message, place) if message.role == "assistant" else _asked(message, place))
    return out


def _asked(message: Message, place: str) -> Iterator[dict[str, Any]]:
    words: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolResult):
            yield {"type": "function_call_output", "call_id": part.id, "output": _output(part, place)}
        else:
            words.append(part)
    if words:
        yield {"role": "user" if message.role == "tool" else message.role, "content": parts.write(words, place)}


def _output(result: ToolResult, place: str) -> str | list[dict[str, Any]]:
    return parts.write(result.parts, place) or ""


def _said(message: Message, place: str) -> Iterator[dict[str, Any]]:
    """The items of the model's own turn. A thought goes with what it led to, and is left out where nothing follows, as OpenAI wants it."""
    words: list[Text | Refusal] = []
    thoughts: list[Reasoning] = []
    for part in message.parts:
        match part:
            case Text() | Refusal():
                if part.text:
                    if not words:
                        yield from _thought(thoughts)
                    words.append(part)
            case Reasoning():
                yield from _spoken(words)
                thoughts.append(part)
            case ToolCall():
                yield from _spoken(words)
                yield from _thought(thoughts)
                yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
            case ToolResult():
                yield from _spoken(words)
                yield {"type": "function_call_output", "call_id": part.id, "output": _output(part, place)}
            case Image() | File():
                text = "OpenAI's Responses API, where the model is, takes no picture or file as the model's own: send it as the user's."
                raise Fault("unsupported_parameter", text, param=place)
    yield from _spoken(words)


def _spoken(words: list[Text | Refusal]) -> Iterator[dict[str, Any]]:
    if words:
        yield {"role": "assistant", "content": parts.write_said(words)}
        words.clear()


def _thought(thoughts: list[Reasoning]) -> Iterator[dict[str, Any]]:
    for thought in reasoning.merge(thoughts):
        item = reasoning.write(thought)
        if item is not None:
            yield item
    thoughts.clear()
