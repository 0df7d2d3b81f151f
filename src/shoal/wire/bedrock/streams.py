"""A streamed answer of ConverseStream, frames to deltas.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html
"""

from base64 import b64decode, b64encode
from collections.abc import Iterator

import msgspec

from shoal.core.answer import Began, CitationDelta, Delta, Ended, MediaDelta, ReasoningDelta, TextDelta, ToolCallDelta, Used
from shoal.core.conversation import Conversation
from shoal.wire import streamed
from shoal.wire.bedrock import errors
from shoal.wire.bedrock.answers import (
    ABSENT,
    Bytes,
    Picture,
    ServiceTier,
    TokenUsage,
    ToolUse,
    origin_of,
    read_citation,
    read_finish,
    read_image,
    read_redacted,
    read_usage,
    stop_sequence_of,
)
from shoal.wire.bedrock.frames import Frame, Splitter
from shoal.wire.bedrock.names import renamed


class _Start(msgspec.Struct):
    toolUse: ToolUse | None = None
    image: Picture | None = None


class _Input(msgspec.Struct):
    input: str = ""


class _Thought(msgspec.Struct):
    text: str = ""
    signature: str | None = None
    redactedContent: str | None = None


class _Piece(msgspec.Struct):
    text: str | None = None
    toolUse: _Input | None = None
    reasoningContent: _Thought | None = None
    citation: msgspec.Raw = ABSENT
    image: Picture | None = None


class _Event(msgspec.Struct):
    """The events' members, all in one: each event has a few of them."""

    contentBlockIndex: int = 0
    start: _Start | None = None
    delta: _Piece | None = None
    stopReason: str | None = None
    additionalModelResponseFields: msgspec.Raw = ABSENT
    usage: TokenUsage | None = None
    serviceTier: ServiceTier | None = None


_event = msgspec.json.Decoder(_Event)


class _Call:
    """A tool use while its arguments come in; `index` numbers the calls of the answer. None is Bedrock's own, which is not passed on."""

    __slots__ = ("index", "said")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.said = False


class Reader(streamed.Reader[Frame]):
    """Reads one stream. See core.ports.AnswerReader."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__(Splitter())
        self._conversation = conversation
        self._names = renamed(conversation)
        self._origin = origin_of(conversation)
        self._began = False
        self._calls: dict[int, _Call] = {}
        self._redacted: dict[int, bytes] = {}
        self._pictures: dict[int, tuple[str, bytes]] = {}
        self._cited: dict[int, list[msgspec.Raw]] = {}  # by block; they may come before the words that they are for
        self._starts: dict[int, int] = {}
        self._length = 0

    def take(self, event: Frame, out: list[Delta]) -> None:
        """Add what a frame says."""
        for delta in self._read(event):
            out.append(delta)  # one by one, so that those before a fault are kept

    def _read(self, frame: Frame) -> Iterator[Delta]:
        headers = frame.headers
        if headers.get(":message-type", "event") != "event":
            raise errors.read_frame(headers, frame.payload)
        if not self._began:
            self._began = True
            yield Began(model=self._conversation.model)
        event = _event.decode(frame.payload or b"{}")
        match headers.get(":event-type"):
            case "contentBlockDelta" if event.delta is not None:
                yield from self._piece(event.contentBlockIndex, event.delta)
            case "contentBlockStart" if event.start is not None:
                yield from self._start(event.contentBlockIndex, event.start)
            case "contentBlockStop":
                yield from self._stop(event.contentBlockIndex)
            case "messageStop":
                for block in sorted(self._cited):
                    yield from self._stop(block)
                finish = read_finish(event.stopReason, any(call.index is not None for call in self._calls.values()))
                self.whole = True
                yield Ended(finish, stop_sequence=stop_sequence_of(event.additionalModelResponseFields))
            case "metadata" if event.usage is not None:
                yield Used(read_usage(event.usage, event.serviceTier))

    def _start(self, block: int, start: _Start) -> Iterator[Delta]:
        if start.toolUse is not None:
            ours = start.toolUse.is_ours
            call = _Call(sum(one.index is not None for one in self._calls.values()) if ours else None)
            self._calls[block] = call
            if call.index is not None:
                name = start.toolUse.name
                yield ToolCallDelta(call.index, start.toolUse.toolUseId, self._names.get(name, name))
        elif start.image is not None:
            self._pictures[block] = (start.image.format, b"")

    def _piece(self, block: int, piece: _Piece) -> Iterator[Delta]:
        if piece.text is not None:
            if piece.text:
                self._starts.setdefault(block, self._length)
                self._length += len(piece.text)
                yield TextDelta(piece.text)
        elif piece.toolUse is not None:
            call = self._calls.get(block)
            if call is not None and call.index is not None and piece.toolUse.input:
                call.said = True
                yield ToolCallDelta(call.index, arguments=piece.toolUse.input)
        elif piece.reasoningContent is not None:
            thought = piece.reasoningContent
            if thought.redactedContent is not None:
                self._redacted[block] = self._redacted.get(block, b"") + b64decode(thought.redactedContent)
            elif thought.text or thought.signature:
                yield ReasoningDelta(thought.text, thought.signature, origin=self._origin, block=block)
        elif piece.image is not None:
            format, so_far = self._pictures.get(block, (piece.image.format, b""))
            self._pictures[block] = (format, so_far + b64decode(piece.image.source.bytes or ""))
        elif bytes(piece.citation) != b"null":
            self._cited.setdefault(block, []).append(piece.citation)

    def _stop(self, block: int) -> Iterator[Delta]:
        for raw in self._cited.pop(block, ()):
            yield CitationDelta(read_citation(raw, self._starts.get(block, self._length), self._length))
        call = self._calls.get(block)
        if call is not None and call.index is not None and not call.said:
            yield ToolCallDelta(call.index, arguments="{}")
        if block in self._redacted:
            thought = read_redacted(b64encode(self._redacted.pop(block)).decode(), self._origin)
            yield ReasoningDelta(redacted=thought.redacted, origin=thought.origin, block=block)
        if block in self._pictures:
            format, data = self._pictures.pop(block)
            yield MediaDelta(read_image(Picture(format, Bytes(b64encode(data).decode()))))
