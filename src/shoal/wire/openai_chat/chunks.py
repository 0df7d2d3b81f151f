"""What upstreams say, to deltas: one chunk of a stream, or a whole answer, which is one big chunk with `message` for `delta`.

Beside OpenAI's format (https://platform.openai.com/docs/api-reference/chat-streaming) this understands what others have made of it:
thought as reasoning_content, reasoning, reasoning_details or content parts; calls that come whole, without an index, or without an id;
sources as annotations, citations or search_results; usage beside the choices or in one; errors beside them or in one. Ends are held back
until the stream ends, because some go on after the first one.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Any

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
from shoal.core.conversation import Citation, Finish, Image
from shoal.core.errors import Fault
from shoal.wire.openai_chat import errors, thoughts, usage
from shoal.wire.openai_chat.shapes import Base

# msgspec takes no Raw in a union: what is absent reads as null
_ABSENT = msgspec.Raw(b"null")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct):
    google: _Google | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None
    extra_content: _ExtraContent | None = None


class Part(msgspec.Struct):
    """A part of Mistral's content lists."""

    type: str | None = None
    text: str | None = None
    thinking: "str | list[Part] | None" = None

    @property
    def thought(self) -> str:
        """The words of a part that is thought."""
        if isinstance(self.thinking, list):
            return "".join(one.text or "" for one in self.thinking)
        return self.thinking or ""


class _Source(msgspec.Struct):
    """What a url_citation, or one of Perplexity's search_results, tells."""

    url: str | None = None
    title: str | None = None
    content: str | None = None
    start_index: int | None = None
    end_index: int | None = None


class _Annotation(msgspec.Struct):
    url_citation: _Source | None = None


class _Picture(msgspec.Struct):
    image_url: _Source | None = None


class Said(msgspec.Struct):
    """A `delta` or a `message`."""

    content: str | list[Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[thoughts.Detail] | None = None
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    annotations: list[_Annotation] | None = None
    images: list[_Picture] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: Said | None = None
    message: Said | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT  # Moonshot's, in the last choice
    error: msgspec.Raw = _ABSENT  # OpenRouter's


class _Groq(msgspec.Struct):
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT  # why a stream stopped early


class Chunk(msgspec.Struct):
    """A chunk, or a whole answer."""

    id: str | int | None = None
    object: str | None = None
    model: str | None = None
    created: float | str | None = None
    choices: list[_Choice] | None = None
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    x_groq: _Groq | None = None
    base_resp: Base | None = None
    citations: list[str | _Source] | None = None
    search_results: list[_Source] | None = None
    system_fingerprint: msgspec.Raw = _ABSENT
    service_tier: msgspec.Raw = _ABSENT


_chunk = msgspec.json.Decoder(Chunk)
_logprobs = msgspec.json.Decoder(dict[str, list[dict[str, Any]] | None])
_WEIGHED = frozenset(("content", "refusal"))

_FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral: the context is full
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "model_context_window_exceeded": "length",  # Z.AI
    "content_filter": "content_filter",
    "sensitive": "content_filter",  # Z.AI
}
NO_ERROR = (b"null", b"{}", b'""', b"false")
"""What some write where there is no error."""

ERROR_EVENT = (b"event: error", b"event:error")
"""How an event begins that tells an error, in whatever shape."""

FAILURES = ("error", "insufficient_system_resource", "network_error")
"""Reasons to stop that are failures: OpenRouter's and Mistral's, DeepSeek's, Z.AI's."""


def decode(data: bytes) -> Chunk:
    """One chunk or answer. Errors: Fault, upstream_garbled for what is none, or the kind of the error it holds."""
    try:
        if not data.isascii():
            data.decode()  # raw members are not decoded
        chunk = _chunk.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is no chat completion.") from None
    if bytes(chunk.error) not in NO_ERROR or chunk.object == "error" or (chunk.base_resp is not None and chunk.base_resp.status_code):
        raise errors.read_within(data)
    if chunk.x_groq is not None:
        check(None, chunk.x_groq.error)
    return chunk


