"""Answers of Cohere's v2 chat. https://docs.cohere.com/reference/chat"""

from collections.abc import Iterator

import msgspec

from shoal.core.answer import Answer, Choice
from shoal.core.conversation import Citation, Conversation, Finish, Part, Reasoning, Text, ToolCall
from shoal.core.errors import Fault
from shoal.wire.cohere.citations import read_citations, read_cited
from shoal.wire.cohere.parts import ORIGIN, PLAN
from shoal.wire.cohere.usage import Counts, read_usage

FINISHES: dict[str, Finish] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "ERROR_LIMIT": "length",
    "ERROR_TOXIC": "content_filter",
    "TOOL_CALL": "tool_calls",
}
# there is no answer: Cohere stopped in the middle
_BROKEN = {"ERROR": "upstream_error", "TIMEOUT": "upstream_timeout"}


class Function(msgspec.Struct):
    """What is called, with JSON text as arguments."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A tool call."""

    id: str | None = None
    function: Function | None = None


class Content(msgspec.Struct):
    """Words or thought."""

    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct):
    content: list[Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[Call] | None = None
    citations: list[msgspec.Raw] = []


class _Body(msgspec.Struct):
    message: _Message
    id: str = ""
    finish_reason: str | None = None
    usage: Counts | None = None


_body = msgspec.json.Decoder(_Body)


def read(body: bytes, conversation: Conversation) -> Answer:
    """The whole answer. Errors: Fault upstream_garbled, or that of an answer that Cohere says has failed."""
    try:
        seen = _body.decode(body)
        parts = tuple(_parts(seen.message))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not an answer of Cohere's chat.") from None
    finish = read_finish(seen.finish_reason, any(isinstance(part, ToolCall) for part in parts))
    return Answer(id=seen.id, model=conversation.model, choices=(Choice(parts, finish),), usage=read_usage(seen.usage))


def _parts(message: _Message) -> Iterator[Part]:
    cited: dict[int | None, list[Citation]] = {}
    for raw in message.citations:
        cited.setdefault(read_cited(raw).content_index, []).extend(read_citations(raw))
    if message.tool_plan:
        yield Reasoning(message.tool_plan, origin=ORIGIN, id=PLAN)
    content = message.content or []
    texts = [place for place, one in enumerate(content) if one.text is not None]
    for place, one in enumerate(content):
        if one.thinking:
            yield Reasoning(one.thinking, origin=ORIGIN)
        if one.text is not None:
            found = cited.pop(place, [])
            if place == texts[0]:  # older models do not say which block they cite, nor have they more than one
                found = cited.pop(None, []) + found
            yield Text(one.text, citations=tuple(found))
    for call in message.tool_calls or []:
        function = call.function or Function()
        yield ToolCall(call.id or "", function.name or "", function.arguments or "{}")


def read_finish(reason: str | None, has_calls: bool) -> Finish | None:
    """Why it ended. Errors: Fault where Cohere says that it broke off."""
    if reason is None:
        return None
    if reason in _BROKEN:
        raise Fault(_BROKEN[reason], f"The upstream broke off its answer ({reason}).")
    finish = FINISHES.get(reason, "stop")
    return "tool_calls" if finish == "stop" and has_calls else finish
