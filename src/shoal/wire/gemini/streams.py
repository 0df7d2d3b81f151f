"""A streamed answer, read and written. See https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent.

Events are answers in small: server-sent where `alt=sse` was asked for, else the elements of one JSON array. Their lines end in CRLF.
"""

from collections.abc import Sequence

import msgspec

from shoal.core.answer import (
    Began,
    CitationDelta,
    Delta,
    Ended,
    LogprobsDelta,
    MediaDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Used,
)
from shoal.core.conversation import Citation, Part, Reasoning, Text, ToolCall
from shoal.core.usage import Usage
from shoal.wire import sse, streamed
from shoal.wire.gemini import logprobs
from shoal.wire.gemini.answers import decode, ending, envelope, finished, write_parts
from shoal.wire.gemini.parts import Json
from shoal.wire.gemini.reading import Reading


class Reader(streamed.Reader[bytes]):
    """An upstream's stream. An error comes as an event, or as bare JSON in the place of one."""

    def __init__(self) -> None:
        super().__init__(sse.Splitter())
        self._reading = Reading()

    def take(self, event: bytes, out: list[Delta]) -> None:
        """Add what an event says."""
        data = payload(event)
        if data:
            out += self._reading.take(decode(data))
            self.whole = self._reading.ended

    def end(self, out: list[Delta]) -> None:
        """Add why it stopped. Errors: Fault upstream_garbled for an answer without a usable word."""
        out += self._reading.end()


def payload(event: bytes) -> bytes:
    """An event's JSON: its data, or itself where Google has put an error in the place of an event. Empty for a comment."""
    data = sse.data_of(event)
    if data is None:
        bare = event.strip().removeprefix(b",").lstrip()
        return bare if bare[:1] in (b"{", b"[") else b""
    return data.strip()


class _Choice:
    """One candidate while its deltas come in: a call is held until its arguments are whole."""

    def __init__(self) -> None:
        self.call: ToolCall | None = None
        self.call_index = -1
        self.called = 0
        self.texts: list[str] = []
        self.citations: list[Citation] = []
        self.ended = Ended(None)

    def release(self) -> list[Json]:
        """The held call, complete now."""
        if self.call is None:
            return []
        parts = write_parts([self.call], self.called)
        self.call, self.called = None, self.called + 1
        return parts

    def take(self, delta: Delta) -> list[Json]:
        """Parts that can be sent now."""
        match delta:
            case TextDelta(text=text) | RefusalDelta(text=text):
                self.texts.append(text)
                return self._write(Text(text)) if text else []
            case ReasoningDelta():
                return self._write(Reasoning(delta.text, delta.signature, delta.redacted, delta.origin, delta.id))
            case MediaDelta(part=part):
                return self._write(part)
            case ToolCallDelta():
                return self._call(delta)
            case CitationDelta(citation=citation):
                self.citations.append(citation)
            case Ended():
                self.ended = delta
                return self.release()
        return []

    def _write(self, part: Part) -> list[Json]:
        return [*self.release(), *write_parts([part])]

    def _call(self, delta: ToolCallDelta) -> list[Json]:
        before = [] if delta.index == self.call_index else self.release()
        held = self.call or ToolCall("", "", "")
        self.call_index = delta.index
        self.call = ToolCall(
            held.id or delta.id or "", held.name or delta.name or "", held.arguments + delta.arguments, held.signature or delta.signature
        )
        return before

    def last(self, index: int) -> Json:
        """The candidate's end."""
        parts = self.release() or [{"text": ""}]
        return {"content": {"parts": parts, "role": "model"}, "index": index} | finished(
            self.ended.finish, self.citations, "".join(self.texts)
        )


class Writer:
    """A stream for a caller; its last event says why it ended, what it used and the receipt. `array`: it is one JSON array.

    An array begins with an element of its own that only names the answer, so that an error later on can always follow a comma.
    """

    def __init__(self, *, array: bool = False) -> None:
        self._array = array
        self._choices: dict[int, _Choice] = {}
        self._began = Began()
        self._opened = False
        self._usage = Usage()

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Events for these deltas: one for the parts of each candidate."""
        fresh: dict[int, list[Json]] = {}
        told: dict[int, Json] = {}
        for delta in deltas:
            if isinstance(delta, Began):
                self._began = delta
            elif isinstance(delta, Used):
                self._usage = delta.usage
            else:
                fresh.setdefault(delta.choice, []).extend(self._choices.setdefault(delta.choice, _Choice()).take(delta))
                if isinstance(delta, LogprobsDelta):
                    told[delta.choice] = {"logprobsResult": logprobs.write(delta.raw)}
        out = b"" if self._opened or not self._array or not deltas else self._event(envelope([], self._began.model, self._began.id))
        for index, parts in fresh.items():
            if parts or index in told:
                candidate = {"content": {"parts": _joined(parts), "role": "model"}, "index": index} | told.get(index, {})
                out += self._event(envelope([candidate], self._began.model, self._began.id))
        return out

    def close(self, cost: str | None, receipt: bytes) -> bytes:
        """The last event."""
        candidates = [self._choices[index].last(index) for index in sorted(self._choices)]
        last = envelope(candidates, self._began.model, self._began.id) | ending(self._usage, cost, receipt)
        return self._event(last) + (b"]" if self._array else b"")

    def _event(self, value: Json) -> bytes:
        data = msgspec.json.encode(value)
        if not self._array:
            return b"data: %b\r\n\r\n" % data
        lead, self._opened = b",\r\n" if self._opened else b"[", True
        return lead + data


def _joined(parts: list[Json]) -> list[Json]:
    """Words that follow each other in one part, since callers are sent fewer events than an upstream may cut its words into."""
    out: list[Json] = []
    for part in parts:
        if out and part.keys() == out[-1].keys() and part.keys() <= {"text", "thought"} and out[-1]["text"]:
            out[-1] = part | {"text": out[-1]["text"] + part["text"]}
        else:
            out.append(part)
    return out
