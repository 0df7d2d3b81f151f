"""OpenAI's usage object (https://platform.openai.com/docs/api-reference/chat/object), to and from what was used.

Others report caches in places of their own: DeepSeek `prompt_cache_hit_tokens`, Moonshot `cached_tokens`, OpenRouter `cache_write_tokens`.
xAI counts thought beside `completion_tokens` and not in it, which its total gives away; Perplexity thought and what it cites, with what
it looked up (https://docs.perplexity.ai/api-reference/chat-completions-post).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from shoal.core.chat import members_of
from shoal.core.usage import Usage, service_tier
from shoal.wire.openai_chat import shapes

_usage = msgspec.json.Decoder(shapes.Usage)


def tier_of(raw: bytes | msgspec.Raw) -> str | None:
    """The `service_tier` of an answer; None where it is the standard one, or none is told."""
    word = bytes(raw)
    return service_tier(word[1:-1].decode("utf-8", "replace")) if word[:1] == b'"' else None


def read(raw: bytes | msgspec.Raw, tier: bytes | msgspec.Raw = b"null") -> Usage | None:
    """Usage from OpenAI's usage object, and the `service_tier` beside it; None when it does not have that shape."""
    try:
        seen = _usage.decode(raw)
    except msgspec.ValidationError:
        return None
    prompt, completion, output = seen.prompt_tokens_details, seen.completion_tokens_details, seen.completion_tokens
    reasoning = None if completion is None else completion.reasoning_tokens
    cached = None if prompt is None else prompt.cached_tokens
    if cached is None:
        cached = seen.cached_tokens if seen.prompt_cache_hit_tokens is None else seen.prompt_cache_hit_tokens
    if reasoning and output is not None and seen.total_tokens == (seen.prompt_tokens or 0) + output + reasoning:
        output += reasoning
    cited, searches = seen.citation_tokens, seen.num_search_queries
    if output is not None and (cited is not None or searches is not None):
        reasoning = seen.reasoning_tokens
        output += (reasoning or 0) + (cited or 0)
    written = None if prompt is None else prompt.cache_write_tokens
    if written is None and prompt is not None:
        written = prompt.cache_creation_input_tokens
    return Usage(
        seen.prompt_tokens,
        output,
        cached,
        written,
        reasoning,
        audio_input=None if prompt is None else prompt.audio_tokens,
        audio_output=None if completion is None else completion.audio_tokens,
        web_searches=searches,
        citations=cited,
        service_tier=tier_of(tier),
    )


def read_first(places: Iterable[msgspec.Raw], tier: bytes | msgspec.Raw = b"null") -> Usage | None:
    """Usage from the first of the places where it is told, and the `service_tier` of the answer."""
    return next((used for raw in places if bytes(raw) != b"null" and (used := read(raw, tier)) is not None), None)


def add_cost(raw: bytes, cost: str | None) -> bytes:
    """A usage object with `cost` (a JSON number, None unknown) as its last member; an upstream's own cost stays, as `upstream_cost`.

    Perplexity tells its cost as an object, OpenRouter as a number.
    """
    if b'"cost"' in raw:
        members = members_of(raw)
        if (theirs := members.pop("cost", None)) is not None:
            raw = msgspec.json.encode(members | {"upstream_cost": theirs})
    return b'%b,"cost":%b}' % (raw[:-1], (cost or "null").encode())


def write(usage: Usage) -> dict[str, Any] | None:
    """OpenAI's usage object; None when no tokens were reported at all."""
    if usage.input is None and usage.output is None:
        return None
    out: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": None if usage.input is None or usage.output is None else usage.input + usage.output,
    }
    details = {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write, "audio_tokens": usage.audio_input}
    if any(count is not None for count in details.values()):
        out["prompt_tokens_details"] = {name: count for name, count in details.items() if count is not None}
    details = {"reasoning_tokens": usage.reasoning, "audio_tokens": usage.audio_output}
    if any(count is not None for count in details.values()):
        out["completion_tokens_details"] = {name: count for name, count in details.items() if count is not None}
    return out
