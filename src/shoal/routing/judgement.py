"""Whether a held answer will do. Checks read fields alone: how it ended, how long it is, how sure its tokens are, whether it is JSON."""

from typing import Annotated

import msgspec

from shoal.core.answer import Answer, Choice
from shoal.core.conversation import Finish, Refusal, Text, ToolCall

_MARKS = ("```json", "```")


class Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an answer must be. A choice that calls tools has no text to be measured: there only `finish` and `refusals` count.

    `finish`: the reasons to stop that will do. `min_chars`, `max_chars`: of text. `min_mean_logprob`: mean over the tokens; an answer
    without logprobs is not sure. `json`: the text is one JSON value (a fence around it is forgiven). `refusals`: whether one will do.
    """

    finish: tuple[Finish, ...] = ("stop", "tool_calls")
    min_chars: Annotated[int, msgspec.Meta(ge=0)] = 1
    max_chars: Annotated[int, msgspec.Meta(ge=1)] | None = None
    min_mean_logprob: Annotated[float, msgspec.Meta(le=0)] | None = None
    json: bool = False
    refusals: bool = False

    def __post_init__(self) -> None:
        if not self.finish:
            raise ValueError("finish is empty, so that no answer would do; name at least one reason to stop")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ValueError(f"max_chars ({self.max_chars}) is below min_chars ({self.min_chars})")

    def accepts(self, answer: Answer) -> bool:
        """Whether every choice of an answer is what it must be; an answer without choices is not."""
        return bool(answer.choices) and all(self._accepts(choice) for choice in answer.choices)

    def _accepts(self, choice: Choice) -> bool:
        if choice.finish not in self.finish:
            return False
        if not self.refusals and any(isinstance(part, Refusal) for part in choice.parts):
            return False
        if any(isinstance(part, ToolCall) for part in choice.parts):
            return True
        text = "".join(part.text for part in choice.parts if isinstance(part, Text))
        if len(text) < self.min_chars or (self.max_chars is not None and len(text) > self.max_chars):
            return False
        if self.json and not _is_json(text):
            return False
        return self.min_mean_logprob is None or self._is_sure(choice, self.min_mean_logprob)

    def _is_sure(self, choice: Choice, least: float) -> bool:
        if choice.logprobs is None:
            return False
        try:
            tokens = msgspec.json.decode(choice.logprobs, type=_Logprobs).content or ()
        except msgspec.DecodeError:
            return False
        return bool(tokens) and sum(token.logprob for token in tokens) / len(tokens) >= least


class _Token(msgspec.Struct, frozen=True):
    logprob: float


class _Logprobs(msgspec.Struct, frozen=True):
    """OpenAI's logprobs object, as far as it is read here: https://platform.openai.com/docs/api-reference/chat/object"""

    content: tuple[_Token, ...] | None = None


def _is_json(text: str) -> bool:
    bare = text.strip()
    for mark in _MARKS:
        if bare.startswith(mark) and bare.endswith("```") and len(bare) >= len(mark) + 3:
            bare = bare[len(mark) : -3]
            break
    try:
        msgspec.json.decode(bare)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
