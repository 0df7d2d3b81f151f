"""An upstream's response to deltas, whole or piece by piece.

Some upstreams stream every piece, some tell an item only when it is done, some only in the last event. What was said is counted, and
whatever a whole item holds beyond that is said then, so that each answer is told once whichever way it comes.
https://platform.openai.com/docs/api-reference/responses/object
"""

from collections.abc import Iterator

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
from shoal.core.conversation import Finish, Image
from shoal.core.errors import Fault
from shoal.wire.openai_responses import citations, errors, usage
from shoal.wire.openai_responses.checked import ABSENT
from shoal.wire.openai_responses.reasoning import ORIGIN, SEPARATOR, Words


class Part(msgspec.Struct):
    """A part of a message."""

    type: str
    text: str | None = None
    refusal: str | None = None
    annotations: list[msgspec.Raw] | None = None
    logprobs: list[msgspec.Raw] | None = None


class Item(msgspec.Struct, tag_field="type"):
    """An output item that says something here."""

    id: str | None = None


class Message(Item, tag="message"):
    """Words."""

    content: list[Part] | None = None


class Call(Item, tag="function_call"):
    """A call of a function."""

    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class Thought(Item, tag="reasoning"):
    """Thought: a summary or its own words, and what only the upstream can read."""

    summary: list[Words] | None = None
    content: list[Words] | None = None
    encrypted_content: str | None = None


class Picture(Item, tag="image_generation_call"):
    """A picture that the model made, as base64."""

    result: str | None = None
    output_format: str | None = None


class _Kind(msgspec.Struct):
    type: str | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created_at: float | None = None
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    incomplete_details: _Incomplete | None = None
    error: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT


_KNOWN = frozenset({"message", "function_call", "reasoning", "image_generation_call"})

_kind = msgspec.json.Decoder(_Kind)
_item = msgspec.json.Decoder(Message | Call | Thought | Picture)
_response = msgspec.json.Decoder(_Response)


class _Progress:
    """What has been said of one item: characters of each of its texts, by kind and place; `number` is its call's or its thought's."""

    __slots__ = ("cited", "id", "number", "said", "shown", "weighed")

    def __init__(self) -> None:
        self.id: str | None = None
        self.number: int | None = None
        self.said: dict[tuple[str, int], int] = {}
        self.cited: dict[int, int] = {}
        self.weighed: set[int] = set()
        self.shown = False


