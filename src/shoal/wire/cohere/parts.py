"""Messages as Cohere takes them: the system first, plans apart from words, results of tools as text or documents.

https://docs.cohere.com/reference/chat
"""

from base64 import b64decode
from collections.abc import Iterable
from typing import Any

from shoal.core.conversation import Conversation, File, Image, Message, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from shoal.core.errors import Fault

Block = dict[str, Any]

ORIGIN = "cohere"
PLAN = "tool_plan"
"""The id that marks the thought which Cohere keeps as the plan for its tool calls."""


class Writer:
    """Writes a conversation's messages; `dropped` names what cannot be said, `documents` holds the texts that the caller sent as files."""

    def __init__(self) -> None:
        self.dropped: set[str] = set()
        self.documents: list[Block] = []

    def messages(self, conversation: Conversation) -> list[Block]:
        """The turns. Cohere's system turn is the first, so that what system and developer say later goes there too."""
        system = [part for message in conversation.messages if message.role in ("system", "developer") for part in message.parts]
        turns = [{"role": "system", "content": self._words(system)}] if system else []
        if any(message.name is not None for message in conversation.messages):
            self.dropped.add("name")
        for message in conversation.messages:
            match message.role:
                case "user":
                    turns.append({"role": "user", "content": self._words(message.parts)})
                case "assistant":
                    turns.append(self._assistant(message))
                case "tool":
                    turns += [self._result(part) for part in message.parts if isinstance(part, ToolResult)]
        return turns

    def _words(self, parts: Iterable[Part]) -> str | list[Block]:
        blocks = [block for part in parts for block in self._block(part)]
        return blocks[0]["text"] if len(blocks) == 1 and "text" in blocks[0] else blocks or ""

    def _block(self, part: Part) -> list[Block]:
        if isinstance(part, Text | Image | File) and part.cache is not None:
            self.dropped.add("cache_control")
        match part:
            case Text(text=text) | Refusal(text=text):
                return [{"type": "text", "text": text}]
            case Image():
                return [_image(part)]
            case File():
                self.documents.append(_document(part))
        return []

    def _assistant(self, message: Message) -> Block:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        content: list[Block] = []
        plans: list[str] = []
        for part in message.parts:
            if not isinstance(part, Reasoning):
                content += self._block(part)
            elif part.origin == ORIGIN and part.id != PLAN:
                content.append({"type": "thinking", "thinking": part.text})
            elif calls and part.text and part.origin in (None, ORIGIN):  # a plan is text like any other, whoever kept it
                plans.append(part.text)
            else:
                self.dropped.add("reasoning_content")
        out: Block = {"role": "assistant"}
        if calls:
            out["tool_calls"] = [_call(part) for part in calls]
        if plans:
            out["tool_plan"] = "".join(plans)
        if content or not calls:
            out["content"] = content[0]["text"] if len(content) == 1 and "text" in content[0] else content or ""
        return out

    def _result(self, result: ToolResult) -> Block:
        """One text is the result as it is; several, and files, are blocks."""
        if result.is_error:
            self.dropped.add("is_error")
        content: list[Block] = []
        for part in result.parts:
            match part:
                case Text(text=text):
                    content.append({"type": "text", "text": text})
                case File():
                    content.append({"type": "document", "document": _document(part)})
                case Image():
                    raise Fault("unsupported_parameter", "Cohere takes no images as a tool's result.", param="messages")
        said = content[0]["text"] if len(content) == 1 and "text" in content[0] else content or ""
        return {"role": "tool", "tool_call_id": result.id, "content": said}


def _call(call: ToolCall) -> Block:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}


def _image(image: Image) -> Block:
    url = image.url if image.data is None else f"data:{image.media_type or 'image/png'};base64,{image.data}"
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": image.detail} if image.detail else {})}


def _document(file: File) -> Block:
    """A text that the model may cite. Errors: Fault unsupported_parameter for a file that is no text."""
    text = file.text
    if text is None and file.data is not None and (file.media_type or "").partition("/")[0] == "text":
        try:
            text = b64decode(file.data).decode()
        except ValueError:
            raise Fault("invalid_value", "A file's data is not text in base64, though its media type says so.", param="messages") from None
    if text is None:
        raise Fault("unsupported_parameter", "Cohere takes files as plain text only, not PDFs, sound, or addresses.", param="messages")
    named: Block = {"id": file.name} if file.name else {}
    return named | {"data": {"text": text} | ({"title": file.name} if file.name else {})}
