"""Token counts in the words of the Responses API."""

from typing import Annotated, Any

import msgspec

from shoal.core.usage import Usage
from shoal.wire.openai_chat.usage import tier_of

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _InputDetails(msgspec.Struct):
    cached_tokens: _Count | None = None
    cache_write_tokens: _Count | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


_usage = msgspec.json.Decoder(_Usage | None)


def read(raw: bytes | msgspec.Raw, tier: bytes | msgspec.Raw = b"null") -> Usage | None:
    """Usage from a response's object, and the `service_tier` beside it; None when there is none, or it has another shape."""
    try:
        seen = _usage.decode(raw)
    except msgspec.ValidationError:
        return None
    if seen is None:
        return None
    inside, outside = seen.input_tokens_details or _InputDetails(), seen.output_tokens_details or _OutputDetails()
    return Usage(
        input=seen.input_tokens,
        output=seen.output_tokens,
        cache_read=inside.cached_tokens,
        cache_write=inside.cache_write_tokens,
        reasoning=outside.reasoning_tokens,
        service_tier=tier_of(tier),
    )


def write(usage: Usage) -> dict[str, Any] | None:
    """The usage object; None where nothing was reported. All its members must be numbers: a count missing beside others is 0."""
    if usage.input is None and usage.output is None:
        return None
    into, out = usage.input or 0, usage.output or 0
    return {
        "input_tokens": into,
        "input_tokens_details": {"cached_tokens": usage.cache_read or 0, "cache_write_tokens": usage.cache_write or 0},
        "output_tokens": out,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": into + out,
    }