class Reading:
    """The deltas of one response."""

    def __init__(self) -> None:
        self._items: dict[int, _Progress] = {}
        self._calls = self._thoughts = 0
        self._began = False

    def whole(self, raw: bytes | msgspec.Raw) -> Iterator[Delta]:
        """What is left to say of a response that has ended. Errors: Fault upstream_garbled, or why it failed."""
        try:
            found = _response.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Fault("upstream_garbled", "The upstream answered with something that is not a response object.") from None
        if found.status in ("failed", "cancelled") or bytes(found.error) != b"null":
            raise errors.read_within(bytes(found.error))
        if found.output is None and not self._items:
            raise Fault("upstream_garbled", "The upstream answered with a response that has no output.")
        yield from self._begin(found)
        for index, item in enumerate(found.output or ()):
            yield from self.item(index, item)
        counted = usage.read(found.usage, found.service_tier)
        if counted is not None:
            yield Used(counted)
        yield Ended(self._finish(found))

    def begin(self, raw: msgspec.Raw) -> Iterator[Delta]:
        """A response that has begun."""
        yield from self._begin(_response.decode(raw))

    def _begin(self, found: _Response) -> Iterator[Delta]:
        if not self._began:
            self._began = True
            created = None if found.created_at is None else int(found.created_at)
            yield Began(found.id or "", found.model or "", created)

    def _finish(self, found: _Response) -> Finish:
        reason = found.incomplete_details.reason if found.incomplete_details else None
        if reason == "content_filter":
            return "content_filter"
        if reason is not None or found.status == "incomplete":
            return "length"
        return "tool_calls" if self._calls else "stop"

    def begin_item(self, index: int, raw: msgspec.Raw) -> Iterator[Delta]:
        """An item that has begun: whose call it is, which thought. What else it holds may not be complete."""
        if _kind.decode(raw).type not in _KNOWN:
            return
        match _item.decode(raw):
            case Call() as call:
                yield from self._call(index, msgspec.structs.replace(call, arguments=None))
            case Thought(id=found):
                self._progress(index).id = found

    def item(self, index: int, raw: msgspec.Raw) -> Iterator[Delta]:
        """What is left to say of a whole item; nothing for kinds that are not known here."""
        if _kind.decode(raw).type not in _KNOWN:
            return
        match _item.decode(raw):
            case Message(content=content):
                for place, part in enumerate(content or ()):
                    yield from self.part(index, place, part)
            case Call() as call:
                yield from self._call(index, call)
            case Thought() as thought:
                yield from self._thought(index, thought)
            case Picture(result=str(result)) as picture if not self._progress(index).shown:
                self._progress(index).shown = True
                yield MediaDelta(Image(data=result, media_type=f"image/{picture.output_format or 'png'}"))

    def part(self, index: int, place: int, part: Part) -> Iterator[Delta]:
        """What is left to say of a message's part."""
        if part.type == "refusal":
            yield from self._rest(index, place, "refusal", part.refusal)
            return
        yield from self._rest(index, place, "text", part.text)
        yield from self.weigh(index, place, part.logprobs, again=False)
        progress = self._progress(index)
        for annotation in (part.annotations or ())[progress.cited.get(place, 0) :]:
            yield from self.cite(index, place, annotation)

    def cite(self, index: int, place: int, annotation: msgspec.Raw) -> Iterator[Delta]:
        """A source of a part's text."""
        cited = self._progress(index).cited
        cited[place] = cited.get(place, 0) + 1
        yield CitationDelta(citations.read(annotation))

    def weigh(self, index: int, place: int, logprobs: list[msgspec.Raw] | None, again: bool = True) -> Iterator[Delta]:
        """Chances of tokens; with `again` more of them, else all, if none were told."""
        weighed = self._progress(index).weighed
        if logprobs and (again or place not in weighed):
            weighed.add(place)
            yield LogprobsDelta(msgspec.Raw(msgspec.json.encode({"content": logprobs, "refusal": None})))

    def _call(self, index: int, call: Call) -> Iterator[Delta]:
        progress = self._progress(index)
        if progress.number is None:
            progress.number = self._calls
            self._calls += 1
            yield ToolCallDelta(progress.number, call.call_id or call.id, call.name)
        yield from self._rest(index, 0, "arguments", call.arguments)

    def _thought(self, index: int, thought: Thought) -> Iterator[Delta]:
        progress = self._progress(index)
        progress.id = thought.id or progress.id
        for kind, parts in (("summary", thought.summary), ("thought", thought.content)):
            for place, part in enumerate(parts or ()):
                yield from self._rest(index, place, kind, part.text)
        if thought.encrypted_content and not progress.shown:
            progress.shown = True
            yield ReasoningDelta(redacted=thought.encrypted_content, origin=ORIGIN, id=progress.id, block=self._block(progress))

    def _rest(self, index: int, place: int, kind: str, whole: str | None) -> Iterator[Delta]:
        said = self._progress(index).said.get((kind, place), 0)
        yield from self.say(index, place, kind, (whole or "")[said:])

    def say(self, index: int, place: int, kind: str, text: str) -> Iterator[Delta]:
        """More words of an item: text, refusal, summary, thought or arguments."""
        if not text:
            return
        progress = self._progress(index)
        if kind == "arguments" and progress.number is None:
            return  # of a call whose name is still to come, and its arguments once more with it
        said = progress.said.get((kind, place), 0)
        progress.said[kind, place] = said + len(text)
        if kind == "text":
            yield TextDelta(text)
        elif kind == "refusal":
            yield RefusalDelta(text)
        elif kind == "arguments":
            yield ToolCallDelta(self._block(progress), arguments=text)
        elif not any(other != kind for other, _ in progress.said):  # a summary and the thought itself are not both told
            lead = SEPARATOR if not said and len(progress.said) > 1 else ""
            yield ReasoningDelta(lead + text, origin=ORIGIN, id=progress.id, block=self._block(progress))

    def _block(self, progress: _Progress) -> int:
        if progress.number is None:
            progress.number = self._thoughts
            self._thoughts += 1
        return progress.number

    def _progress(self, index: int) -> _Progress:
        found = self._items.get(index)
        if found is None:
            found = self._items[index] = _Progress()
        return found
