"""A streamed answer of Cohere's v2 chat: server-sent events, each of the type that its JSON names. https://docs.cohere.com/docs/streaming"""

from collections.abc import Iterator

import msgspec

from shoal.core.answer import Began, CitationDelta, Delta, Ended, ReasoningDelta, TextDelta, ToolCallDelta, Used
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.wire import sse, streamed
from shoal.wire.cohere.answers import Call, Content, Function, read_finish
from shoal.wire.cohere.citations import read_citations
from shoal.wire.cohere.parts import ORIGIN, PLAN
from shoal.wire.cohere.usage import Counts, read_usage

# msgspec takes no Raw in a union: what is absent reads as null
_ABSENT = msgspec.Raw(b"null")
# the plan's number among the thoughts; those in the content have their block's
_PLAN_BLOCK = -1


class _Message(msgspec.Struct):
    """What a delta holds: of each event one or another."""

    content: Content | list[Content] | None = None
    tool_plan: str | None = None
    tool_calls: Call | list[Call] | None = None
    citations: msgspec.Raw = _ABSENT


class _Delta(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str | None = None
    error: str | None = None
    usage: Counts | None = None


class _Event(msgspec.Struct):
    type: str = ""
    id: str | None = None
    index: int = 0
    delta: _Delta | None = None


_event = msgspec.json.Decoder(_Event)


class Reader(streamed.Reader[bytes]):
    """Reads one stream. See core.ports.AnswerReader."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__(sse.Splitter())
        self._model = conversation.model
        self._began = False
        self._calls: dict[int, int] = {}
        self._silent: set[int] = set()

    def take(self, event: bytes, out: list[Delta]) -> None:
        """Add what an event says."""
        for delta in self._read(event):
            out.append(delta)  # one by one, so that those before a fault are kept

    def _read(self, raw: bytes) -> Iterator[Delta]:
        data = sse.data_of(raw)
        if data is None or data.strip() in (b"", b"[DONE]"):
            return
        event = _event.decode(data)
        if not self._began:
            self._began = True
            yield Began(event.id or "", self._model)
        delta = event.delta or _Delta()
        message = delta.message or _Message()
        match event.type:
            case "content-start" | "content-delta":
                yield from self._words(event.index, message)
            case "tool-plan-delta" if message.tool_plan:
                yield ReasoningDelta(message.tool_plan, origin=ORIGIN, id=PLAN, block=_PLAN_BLOCK)
            case "tool-call-start" | "tool-call-delta":
                yield from self._call(event.index, message)
            case "tool-call-end" if event.index in self._silent:
                self._silent.discard(event.index)
                yield ToolCallDelta(self._calls[event.index], arguments="{}")
            case "citation-start":
                yield from (CitationDelta(one) for raw in _each(message.citations) for one in read_citations(raw))
            case "message-end":
                yield from self._end(delta)

    def _words(self, block: int, message: _Message) -> Iterator[Delta]:
        contents = message.content if isinstance(message.content, list) else [message.content or Content()]
        for content in contents:
            if content.thinking:
                yield ReasoningDelta(content.thinking, origin=ORIGIN, block=block)
            if content.text:
                yield TextDelta(content.text)

    def _call(self, place: int, message: _Message) -> Iterator[Delta]:
        calls = message.tool_calls if isinstance(message.tool_calls, list) else [message.tool_calls or Call()]
        for call in calls:
            function = call.function or Function()
            arguments = function.arguments or ""
            if place not in self._calls:
                self._calls[place] = len(self._calls)
                self._silent.add(place)
            if arguments:
                self._silent.discard(place)
            if call.id or function.name or arguments:
                yield ToolCallDelta(self._calls[place], call.id, function.name, arguments)

    def _end(self, delta: _Delta) -> Iterator[Delta]:
        if delta.error:
            raise Fault("upstream_error", "The upstream broke off its answer with an error of its own.")
        for place in sorted(self._silent):
            yield ToolCallDelta(self._calls[place], arguments="{}")
        finish = read_finish(delta.finish_reason, bool(self._calls))
        self.whole = True
        yield Ended(finish)
        if delta.usage is not None:
            yield Used(read_usage(delta.usage))


_many = msgspec.json.Decoder(list[msgspec.Raw])


def _each(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Cohere's reference has one citation an event, its member's name promises several."""
    text = bytes(raw).lstrip()
    if text == b"null":
        return []
    return _many.decode(raw) if text.startswith(b"[") else [raw]
