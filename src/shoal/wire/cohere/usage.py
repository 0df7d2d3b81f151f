"""Cohere's counts. `tokens` is what the model read and wrote, with Cohere's own preamble; `billed_units` is what Cohere charges for.

We report the former, since only there do the cached tokens belong, and charge by the latter.
https://docs.cohere.com/docs/how-does-cohere-pricing-work
"""

import msgspec

from shoal.core.usage import Usage


class Units(msgspec.Struct):
    """Tokens in and out, and searches; Cohere writes them as floats."""

    input_tokens: float | None = None
    output_tokens: float | None = None
    search_units: float | None = None


class Counts(msgspec.Struct):
    """The usage of a chat, and the `meta` of embeddings and rankings."""

    billed_units: Units | None = None
    tokens: Units | None = None
    cached_tokens: float | None = None


def read_usage(seen: Counts | None) -> Usage:
    """Counts as ours; searches are charged where no tokens are (a ranking)."""
    if seen is None:
        return Usage()
    billed = seen.billed_units or Units()
    counted = seen.tokens or billed
    return Usage(
        input=_whole(counted.input_tokens),
        output=_whole(counted.output_tokens),
        cache_read=_whole(seen.cached_tokens),
        billed_input=_whole(billed.input_tokens),
        billed_output=_whole(billed.output_tokens),
        searches=_whole(billed.search_units) if billed.input_tokens is None else None,
    )


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)
