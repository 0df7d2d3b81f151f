"""Tokens used by one answer. None means "not reported", which is not the same as 0."""

from typing import Literal

import msgspec

from shoal.core.money import Price, Tier, nano_from_pico


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts. `input` includes cache reads and writes, `output` includes reasoning, as in OpenAI's usage object.

    `billed_input` and `billed_output` are what an upstream says it charges for where that is not what it counts (Cohere);
    `searches` what a ranking used, where searches are sold and not tokens. `cache_write_1h` is the part of `cache_write` that stays for
    an hour, where that costs more; `audio_input`, `audio_cache_read` and `audio_output` are the parts of the counts that are speech.
    `web_searches` are what the upstream's own tools looked up, `citations` the part of `output` that quotes it. `service_tier` is how the
    answer was made where that was not the standard way, in the upstream's words: flex, priority, ...
    """

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    source: Literal["reported", "estimated"] = "reported"
    billed_input: int | None = None
    billed_output: int | None = None
    searches: int | None = None
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_cache_read: int | None = None
    audio_output: int | None = None
    web_searches: int | None = None
    citations: int | None = None
    service_tier: str | None = None


_STANDARD = frozenset({"", "default", "standard", "auto", "on_demand"})


def service_tier(word: str | None) -> str | None:
    """A service tier as an upstream names it; None where it is the standard one."""
    named = (word or "").lower()
    return None if named in _STANDARD else named


def charge(usage: Usage, price: Price | None) -> int | None:
    """Nano-USD for `usage` at `price`; None when the price, a needed rate or a needed count is unknown, or counts contradict each other.

    Billed counts, where an upstream tells them, come at the plain rates: it has taken off already what it does not charge.
    """
    if price is not None and usage.service_tier is not None:
        price = price.service_tiers.get(usage.service_tier)
    if price is None:
        return None
    if usage.searches is not None:
        return None if price.search_pico is None else nano_from_pico(usage.searches * price.search_pico)
    if usage.billed_input is not None:
        return nano_from_pico(usage.billed_input * price.input_pico + (usage.billed_output or 0) * price.output_pico)
    if usage.input is None:
        return None
    rates = price.at(usage.input) if price.tiers else price
    read, write, searches = usage.cache_read or 0, usage.cache_write or 0, usage.web_searches or 0
    longer = usage.cache_write_1h or 0
    if read + write > usage.input or longer > write:
        return None
    if (read and rates.cache_read_pico is None) or (write > longer and rates.cache_write_pico is None):
        return None
    if (longer and rates.cache_write_1h_pico is None) or (searches and price.web_search_pico is None):
        return None
    odd = 0 if price.is_plain else _odd(usage, price, rates)
    if odd is None:
        return None
    pico = (usage.input - read - write) * rates.input_pico + (usage.output or 0) * rates.output_pico
    pico += read * (rates.cache_read_pico or 0) + (write - longer) * (rates.cache_write_pico or 0)
    pico += longer * (rates.cache_write_1h_pico or 0)
    return nano_from_pico(pico + odd + price.request_pico + searches * (price.web_search_pico or 0))


def _odd(usage: Usage, price: Price, rates: Price | Tier) -> int | None:
    """What speech, thought and quotes cost more (or less) than what they were counted with, in pico-USD; None when counts contradict."""
    read, cached = usage.cache_read or 0, usage.audio_cache_read or 0
    parts = (  # how many, of how many, at which price, and counted at which
        ((usage.audio_input or 0) - cached, (usage.input or 0) - read, price.audio_input_pico, rates.input_pico),
        (cached, read, price.audio_cache_read_pico, rates.cache_read_pico or 0),
        (usage.audio_output or 0, usage.output or 0, price.audio_output_pico, rates.output_pico),
        (usage.reasoning or 0, usage.output or 0, price.reasoning_pico, rates.output_pico),
        (usage.citations or 0, usage.output or 0, price.citation_pico, rates.output_pico),
    )
    pico = 0
    for count, of, own, counted in parts:
        if own is not None:
            if not 0 <= count <= of:
                return None
            pico += count * (own - counted)
    return pico
