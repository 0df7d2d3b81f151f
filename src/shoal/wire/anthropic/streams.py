"""A streamed answer as an upstream sends it (https://platform.claude.com/docs/en/build-with-claude/streaming).

Blocks come one after another, each begun, told in pieces, and ended; events and pieces that nobody knows yet are passed over.
The other direction is `Writer`, in writing.py.
"""

import msgspec

from shoal.core.answer import Began, CitationDelta, Delta, Ended, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, Used
from shoal.core.errors import Fault
from shoal.wire import sse, streamed
from shoal.wire.anthropic import answers, citations, errors, seals, usage

_NULL = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: msgspec.Raw = _NULL
    content: list[answers.Block] | None = None
    stop_reason: str | None = None


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: msgspec.Raw = _NULL
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: answers.Details | None = None


class Event(msgspec.Struct):
    """One event, of whatever type."""

    type: str | None = None
    index: int = 0
    message: _Message | None = None
    content_block: answers.Block | None = None
    delta: _Delta | None = None
    usage: msgspec.Raw = _NULL
    error: msgspec.Raw = _NULL


class _Open:
    """A block that has begun: the call or thought that it is, and what waits for its end."""

    def __init__(self, block: answers.Block, number: int, start: int) -> None:
        self.block = block
        self.number = number
        self.start = start
        self.cited: list[msgspec.Raw] = []
        self.called = False


decoder = msgspec.json.Decoder(Event)


def payload(event: bytes) -> bytes | None:
    """An event's data; nearly all have a line with their name, one with their data, and LF at the ends."""
    at = event.find(b"\ndata: ")
    if at > 0 and event.startswith(b"event: ") and event.count(b"\n") == 3 and event.endswith(b"\n\n") and b"\r" not in event:
        return event[at + 7 : -2]
    return sse.data_of(event)


class Reader(streamed.Reader[bytes]):
    """See core.ports.AnswerReader."""

    def __init__(self) -> None:
        super().__init__(sse.Splitter())
        self._open: dict[int, _Open] = {}
        self._counts = usage.Counts()
        self._calls = self._thoughts = self._length = 0
        self._began = False
        self._closed = False
        self._id = ""
        self._reason: str | None = None  # as the first event had it

    def take(self, event: bytes, out: list[Delta]) -> None:
        """Add what an event says."""
        data = payload(event)
        if data is None or not data.strip() or data.strip() == b"[DONE]":  # some who imitate the format end it so
            return
        seen = decoder.decode(data)
        if seen.type == "error" or (seen.type is None and bytes(seen.error) != b"null"):
            raise errors.read_within(data)
        if not self._closed:  # what some servers append is another answer
            self._tell(seen, out)

    def _tell(self, event: Event, out: list[Delta]) -> None:
        match event.type:
            case "content_block_delta":
                self._go_on(event, out)
            case "content_block_start":
                self._start(event, out)
            case "content_block_stop":
                self._stop(event.index, out)
            case "message_start":
                self._begin(event.message or _Message(), out)
            case "message_delta":
                self._end(event, out)
            case "message_stop":
                self._finish(_Delta(stop_reason=self._reason), out)
                self._closed = True

    def _begin(self, message: _Message, out: list[Delta]) -> None:
        if not self._began:
            self._began = True
            out.append(Began(message.id or "", message.model or ""))
            self._id, self._reason = message.id or "", message.stop_reason
            for index, block in enumerate(message.content or ()):  # an answer that was made in advance
                self._start(Event(index=index, content_block=block), out)
                self._stop(index, out)
        elif message.id and self._id and message.id != self._id:
            raise Fault("upstream_garbled", "The upstream began another answer within its answer.")
        self._count(message.usage, out)

    def _count(self, raw: msgspec.Raw, out: list[Delta]) -> None:
        if bytes(raw) != b"null":
            self._counts = self._counts.merged(usage.read(raw))
            out.append(Used(self._counts.usage()))

    def _start(self, event: Event, out: list[Delta]) -> None:
        self._begin(_Message(), out)
        block = event.content_block or answers.Block()
        match block.type:
            case "text":
                self._open[event.index] = _Open(block, 0, self._length)
                self._say(block.text, out)
                self._open[event.index].cited += msgspec.json.decode(block.citations, type=list[msgspec.Raw] | None) or ()
            case "thinking" | "redacted_thinking":
                self._open[event.index] = _Open(block, self._thoughts, 0)
                self._thoughts += 1
                self._think(self._thoughts - 1, out, block.thinking, block.signature, block.data)
            case "tool_use":
                self._open[event.index] = _Open(block, self._calls, 0)
                out.append(ToolCallDelta(self._calls, block.id or "", block.name or ""))
                self._calls += 1

    def _go_on(self, event: Event, out: list[Delta]) -> None:
        piece, block = event.delta, self._open.get(event.index)
        if piece is None or block is None:
            return
        match piece.type:
            case "text_delta":
                self._say(piece.text, out)
            case "input_json_delta":
                if piece.partial_json and block.block.type == "tool_use":
                    block.called = True
                    out.append(ToolCallDelta(block.number, arguments=piece.partial_json))
            case "thinking_delta" | "signature_delta":
                self._think(block.number, out, piece.thinking, piece.signature)
            case "citations_delta":
                block.cited.append(piece.citation)

    def _say(self, text: str | None, out: list[Delta]) -> None:
        if text:
            self._length += len(text)
            out.append(TextDelta(text))

    def _think(self, number: int, out: list[Delta], text: str | None, signature: str | None, redacted: str | None = None) -> None:
        if text or signature or redacted:
            out.append(ReasoningDelta(text or "", signature or None, redacted, seals.ORIGIN, block=number))

    def _stop(self, index: int, out: list[Delta]) -> None:
        block = self._open.pop(index, None)
        if block is None:
            return
        if block.block.type == "tool_use" and not block.called:
            out.append(ToolCallDelta(block.number, arguments=answers.called_with(block.block.input)))
        out += [CitationDelta(citations.read(one, block.start, self._length)) for one in block.cited]

    def _end(self, event: Event, out: list[Delta]) -> None:
        delta = event.delta or _Delta()
        if delta.stop_reason is not None:
            self._finish(delta, out)
        self._count(event.usage, out)

    def _finish(self, delta: _Delta, out: list[Delta]) -> None:
        if self.whole:
            return
        self._begin(_Message(), out)
        for index in sorted(self._open):
            self._stop(index, out)
        self.whole = True
        if delta.stop_details is not None and delta.stop_details.explanation:
            out.append(RefusalDelta(delta.stop_details.explanation))
        out.append(Ended(answers.finish(delta.stop_reason, self._calls > 0), stop_sequence=delta.stop_sequence))