class _Telling:
    """One choice while it is told."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish: Finish | None = None
        self.finished = False
        self.blocks = -1
        self.thinking = False
        self.block_of: dict[int | str, int] = {}
        self.calls: list[_Called] = []

    def take(self, said: Said, answer_id: str) -> Iterator[Delta]:
        """What a delta or a message tells, in the order of a turn: thought, words, sources, calls."""
        yield from self._think(said)
        content = said.content
        if isinstance(content, str):
            if content:
                self.thinking = False
                yield TextDelta(content, self.index)
        elif content is not None:
            yield from self._parts(content)
        if said.refusal:
            self.thinking = False
            yield RefusalDelta(said.refusal, self.index)
        for picture in said.images or ():
            if picture.image_url and picture.image_url.url:
                yield MediaDelta(_image(picture.image_url.url), self.index)
        for annotation in said.annotations or ():
            if annotation.url_citation is not None:
                yield CitationDelta(_citation(annotation.url_citation), self.index)
        calls = said.tool_calls or ()
        for place, call in enumerate(calls):
            yield from self._call(call, answer_id, place if len(calls) > 1 else None)
        if said.function_call is not None:
            yield from self._call(_Call(index=0, function=said.function_call), answer_id)

    def _parts(self, parts: list[Part]) -> Iterator[Delta]:
        for part in parts:
            if part.thinking is not None:
                if part.thought:
                    yield ReasoningDelta(part.thought, block=self._block(None), choice=self.index)
            elif part.text:
                self.thinking = False
                yield TextDelta(part.text, self.index)

    def _think(self, said: Said) -> Iterator[Delta]:
        details = said.reasoning_details or ()
        plain = said.reasoning_content or said.reasoning
        if plain and not any(detail.words for detail in details):
            yield ReasoningDelta(plain, block=self._block(None), choice=self.index)
        for detail in details:
            key = detail.index if detail.index is not None else detail.id
            yield ReasoningDelta(
                detail.words, detail.signature, detail.data, detail.origin, detail.id, block=self._block(key), choice=self.index
            )

    def _block(self, key: int | str | None) -> int:
        """The number of a thought: of the one that `key` names, or, without one, of the one that has not been interrupted."""
        if key is not None and key in self.block_of:
            return self.block_of[key]
        if key is not None or not self.thinking:
            self.blocks += 1
            self.thinking = True
        if key is not None:
            self.block_of[key] = self.blocks
        return self.blocks

    def _call(self, piece: _Call, answer_id: str, place: int | None = None) -> Iterator[Delta]:
        """A piece of a call; `place` is where it stands among several pieces that came together."""
        self.thinking = False
        function = piece.function or _Function()
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        google = piece.extra_content.google if piece.extra_content else None
        signature = google.thought_signature if google else None
        call = self._find(piece, function.name, place)
        id = name = None
        if call is None:
            id = piece.id or f"call_{answer_id}_{self.index}_{len(self.calls)}"
            name = function.name
            number = len(self.calls)
            call = _Called(number, number if piece.index is None else piece.index, piece.id)
            self.calls.append(call)
        if arguments or signature or id:
            call.said = call.said or bool(arguments)
            yield ToolCallDelta(call.place, id, name, arguments or "", signature, self.index)

    def _find(self, piece: _Call, name: str | None, place: int | None) -> "_Called | None":
        """The call that a piece belongs to; None for a new one. The id tells, then the index, then that a new call has a name, then
        the order in which pieces came together, which is that of the calls.
        """
        if piece.id and (known := next((call for call in self.calls if call.id == piece.id), None)):
            return known
        if piece.index is not None:
            known = next((call for call in reversed(self.calls) if call.index == piece.index), None)
            return None if known and piece.id and name else known
        if piece.id or name or not self.calls:
            return None
        return self.calls[-1] if place is None or place >= len(self.calls) else self.calls[place]

    def end(self) -> Iterator[Delta]:
        for call in self.calls:
            if not call.said:
                yield ToolCallDelta(call.place, arguments="{}", choice=self.index)
        calls = bool(self.calls) and (self.finish == "stop" or self.finish is None)
        yield Ended("tool_calls" if calls else self.finish, self.index)


class _Called:
    """A call so far: its number here, and the upstream's index and id of it; where it gave no index, the next ones may."""

    def __init__(self, place: int, index: int, id: str | None) -> None:
        self.place = place
        self.index = index
        self.id = id
        self.said = False


def _citation(source: _Source) -> Citation:
    return Citation(source.url, source.title, source.content, source.start_index, source.end_index)


