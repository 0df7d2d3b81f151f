"""Tokens used by one answer. None means "not reported", which is not the same as 0."""

from typing import Literal

import msgspec

from shoal.core.money import Price, nano_from_pico


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts. `input` includes cache reads and writes, `output` includes reasoning, as in OpenAI's usage object.

    `billed_input` and `billed_output` are what an upstream says it charges for where that is not what it counts (Cohere);
    `searches` what a ranking used, where searches are sold and not tokens. `cache_write_1h` is the part of `cache_write` that stays for
    an hour, where that costs more.
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


def charge(usage: Usage, price: Price | None) -> int | None:
    """Nano-USD for `usage` at `price`; None when the price, a needed rate or a needed count is unknown, or counts contradict each other.

    Billed counts, where an upstream tells them, come at the plain rates: it has taken off already what it does not charge.
    """
    if price is None:
        return None
    if usage.searches is not None:
        return None if price.search_pico is None else nano_from_pico(usage.searches * price.search_pico)
    if usage.billed_input is not None:
        return nano_from_pico(usage.billed_input * price.input_pico + (usage.billed_output or 0) * price.output_pico)
    if usage.input is None:
        return None
    rates = price.at(usage.input) if price.tiers else price
    read, write = usage.cache_read or 0, usage.cache_write or 0
    longer = usage.cache_write_1h or 0
    if read + write > usage.input or longer > write:
        return None
    if (read and rates.cache_read_pico is None) or (write > longer and rates.cache_write_pico is None):
        return None
    if longer and rates.cache_write_1h_pico is None:
        return None
    pico = (usage.input - read - write) * rates.input_pico + (usage.output or 0) * rates.output_pico
    pico += read * (rates.cache_read_pico or 0) + (write - longer) * (rates.cache_write_pico or 0)
    pico += longer * (rates.cache_write_1h_pico or 0)
    return nano_from_pico(pico)
