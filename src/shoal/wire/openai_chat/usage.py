"""OpenAI's usage object (https://platform.openai.com/docs/api-reference/chat/object), to and from what was used."""

from typing import Annotated

import msgspec

from shoal.core.usage import Usage

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Count | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


_usage = msgspec.json.Decoder(_Usage)


def read(raw: bytes) -> Usage | None:
    """Usage from OpenAI's usage object; None when it does not have that shape."""
    try:
        seen = _usage.decode(raw)
    except msgspec.ValidationError:
        return None
    return Usage(
        input=seen.prompt_tokens,
        output=seen.completion_tokens,
        cache_read=seen.prompt_tokens_details.cached_tokens if seen.prompt_tokens_details else None,
        reasoning=seen.completion_tokens_details.reasoning_tokens if seen.completion_tokens_details else None,
    )