def _image(url: str) -> Image:
    head, comma, data = url.partition(",")
    if url.startswith("data:") and comma and head.endswith(";base64"):
        return Image(data=data, media_type=head[5:-7])
    return Image(url=url)


class Told:
    """An answer while it is told, chunk by chunk."""

    def __init__(self) -> None:
        self.choices: dict[int, _Telling] = {}
        self.ended = False
        self._began: Began | None = None
        self._sources: list[Citation] = []

    @property
    def finished(self) -> bool:
        """Whether every choice that has begun has said why it stopped."""
        return bool(self.choices) and all(choice.finished for choice in self.choices.values())

    def take(self, chunk: Chunk) -> Iterator[Delta]:
        """What a chunk tells. Errors: Fault for an end that is a failure."""
        if chunk.search_results:
            self._sources = [_citation(one) for one in chunk.search_results]
        elif chunk.citations and not self._sources:
            self._sources = [Citation(one) if isinstance(one, str) else _citation(one) for one in chunk.citations]
        if chunk.choices and self._began is None:
            self._began = _begin(chunk)
            yield self._began
        for place, choice in enumerate(chunk.choices or ()):
            index = place if choice.index is None else choice.index
            telling = self.choices.get(index) or self.choices.setdefault(index, _Telling(index))
            said = choice.delta or choice.message
            if said is not None:
                yield from telling.take(said, self._began.id if self._began else "")
            if (logprobs := _logprobs_of(choice.logprobs)) is not None:
                yield LogprobsDelta(logprobs, index)
            check(choice.finish_reason, choice.error)
            if choice.finish_reason:
                telling.finish, telling.finished = _FINISHES.get(choice.finish_reason), True
        places = [chunk.usage, *([chunk.x_groq.usage] if chunk.x_groq else ()), *(choice.usage for choice in chunk.choices or ())]
        if (used := usage.read_first(places, chunk.service_tier)) is not None:
            yield Used(used)

    def end(self) -> Iterator[Delta]:
        """What was held back: sources of the whole answer, and the ends of all choices."""
        self.ended = True
        for index, choice in sorted(self.choices.items()):
            yield from (CitationDelta(source, index) for source in self._sources)
            yield from choice.end()


def _begin(chunk: Chunk) -> Began:
    named = {"system_fingerprint": chunk.system_fingerprint, "service_tier": chunk.service_tier}
    extra = {name: msgspec.Raw(bytes(raw)) for name, raw in named.items() if bytes(raw) != b"null"}
    created = int(chunk.created) if isinstance(chunk.created, float | int) else None
    return Began("" if chunk.id is None else str(chunk.id), chunk.model or "", created, extra)


def check(finish_reason: str | None, error: msgspec.Raw) -> None:
    """Look whether a choice has failed. Errors: Fault, of the kind of its error where it tells one."""
    if bytes(error) not in NO_ERROR:
        raise errors.read_within(b'{"error":%b}' % error)
    if finish_reason in FAILURES:
        raise Fault("upstream_error", "The upstream broke its answer off with an error of its own.", upstream_status=200)


def _logprobs_of(raw: msgspec.Raw) -> msgspec.Raw | None:
    """OpenAI's logprobs object, lists by name; None for something else of the same name. DeepSeek weighs its thought, too, and leaves out
    members that must be there.
    """
    if bytes(raw) == b"null":
        return None
    try:
        found = _logprobs.decode(raw)
    except msgspec.ValidationError:
        return None
    kept = {name: tokens for name, tokens in found.items() if name in _WEIGHED}
    if not any(kept.values()):
        return None
    whole = found.keys() == kept.keys() and all(map(_is_whole, chain.from_iterable(tokens or () for tokens in kept.values())))
    return raw if whole else msgspec.Raw(msgspec.json.encode({name: tokens and [*map(_fill, tokens)] for name, tokens in kept.items()}))


def _is_whole(token: dict[str, Any]) -> bool:
    return "bytes" in token and isinstance(tops := token.get("top_logprobs"), list) and all("bytes" in one for one in tops)


def _fill(token: dict[str, Any]) -> dict[str, Any]:
    tops = [{"bytes": None, **one} for one in token.get("top_logprobs") or ()]
    return {"bytes": None, **token, "top_logprobs": tops}
