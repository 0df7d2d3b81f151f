"""Rows from where examples are: an uploaded file, or the chats that a project keeps.

What cannot be a row is counted by its reason and never guesses at a shape. A file is its uploader's own declaration that its answers may
teach; an answer from the log may teach only where its project lets it, and where the terms of who answered are known to (licences.py).
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.distil.licences import DECLARED
from shoal.distil.rows import Message, Origin, Row


class Gathered(msgspec.Struct, frozen=True):
    """Rows, and how many others were not usable, by reason."""

    rows: tuple[Row, ...]
    rejected: Mapping[str, int] = {}


def from_file(data: bytes, file_id: str) -> Gathered:
    """Rows of a file of JSON lines, as OpenAI's fine-tuning takes them: `messages`, `prompt` and `completion`, or preferences.

    https://platform.openai.com/docs/api-reference/fine-tuning/chat-input
    Of a conversation the last answer is the row's; a line without one is a question that waits for its answer.
    """
    rows: list[Row] = []
    rejected: Counter[str] = Counter()
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line.strip():
            found = _read_line(line, Origin("file", file_id=file_id, line=number, rule=DECLARED, consent=DECLARED))
            if isinstance(found, Row):
                rows.append(found)
            else:
                rejected[found] += 1
    return Gathered(tuple(rows), dict(rejected))


def _read_line(line: bytes, origin: Origin) -> Row | str:
    try:
        line.decode()
        value = msgspec.json.decode(line)
    except UnicodeDecodeError:
        return "invalid text"
    except (msgspec.DecodeError, RecursionError):
        return "invalid JSON"
    if not isinstance(value, dict):
        return "wrong shape"
    if "prompt" in value:
        return read_row(
            [{"role": "user", "content": value["prompt"]}, {"role": "assistant", "content": value.get("completion") or ""}], origin
        )
    messages = value.get("messages")
    if isinstance(asked := value.get("input"), dict) and isinstance(preferred := value.get("preferred_output"), list):
        messages = [*(asked.get("messages") or ()), *preferred]
    return read_row(messages, origin)


def read_row(messages: Any, origin: Origin) -> Row | str:
    """A row from messages of OpenAI's chat, or why there is none."""
    if not isinstance(messages, list) or not messages:
        return "wrong shape"
    plain: list[Message] = []
    for message in messages:
        if not isinstance(message, dict):
            return "wrong shape"
        if message.get("tool_calls") or message.get("function_call") or message.get("role") in ("tool", "function"):
            return "uses tools"
        content = text_of(message.get("content"))
        if content is None or not isinstance(message.get("role"), str):
            return "wrong shape" if not isinstance(message.get("content"), list) else "has pictures or files"
        plain.append({"role": message["role"], "content": content})
    answered = plain[-1]["role"] == "assistant"
    asked = tuple(plain[:-1] if answered else plain)
    if not asked:
        return "empty question"
    return Row(asked, plain[-1]["content"] if answered else "", origin)


def text_of(content: Any) -> str | None:
    """A message's content as one text; None where it is none, or not only text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part for part in content if isinstance(part, dict) and part.get("type") in ("text", "input_text", "output_text")]
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return "".join(texts) if len(texts) == len(content) else None
