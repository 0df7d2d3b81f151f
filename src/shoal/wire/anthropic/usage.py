"""Anthropic's usage object, to and from what was used. It counts input without what the cache took or gave: that is added here.

https://platform.claude.com/docs/en/build-with-claude/prompt-caching#tracking-cache-performance
"""

from typing import Annotated, Any

import msgspec

from shoal.core.usage import Usage, service_tier

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _Creation(msgspec.Struct):
    ephemeral_1h_input_tokens: _Count | None = None


class _Details(msgspec.Struct):
    thinking_tokens: _Count | None = None


class _Tools(msgspec.Struct):
    web_search_requests: _Count | None = None


class _Iteration(msgspec.Struct):
    """One of the times that the model was asked. Only a summary of the conversation so far is not in the counts of the whole.

    https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage
    """

    type: str | None = None
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None


class Counts(msgspec.Struct):
    """The counts of a usage object; in a stream a later one replaces what it names."""

    input_tokens: _Count | None = None
    output_tokens: _Count | None = None
    cache_read_input_tokens: _Count | None = None
    cache_creation_input_tokens: _Count | None = None
    cache_creation: _Creation | None = None
    output_tokens_details: _Details | None = None
    server_tool_use: _Tools | None = None
    iterations: list[_Iteration] | None = None
    service_tier: str | None = None
    speed: str | None = None  # https://platform.claude.com/docs/en/build-with-claude/fast-mode

    def merged(self, later: "Counts") -> "Counts":
        """These counts, with those that `later` names in their place."""
        named = {name: value for name in self.__struct_fields__ if (value := getattr(later, name)) is not None}
        return msgspec.structs.replace(self, **named)

    def usage(self) -> Usage:
        """What was used; input is unknown where it was not counted, whatever the cache did."""
        fresh, output, read, write = self.input_tokens, self.output_tokens, self.cache_read_input_tokens, self.cache_creation_input_tokens
        for one in self.iterations or ():
            if one.type == "compaction":
                read, write = _sum(read, one.cache_read_input_tokens), _sum(write, one.cache_creation_input_tokens)
                fresh = None if fresh is None else fresh + one.input_tokens
                output = None if output is None else output + one.output_tokens
        return Usage(
            input=None if fresh is None else fresh + (read or 0) + (write or 0),
            output=output,
            cache_read=read,
            cache_write=write,
            reasoning=self.output_tokens_details.thinking_tokens if self.output_tokens_details else None,
            cache_write_1h=self.cache_creation.ephemeral_1h_input_tokens if self.cache_creation else None,
            web_searches=self.server_tool_use.web_search_requests if self.server_tool_use else None,
            service_tier=service_tier(self.service_tier) or service_tier(self.speed),
        )


def _sum(*counts: int | None) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


_decoder = msgspec.json.Decoder(Counts)


def read(raw: bytes) -> Counts:
    """Counts from a usage object; none where it does not have that shape."""
    try:
        return _decoder.decode(raw) or Counts()
    except msgspec.ValidationError:
        return Counts()


def write(usage: Usage) -> dict[str, Any]:
    """The usage object; what is not known is null, and what the caches did is left out where they were not used."""
    read, write = usage.cache_read, usage.cache_write
    out: dict[str, Any] = {
        "input_tokens": None if usage.input is None else max(0, usage.input - (read or 0) - (write or 0)),
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
    }
    if write is not None and usage.cache_write_1h is not None:
        hour = min(usage.cache_write_1h, write)
        out["cache_creation"] = {"ephemeral_5m_input_tokens": write - hour, "ephemeral_1h_input_tokens": hour}
    out["output_tokens"] = usage.output
    if usage.reasoning is not None:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return out
