"""An upstream's answer as deltas, whether it comes whole or in events: an event is an answer's next piece in the same shape.

Parts that have no noun (programs that Google ran, and what they printed) are passed over, as other makers' are; the words tell of them.
"""

import hashlib
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
    TextDelta,
    ToolCallDelta,
    Used,
)
from shoal.core.conversation import Finish
from shoal.core.errors import Fault
from shoal.wire.gemini import citations, logprobs, usage
from shoal.wire.gemini.parts import medium
from shoal.wire.gemini.pieces import Pieces
from shoal.wire.gemini.shapes import ABSENT, Candidate, FunctionCall, Part, Response
from shoal.wire.gemini.signatures import ORIGIN

_FINISH: dict[str, Finish] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""https://ai.google.dev/api/generate-content#FinishReason; any other says no more than that it stopped."""

_BROKEN = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE"}
)
"""The model wrote something that Google threw away. What is left would pass for an answer, so it is a failure, which may be tried again."""


class _Choice:
    """One candidate so far."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.texts: list[str] = []
        self.calls = 0
        self.block = -1
        self.thinking = False
        self.reason: str | None = None
        self.pieces: Pieces | None = None


class Reading:
    """Deltas of one answer. Why a candidate ended is told at the very end, since Google may say so in every event."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}
        self._id: str | None = None
        self._blocked = False

    def take(self, seen: Response) -> list[Delta]:
        """What this piece adds."""
        out: list[Delta] = []
        if self._id is None:
            self._id = seen.response_id or ""
            out.append(Began(self._id, seen.model_version or ""))
        for place, candidate in enumerate(seen.candidates or ()):
            index = candidate.index if candidate.index is not None else place
            out.extend(self._take(candidate, self._choices.setdefault(index, _Choice(index))))
        if not self._choices and seen.prompt_feedback is not None and seen.prompt_feedback.block_reason:
            self._blocked = True
        if seen.usage_metadata is not None:
            out.append(Used(usage.read(seen.usage_metadata)))
        return out

    @property
    def ended(self) -> bool:
        """Whether every candidate that has begun has said why it ended, or the question was refused."""
        return all(choice.reason is not None for choice in self._choices.values()) if self._choices else self._blocked

    def end(self, whole: bool = False) -> list[Delta]:
        """How it ended; an answer that came `whole` did, even where Google does not say why.

        Errors: Fault upstream_cut when it had not, upstream_garbled when nothing that it wrote could be used.
        """
        if not self._choices and self._blocked:
            return [Ended("content_filter")]
        if not self.ended and not (whole and self._choices):
            raise Fault("upstream_cut", "The upstream ended its answer before it was complete.")
        choices = self._choices.values()
        if all(choice.reason in _BROKEN and not choice.calls for choice in choices):
            text = f"The model wrote a function call that cannot be used ({next(iter(choices)).reason}); try again."
            raise Fault("upstream_garbled", text, upstream_status=200)
        return [Ended(_finish(choice), choice.index) for choice in choices]

    def _take(self, candidate: Candidate, choice: _Choice) -> Iterator[Delta]:
        for part in (candidate.content.parts or ()) if candidate.content is not None else ():
            yield from self._part(part, choice)
        for citation in citations.read(candidate, choice.texts):
            yield CitationDelta(citation, choice.index)
        if candidate.finish_reason is not None:
            yield from self._whole(choice)
        if candidate.logprobs_result is not None:
            yield LogprobsDelta(logprobs.read(candidate.logprobs_result), choice.index)
        choice.reason = candidate.finish_reason or choice.reason

    def _part(self, part: Part, choice: _Choice) -> Iterator[Delta]:
        if part.function_call is not None:
            choice.thinking = False
            yield from self._call(part.function_call, part.thought_signature, choice)
            return
        yield from self._whole(choice)
        if part.text is not None and part.thought:
            if not choice.thinking:
                choice.block += 1
            choice.thinking = part.thought_signature is None
            yield ReasoningDelta(part.text, part.thought_signature, origin=ORIGIN, block=choice.block, choice=choice.index)
            return
        text = part.text
        if text:
            choice.thinking = False
            choice.texts.append(text)
            yield TextDelta(text, choice.index)
        if part.inline_data is not None:
            yield MediaDelta(medium(part.inline_data.mime_type, part.inline_data.data, None), choice.index)
        if part.file_data is not None:
            yield MediaDelta(medium(part.file_data.mime_type, None, part.file_data.file_uri), choice.index)
        if part.thought_signature is not None:
            choice.block += 1
            choice.thinking = False
            yield ReasoningDelta(signature=part.thought_signature, origin=ORIGIN, block=choice.block, choice=choice.index)

    def _call(self, call: FunctionCall, signature: str | None, choice: _Choice) -> Iterator[Delta]:
        if call.name:
            yield from self._whole(choice)
            choice.pieces = Pieces(call, signature)
        if choice.pieces is None:  # the end of one that had none
            return
        choice.pieces.signature = choice.pieces.signature or signature
        choice.pieces.take(call.partial_args or [])
        if not call.will_continue:
            yield from self._whole(choice, call.args)

    def _whole(self, choice: _Choice, args: msgspec.Raw = ABSENT) -> Iterator[Delta]:
        """The call that was open, if one was, with all its arguments."""
        call, choice.pieces = choice.pieces, None
        if call is None:
            return
        arguments = msgspec.json.format(bytes(args), indent=-1).decode()  # whole answers are indented
        if arguments == "null":
            arguments = call.arguments()
        index, choice.calls = choice.calls, choice.calls + 1
        # an id that is the same however often the answer is read, and another in every answer
        where = self._id or hashlib.blake2s(f"{call.name}{arguments}".encode(), digest_size=8).hexdigest()
        identity = call.id or f"call_{where}_{choice.index}_{index}"
        yield ToolCallDelta(index, identity, call.name, arguments, call.signature, choice.index)


def _finish(choice: _Choice) -> Finish | None:
    finish = _FINISH.get(choice.reason or "STOP")
    return "tool_calls" if choice.calls and finish in ("stop", None) else finish
