"""A conversation's messages as `systemInstruction` and `contents`. See https://ai.google.dev/gemini-api/docs/function-calling.

Results of tools stand in a turn of their own, all those of one turn together; each names its function, which the call with its id tells.
"""

from typing import Any

import msgspec

from shoal.core.conversation import Conversation, File, Image, Message, Reasoning, Refusal, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.gemini.families import generation
from shoal.wire.gemini.parts import Json, call, media
from shoal.wire.gemini.signatures import ORIGIN, UNSIGNED

_SIGNS = 3.0
"""Since Gemini 3 a function call without a signature is refused, and a function's result may hold pictures."""


class Contents:
    """The turns of one request as they are written; `system` and `turns` are the outcome, `dropped` what could not be said."""

    def __init__(self, conversation: Conversation, model: str, vertex: bool = False) -> None:
        self.system: list[Json] = []
        self.turns: list[Json] = []
        self.dropped: set[str] = set()
        self._modern = generation(model) >= _SIGNS
        self._vertex = vertex
        self._names: dict[str, str] = {}
        self._results: list[Json] | None = None
        for message in conversation.messages:
            self._take(message)
        if not self.turns and self.system:  # Google refuses a request that asks nothing
            self.turns, self.system = [{"role": "user", "parts": self.system}], []

    def _take(self, message: Message) -> None:
        if message.name is not None:
            self.dropped.add("name")
        if message.role != "tool":
            self._results = None
        match message.role:
            case "system" | "developer":
                self.system.extend(self._plain(message))
            case "assistant":
                self._answer(message)
            case "tool":
                self._take_results(message)
            case "user":
                self._add("user", self._plain(message))

    def _add(self, role: str, parts: list[Json]) -> None:
        if parts:
            self.turns.append({"role": role, "parts": parts})

    def _plain(self, message: Message) -> list[Json]:
        out = []
        for part in message.parts:
            match part:
                case Text(text=text) | Refusal(text=text):
                    out.append({"text": text})
                case Image() | File():
                    if isinstance(part, Image) and part.detail not in (None, "auto"):
                        self.dropped.add("detail")
                    out.append(media(part))
                case _:
                    raise Fault("invalid_value", f"A message of the role {message.role} holds only words and files.", param="messages")
            self._note_cache(part)
        return out

    def _note_cache(self, part: Any) -> None:
        if getattr(part, "cache", None) is not None:
            self.dropped.add("cache_control")

    def _answer(self, message: Message) -> None:
        """An answer of the model: thoughts that a Gemini signed go back to it, a signature alone to the part it came with."""
        out: list[Json] = []
        loose: list[str] = []
        called = False
        for part in message.parts:
            self._note_cache(part)
            match part:
                case Text(text="") | Refusal(text=""):
                    continue  # Vertex refuses a part without a word
                case Text(text=text) | Refusal(text=text):
                    out.append({"text": text})
                case Image() | File():
                    out.append(media(part))
                case Reasoning(text="", signature=str(signature), origin="gemini"):
                    if out and not out[-1].keys() & {"functionCall", "thoughtSignature", "thought"}:
                        out[-1]["thoughtSignature"] = signature
                    else:
                        loose.append(signature)
                case Reasoning():
                    out.extend(self._thought(part))
                case ToolCall():
                    self._names[part.id] = part.name
                    out.append(self._signed(part, first=not called))
                    called = True
                case _:
                    raise Fault("invalid_value", "A message of the role assistant holds no tool results.", param="messages")
        for signature in loose:
            open_texts = [one for one in out if "text" in one and not one.get("thought") and "thoughtSignature" not in one]
            if open_texts:
                open_texts[-1]["thoughtSignature"] = signature
            else:
                out.append({"text": "", "thoughtSignature": signature})
        if not out and not self._vertex and any(isinstance(part, Text) for part in message.parts):
            out.append({"text": ""})  # that it said nothing is a turn, too
        self._add("model", out)

    def _thought(self, part: Reasoning) -> list[Json]:
        if part.origin != ORIGIN:
            self.dropped.add("reasoning_content")
            return []
        signed = {"thoughtSignature": part.signature} if part.signature else {}
        return [{"text": part.text, "thought": True} | signed]

    def _signed(self, part: ToolCall, first: bool) -> Json:
        signature = part.signature or (UNSIGNED if first and self._modern else None)
        return call(part) | ({"thoughtSignature": signature} if signature else {})

    def _take_results(self, message: Message) -> None:
        after: list[Json] = []
        if self._results is None:
            self._results = []
            self._add_results(self._results)
        for part in message.parts:
            self._note_cache(part)
            if not isinstance(part, ToolResult):
                raise Fault("invalid_value", "A message of the role tool holds only results.", param="messages")
            response, held = self._result(part)
            self._results.append(response)
            after.extend(held)
        self._add("user", after)

    def _add_results(self, results: list[Json]) -> None:
        self.turns.append({"role": "user", "parts": results})

    def _result(self, part: ToolResult) -> tuple[Json, list[Json]]:
        """`functionResponse`, and the pictures that models before Gemini 3 take only outside of it."""
        name = part.name or self._names.get(part.id)
        if name is None:
            text = f"No earlier tool call has the id {part.id!r}, so its function's name is not known."
            raise Fault("invalid_value", text, param="messages")
        held = [media(one) for one in part.parts if not isinstance(one, Text)]
        words = "".join(one.text for one in part.parts if isinstance(one, Text))
        inside: Json = {"id": part.id} if part.id else {}
        inside |= {"name": name, "response": _response(words, part.is_error)}
        if held and self._modern and all("text" not in one for one in held):
            inside["parts"], held = held, []
        return {"functionResponse": inside}, held


def _response(text: str, is_error: bool) -> Json:
    """What a function returned: an object as it is, all else under `output` or `error`, which are Google's words for the two."""
    found: Any = text
    if text.lstrip()[:1] in ("{", "["):
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            found = text
    if is_error:
        return {"error": found}
    return found if isinstance(found, dict) else {"output": found}
