"""Messages and their parts as Converse takes them: two roles in turns, results of tools among the user's words.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Message.html
"""

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import msgspec

from shoal.core.conversation import Conversation, File, Image, Message, Part, Reasoning, Refusal, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.bedrock import media
from shoal.wire.bedrock.families import Family
from shoal.wire.bedrock.names import Titles, tool_name, use_id
from shoal.wire.bedrock.turns import Turns

Block = dict[str, Any]


def cache_point(lifetime: str) -> Block:
    """A prompt-cache breakpoint; five minutes is what is meant where nothing is said."""
    return {"cachePoint": {"type": "default"} | ({"ttl": lifetime} if lifetime != "5m" else {})}


class Writer:
    """Writes a conversation's messages for models of one family; `dropped` names what these could not be told."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._titles = Titles()
        self._apart: list[Block] = []  # what tools returned, and their results may not hold
        self.dropped: set[str] = set()

    def system(self, conversation: Conversation) -> list[Block]:
        """What system and developer say, wherever they said it: Converse has one place for it."""
        return [
            block
            for message in conversation.messages
            if message.role in ("system", "developer")
            for part in message.parts
            for block in self._system(part)
        ]

    def _system(self, part: Part) -> Iterator[Block]:
        if not isinstance(part, Text):
            raise Fault("unsupported_parameter", "Amazon Bedrock takes only text from the system.", param="messages")
        if part.text:
            yield {"text": part.text}
            yield from self.cached(part.cache)

    def messages(self, conversation: Conversation) -> list[Block]:
        """The turns; what one role says in a row is one turn, as the models behind Converse want it."""
        turns = Turns(self._family)
        for message in conversation.messages:
            if message.role in ("system", "developer"):
                continue
            if message.role != "tool":
                self._show(turns)
            if message.name is not None:
                self.dropped.add("name")
            role = "assistant" if message.role == "assistant" else "user"
            turns.add(role, [block for part in message.parts for block in self._part(part, message)])
        self._show(turns)
        return turns.all()

    def _show(self, turns: Turns) -> None:
        turns.add("user", self._apart)
        self._apart = []

    def _part(self, part: Part, message: Message) -> Iterator[Block]:
        match part:
            case Text(text=text) | Refusal(text=text):
                if text:  # an empty text is refused
                    yield {"text": text}
            case Image():
                yield media.write_image(part)
            case File():
                yield media.write_file(part, self._titles)
            case Reasoning():
                yield from self._reasoning(part)
            case ToolCall():
                yield {"toolUse": {"toolUseId": use_id(part.id), "name": tool_name(part.name), "input": _input(part)}}
            case ToolResult():
                yield {"toolResult": self._result(part)}
        if not isinstance(part, Reasoning | Refusal):
            yield from self.cached(part.cache)

    def cached(self, lifetime: str | None) -> Iterator[Block]:
        """The breakpoint that was asked for, if any, where the family knows such."""
        if lifetime is None:
            return
        if self._family.caches:
            yield cache_point(lifetime)
        else:
            self.dropped.add("cache_control")

    def _reasoning(self, part: Reasoning) -> Iterator[Block]:
        """Thought goes back to who can read it: Claude's signatures hold on every platform, and unsigned thought is refused by all.

        https://platform.claude.com/docs/en/build-with-claude/extended-thinking
        """
        if part.origin == "bedrock" or (part.origin == "anthropic" and self._family.signs):
            if part.redacted is not None:
                # Claude's `data` is a text; here it is bytes, and so once more in base64
                blob = part.redacted if part.origin == "bedrock" else b64encode(part.redacted.encode()).decode()
                yield {"reasoningContent": {"redactedContent": blob}}
                return
            if part.signature is not None:
                yield {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}
                return
        self.dropped.add("reasoning_content")

    def _result(self, result: ToolResult) -> Block:
        blocks = [block for part in result.parts for block in self._result_part(part)]
        fit = ("text", *self._family.in_results)
        held = [block for block in blocks if next(iter(block)) in fit]
        if apart := [block for block in blocks if next(iter(block)) not in fit]:
            self._apart += [{"text": f"What the tool call {result.id} returned:"}, *apart]
            held = held or [{"text": "Returned in the next message of the user."}]
        out: Block = {"toolUseId": use_id(result.id), "content": held or [{"text": ""}]}
        if self._family.tells_status:
            out["status"] = "error" if result.is_error else "success"
        elif result.is_error:
            self.dropped.add("is_error")
        return out

    def _result_part(self, part: Text | Image | File) -> Iterator[Block]:
        match part:
            case Text(text=text):
                yield {"text": text}
            case Image():
                yield media.write_image(part)
            case File():
                block = media.write_file(part, self._titles)
                if "audio" in block:
                    raise Fault("unsupported_parameter", "Amazon Bedrock takes no audio as a tool's result.", param="messages")
                yield block


def _input(call: ToolCall) -> msgspec.Raw:
    """The arguments as the JSON object that they must be here."""
    text = call.arguments.strip() or "{}"
    try:
        msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError):
        raise Fault(
            "invalid_value",
            f"The arguments of the tool call {call.id!r} are not a JSON object, which Amazon Bedrock needs them to be.",
            param="messages",
        ) from None
    return msgspec.Raw(text.encode())
