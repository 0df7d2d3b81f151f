"""Streams of typed events, both ways: https://platform.openai.com/docs/api-reference/responses-streaming."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from shoal.core.answer import Began, Delta, Ended, LogprobsDelta, TextDelta, Used
from shoal.core.conversation import Conversation
from shoal.core.usage import Usage
from shoal.wire import sse, streamed
from shoal.wire.openai_responses import errors
from shoal.wire.openai_responses.checked import ABSENT
from shoal.wire.openai_responses.output import Output, read_logprobs
from shoal.wire.openai_responses.reading import Part, Reading
from shoal.wire.openai_responses.response import close_response, open_response, seal_response


class _Kind(msgspec.Struct):
    type: str | None = None
    error: msgspec.Raw = ABSENT


class _Event(msgspec.Struct):
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    refusal: str | None = None
    item: msgspec.Raw = ABSENT
    part: msgspec.Raw = ABSENT
    annotation: msgspec.Raw = ABSENT
    logprobs: list[msgspec.Raw] | None = None
    response: msgspec.Raw = ABSENT


_kind = msgspec.json.Decoder(_Kind)
_event = msgspec.json.Decoder(_Event)
_part = msgspec.json.Decoder(Part)


class Reader(streamed.Reader[bytes]):
    """An upstream's stream, bytes to deltas. Events that are not known are left out: new ones come with every model."""

    def __init__(self) -> None:
        super().__init__(sse.Splitter())
        self._reading = Reading()
        self._began = False

    def take(self, event: bytes, out: list[Delta]) -> None:
        """Add what an event says."""
        for delta in self._read(event):
            out.append(delta)  # one by one, so that those before a fault are kept

    def _read(self, event: bytes) -> Iterator[Delta]:
        data = sse.data_of(event)
        if data is None or self.whole or data.strip() in (b"", b"[DONE]"):
            return
        kind = _kind.decode(data)
        if kind.type == "error" or (kind.type is None and kind.error is not ABSENT):
            raise errors.read_within(data)
        handle = _HANDLERS.get(kind.type or "")
        if handle is not None:
            yield from self._after_began(handle(self._reading, _event.decode(data)))
            self.whole = kind.type in _LAST

    def _after_began(self, deltas: Iterator[Delta]) -> Iterator[Delta]:
        """The same with Began once and first, though an upstream may leave out the event that tells it."""
        for delta in deltas:
            if not self._began:
                self._began = True
                yield delta if isinstance(delta, Began) else Began()
            if not isinstance(delta, Began):
                yield delta


def _say(kind: str, place: str) -> Callable[[Reading, _Event], Iterator[Delta]]:
    def handle(reading: Reading, event: _Event) -> Iterator[Delta]:
        return reading.say(event.output_index, getattr(event, place), kind, event.delta or "")

    return handle


def _text(reading: Reading, event: _Event) -> Iterator[Delta]:
    yield from reading.say(event.output_index, event.content_index, "text", event.delta or "")
    yield from reading.weigh(event.output_index, event.content_index, event.logprobs)


def _part_done(reading: Reading, event: _Event) -> Iterator[Delta]:
    part = _part.decode(event.part)
    if part.type in ("output_text", "refusal"):
        yield from reading.part(event.output_index, event.content_index, part)


_LAST = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})

_HANDLERS: dict[str, Callable[[Reading, _Event], Iterator[Delta]]] = {
    "response.created": lambda reading, event: reading.begin(event.response),
    "response.output_item.added": lambda reading, event: reading.begin_item(event.output_index, event.item),
    "response.output_item.done": lambda reading, event: reading.item(event.output_index, event.item),
    "response.content_part.done": _part_done,
    "response.output_text.delta": _text,
    "response.refusal.delta": _say("refusal", "content_index"),
    "response.function_call_arguments.delta": _say("arguments", "summary_index"),
    "response.reasoning_summary_text.delta": _say("summary", "summary_index"),
    "response.reasoning_text.delta": _say("thought", "content_index"),
    "response.output_text.annotation.added": lambda reading, event: reading.cite(event.output_index, event.content_index, event.annotation),
    **dict.fromkeys(_LAST, lambda reading, event: reading.whole(event.response)),
}


class Writer:
    """A stream for a caller, deltas to events. Each is numbered; the last holds the whole response, with its cost and receipt.

    `response` is that object once the stream is closed; `sequence_number` is the next event's.
    """

    def __init__(self, conversation: Conversation, *, response_id: str, created: int) -> None:
        self._conversation = conversation
        self._response_id = response_id
        self._created = created
        self._opened: dict[str, Any] | None = None
        self._output = Output(response_id)
        self._ended = False
        self._usage = Usage()
        self.sequence_number = 0
        self.response = b""

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Bytes to send now; may be empty. Errors: Fault for what a response cannot hold."""
        return b"".join(self._write(event) for event in self._events(deltas))

    def _events(self, deltas: Sequence[Delta]) -> Iterator[dict[str, Any]]:
        skipped = False
        for index, delta in enumerate(deltas):
            if skipped:
                skipped = False
                continue
            if self._opened is None:
                yield from self._open(delta.model if isinstance(delta, Began) else "")
            if isinstance(delta, Used):
                self._usage = delta.usage
                continue
            following = deltas[index + 1] if index + 1 < len(deltas) else None
            if isinstance(delta, TextDelta) and isinstance(following, LogprobsDelta) and following.choice == delta.choice and delta.text:
                skipped = True  # the chances of a text's tokens go with it
                yield from self._output.take(delta, read_logprobs(following.raw))
                continue
            self._ended = self._ended or isinstance(delta, Ended)
            yield from self._output.take(delta)

    def _open(self, model: str) -> Iterator[dict[str, Any]]:
        self._opened = open_response(self._conversation, self._response_id, self._created, model or self._conversation.model)
        yield {"type": "response.created", "response": self._opened}
        yield {"type": "response.in_progress", "response": self._opened}

    def _write(self, event: dict[str, Any]) -> bytes:
        kind = event["type"]
        numbered = {"type": kind, "sequence_number": self.sequence_number, **event}
        self.sequence_number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(numbered))

    def close(self, cost: str | None, receipt: bytes) -> bytes:
        """The end: `response.completed` or `response.incomplete`, with usage, cost and receipt in its response."""
        out = self.feed([] if self._ended else [Ended(None)])
        assert self._opened is not None
        close_response(self._opened, self._output.items, self._output.finish, self._usage)
        self.response = seal_response(self._opened, cost, receipt)
        kind = f"response.{self._opened['status']}"
        return out + self._write({"type": kind, "response": msgspec.Raw(self.response)})
