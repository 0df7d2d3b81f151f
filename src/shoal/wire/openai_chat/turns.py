"""A conversation's turns, to messages for an upstream that speaks this dialect, in its provider's manner.

A tool's answer is words here: pictures and files that it returned follow in a message of the user's, right after the tools' answers.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

from shoal.core.conversation import File, Image, Message, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.openai_chat import parts, thoughts, tools
from shoal.wire.openai_chat.manners import Manner


class Turns:
    """Messages being written; `dropped` collects what could not be said."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.out: list[dict[str, Any]] = []
        self.dropped: set[str] = set()
        self._seen: list[dict[str, Any]] = []

    def write(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """All messages. Errors: Fault unsupported_parameter for what must not be left out."""
        for message in messages:
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
            for result in results:
                self._result(result)
            if rest or not results:
                self._show()
                self.out.append(self._message(message, rest))
        self._show()
        return self.out

    def _message(self, message: Message, said: Sequence[Part]) -> dict[str, Any]:
        role = self.manner.developer if message.role == "developer" else message.role
        out: dict[str, Any] = {"role": role}
        if message.name:
            out["name"] = message.name
        return out | (self._assistant(said) if role == "assistant" else {"content": self._content(said)})

    def _content(self, said: Sequence[Part]) -> str | list[dict[str, Any]]:
        """Words alone are a string, which everybody takes; anything else is a list of parts."""
        if len(said) == 1 and isinstance(said[0], Text) and not (said[0].cache and self.manner.cache_control):
            self._note_cache(said[0].cache)
            return said[0].text
        if self.manner.one_text and all(isinstance(part, Text) for part in said):
            for part in said:
                self._note_cache(part.cache if isinstance(part, Text) else None)
            return "\n\n".join(part.text for part in said if isinstance(part, Text))
        return [self._part(part) for part in said]

    def _part(self, part: Part) -> dict[str, Any]:
        if isinstance(part, File) and part.url and not self.manner.file_urls and not (part.media_type or "").startswith("video/"):
            text = "This provider takes no files by URL; send the file itself, as base64."
            raise Fault("unsupported_parameter", text, param="file")
        if isinstance(part, Text | Image | File):
            self._note_cache(part.cache)
        return parts.write(part, self.manner.cache_control)

    def _note_cache(self, cache: str | None) -> None:
        if cache is not None and not self.manner.cache_control:
            self.dropped.add("cache_control")

    def _assistant(self, said: Sequence[Part]) -> dict[str, Any]:
        words = "".join(part.text for part in said if isinstance(part, Text))
        thought = [part for part in said if isinstance(part, Reasoning)]
        refusal = "".join(part.text for part in said if isinstance(part, Refusal))
        if any(isinstance(part, Image | File) for part in said):
            raise Fault("unsupported_parameter", "This provider takes no pictures or files from an assistant.", param="messages")
        calls = [self._call(part) for part in said if isinstance(part, ToolCall)]
        if refusal and not self.manner.refusals:
            words, refusal = words + refusal, ""
        out: dict[str, Any] = {"content": words or (None if calls or refusal else "")}
        if refusal:
            out["refusal"] = refusal
        out |= self.think(thought, words)
        if calls:
            out["tool_calls"] = calls
        for part in said:
            self._note_cache(part.cache if isinstance(part, Text | ToolCall) else None)
        return out

    def think(self, thought: Sequence[Reasoning], words: str) -> dict[str, Any]:
        """The members of an assistant's message that tell its thought; `words` are its other words."""
        text = "".join(one.text for one in thought)
        match self.manner.thoughts:
            case "reasoning_content" | "reasoning" as name if text:
                return {name: text}
            case "reasoning_details" if thought:
                details = [
                    detail
                    for index, one in enumerate(thought)
                    for detail in thoughts.write(one.text, one.signature, one.redacted, one.origin, one.id, index)
                ]
                return {"reasoning_details": details} if details else {}
            case "parts" if text:
                thinking = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
                return {"content": [thinking, *([{"type": "text", "text": words}] if words else [])]}
        return {}

    def _call(self, call: ToolCall) -> dict[str, Any]:
        return tools.write_call(self.name_call(call.id), call.name, call.arguments, call.signature if self.manner.signatures else None)

    def _result(self, result: ToolResult) -> None:
        words = [part for part in result.parts if isinstance(part, Text)]
        others = [part for part in result.parts if not isinstance(part, Text)]
        if result.is_error:
            self.dropped.add("is_error")
        self._note_cache(result.cache)
        content = self._content(words) if words else ""
        if others:
            label = f"What the tool call {self.name_call(result.id)} returned:"
            self._seen += [{"type": "text", "text": label}, *(self._part(part) for part in others)]
            content = content or "Returned in the next message of the user."
        self.out.append({"role": "tool", "tool_call_id": self.name_call(result.id), "content": content})

    def _show(self) -> None:
        """What tools returned besides words; tools' answers must stand together, so this comes after the last."""
        if self._seen:
            self.out.append({"role": "user", "content": self._seen})
            self._seen = []

    def name_call(self, id: str) -> str:
        """A call's id as the provider takes it; the same for the call and for its answer."""
        if not self.manner.nine_character_ids or re.fullmatch("[a-zA-Z0-9]{9}", id):
            return id
        return base64.b32encode(hashlib.sha256(id.encode()).digest())[:9].decode()
