"""An answer as every dialect means it: whole, or as the deltas of a stream. `fold` makes the one from the other, `split` the reverse.

Deltas of one choice come in order; text and thought of a choice may alternate, and each run of the same kind becomes one part.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Citation, File, Finish, Image, Part, Reasoning, Refusal, Text, ToolCall
from shoal.core.usage import Usage


class Choice(msgspec.Struct, frozen=True):
    """One of the answers asked for. `finish` None: the upstream did not say why it stopped. `logprobs` is OpenAI's object, raw."""

    parts: tuple[Part, ...]
    finish: Finish | None = "stop"
    index: int = 0
    logprobs: msgspec.Raw | None = None
    stop_sequence: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `id` and `model` are the upstream's words, `created` seconds since 1970; `extra` what has no noun here, by name."""

    id: str = ""
    model: str = ""
    created: int | None = None
    choices: tuple[Choice, ...] = ()
    usage: Usage = Usage()
    extra: Mapping[str, msgspec.Raw] = {}


class Began(msgspec.Struct, frozen=True):
    """The upstream has begun. Comes once, first."""

    id: str = ""
    model: str = ""
    created: int | None = None
    extra: Mapping[str, msgspec.Raw] = {}


class TextDelta(msgspec.Struct, frozen=True):
    """More words."""

    text: str
    choice: int = 0


class RefusalDelta(msgspec.Struct, frozen=True):
    """More words of a refusal."""

    text: str
    choice: int = 0


class ReasoningDelta(msgspec.Struct, frozen=True):
    """More thought, or its signature. `block` numbers thoughts of a choice: another number is another thought."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str | None = None
    id: str | None = None
    block: int = 0
    choice: int = 0


class ToolCallDelta(msgspec.Struct, frozen=True):
    """A call, or more of its arguments. `index` numbers the calls of a choice from 0; `id` and `name` come with the first piece of each."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None
    choice: int = 0


class MediaDelta(msgspec.Struct, frozen=True):
    """A picture, or a file such as speech, that the model made; it comes whole."""

    part: Image | File
    choice: int = 0


class CitationDelta(msgspec.Struct, frozen=True):
    """A source of the text so far."""

    citation: Citation
    choice: int = 0


class LogprobsDelta(msgspec.Struct, frozen=True):
    """OpenAI's logprobs object for the text since the last one: `{"content": [...], "refusal": ...}`, raw."""

    raw: msgspec.Raw
    choice: int = 0


class Ended(msgspec.Struct, frozen=True):
    """A choice is complete."""

    finish: Finish | None = "stop"
    choice: int = 0
    stop_sequence: str | None = None


class Used(msgspec.Struct, frozen=True):
    """What was used so far; a later one replaces it."""

    usage: Usage


Delta = Began | TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta | MediaDelta | CitationDelta | LogprobsDelta | Ended | Used


class _Folding:
    """One choice while its deltas come in."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.block: int | None = None
        self.calls: dict[int, int] = {}
        self.logprobs: dict[str, list[Any]] = {}
        self.ended = Ended(None)

    def take(self, delta: Delta) -> None:
        match delta:
            case TextDelta(text=text):
                self._words(Text, text)
            case RefusalDelta(text=text):
                self._words(Refusal, text)
            case ReasoningDelta():
                self._think(delta)
            case ToolCallDelta():
                self._call(delta)
            case MediaDelta(part=part):
                self.parts.append(part)
            case CitationDelta(citation=citation):
                self._cite(citation)
            case LogprobsDelta(raw=raw):
                for name, tokens in msgspec.json.decode(raw, type=dict[str, list[Any] | None]).items():
                    if tokens is not None:
                        self.logprobs.setdefault(name, []).extend(tokens)
            case Ended():
                self.ended = delta

    def _words(self, kind: type[Text] | type[Refusal], text: str) -> None:
        last = self.parts[-1] if self.parts else None
        if type(last) is kind:
            self.parts[-1] = msgspec.structs.replace(last, text=last.text + text)
        else:
            self.parts.append(kind(text))

    def _think(self, delta: ReasoningDelta) -> None:
        last = self.parts[-1] if self.parts else None
        if not isinstance(last, Reasoning) or self.block != delta.block:
            last = Reasoning()
            self.parts.append(last)
        self.block = delta.block
        self.parts[-1] = Reasoning(
            text=last.text + delta.text,
            signature=delta.signature or last.signature,
            redacted=delta.redacted or last.redacted,
            origin=delta.origin or last.origin,
            id=delta.id or last.id,
        )

    def _call(self, delta: ToolCallDelta) -> None:
        if delta.index not in self.calls:
            self.calls[delta.index] = len(self.parts)
            self.parts.append(ToolCall(delta.id or "", delta.name or "", "", delta.signature))
        place = self.calls[delta.index]
        so_far = self.parts[place]
        assert isinstance(so_far, ToolCall)
        self.parts[place] = ToolCall(
            id=so_far.id or delta.id or "",
            name=so_far.name or delta.name or "",
            arguments=so_far.arguments + delta.arguments,
            signature=so_far.signature or delta.signature,
        )

    def _cite(self, citation: Citation) -> None:
        for place in range(len(self.parts) - 1, -1, -1):
            part = self.parts[place]
            if isinstance(part, Text):
                self.parts[place] = msgspec.structs.replace(part, citations=(*part.citations, citation))
                return
        self.parts.append(Text("", citations=(citation,)))

    def choice(self, index: int) -> Choice:
        logprobs = msgspec.Raw(msgspec.json.encode({"refusal": None, **self.logprobs})) if self.logprobs else None
        return Choice(tuple(self.parts), self.ended.finish, index, logprobs, self.ended.stop_sequence)


def fold(deltas: Iterable[Delta]) -> Answer:
    """The whole answer that a stream of deltas tells."""
    began, usage = Began(), Usage()
    choices: dict[int, _Folding] = {}
    for delta in deltas:
        if isinstance(delta, Began):
            began = delta
        elif isinstance(delta, Used):
            usage = delta.usage
        else:
            choices.setdefault(delta.choice, _Folding()).take(delta)
    return Answer(
        id=began.id,
        model=began.model,
        created=began.created,
        choices=tuple(choices[index].choice(index) for index in sorted(choices)),
        usage=usage,
        extra=began.extra,
    )


def split(answer: Answer) -> Iterator[Delta]:
    """A whole answer as the shortest stream that tells it."""
    yield Began(answer.id, answer.model, answer.created, answer.extra)
    for choice in answer.choices:
        calls = blocks = 0
        for part in choice.parts:
            match part:
                case Text(text=text, citations=citations):
                    yield TextDelta(text, choice.index)
                    yield from (CitationDelta(one, choice.index) for one in citations)
                case Refusal(text=text):
                    yield RefusalDelta(text, choice.index)
                case Reasoning():
                    yield ReasoningDelta(part.text, part.signature, part.redacted, part.origin, part.id, blocks, choice.index)
                    blocks += 1
                case ToolCall():
                    yield ToolCallDelta(calls, part.id, part.name, part.arguments, part.signature, choice.index)
                    calls += 1
                case Image() | File():
                    yield MediaDelta(part, choice.index)
        if choice.logprobs is not None:
            yield LogprobsDelta(choice.logprobs, choice.index)
        yield Ended(choice.finish, choice.index, choice.stop_sequence)
    yield Used(answer.usage)
