"""What is looked at of chat answers, chunks and usage on their way through; all the rest of them passes unseen."""

from typing import Annotated

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
# msgspec takes no Raw in a union: what is absent reads as null
ABSENT = msgspec.Raw(b"null")


class Base(msgspec.Struct):
    """MiniMax's, beside what would be an answer."""

    status_code: int | None = None


class Answer(msgspec.Struct):
    """Any answer."""

    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    base_resp: Base | None = None
    service_tier: msgspec.Raw = ABSENT


class Message(msgspec.Struct):
    """What one choice says."""

    content: msgspec.Raw = ABSENT


class Said(msgspec.Struct):
    """One choice of a whole answer."""

    message: Message | None = None
    finish_reason: str | None = None
    error: msgspec.Raw = ABSENT


class Whole(Answer):
    """A whole chat answer."""

    choices: list[Said] | None = None


class Choice(msgspec.Struct):
    """One choice of a chunk."""

    index: int | None = None
    finish_reason: str | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class Groq(msgspec.Struct):
    """Groq's place for what others tell in the chunk itself."""

    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class Chunk(msgspec.Struct):
    """A chunk of a stream."""

    object: str | None = None
    usage: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT
    choices: list[Choice] | None = None
    x_groq: Groq | None = None


class Begun(msgspec.Struct):
    """One choice, where it is asked whether it shows anything."""

    delta: dict[str, msgspec.Raw] | None = None
    finish_reason: str | None = None
    text: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT


class Beginning(msgspec.Struct):
    """A chunk, where it is asked whether it shows anything."""

    choices: list[Begun] | None = None


class PromptDetails(msgspec.Struct):
    """What the prompt held."""

    audio_tokens: _Count | None = None
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None  # Alibaba's


class CompletionDetails(msgspec.Struct):
    """What the completion held."""

    audio_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None


class Usage(msgspec.Struct):
    """The usage object, with all that others add to it."""

    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    total_tokens: _Count | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: _Count | None = None
    cached_tokens: _Count | None = None
    reasoning_tokens: _Count | None = None
    citation_tokens: _Count | None = None
    num_search_queries: _Count | None = None
