"""Tokens used by one answer. None means "not reported", which is not the same as 0."""

from typing import Literal

import msgspec

from shoal.core.money import Price, nano_from_pico


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Token counts. `input` includes cache reads and writes, `output` includes reasoning, as in OpenAI's usage object."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    source: Literal["reported", "estimated"] = "reported"


def charge(usage: Usage, price: Price | None) -> int | None:
    """Nano-USD for `usage` at `price`; None when the price, a needed rate or a needed count is unknown, or counts contradict each other."""
    if price is None or usage.input is None:
        return None
    read, write = usage.cache_read or 0, usage.cache_write or 0
    if read + write > usage.input:
        return None
    if (read and price.cache_read_pico is None) or (write and price.cache_write_pico is None):
        return None
    pico = (usage.input - read - write) * price.input_pico + (usage.output or 0) * price.output_pico
    pico += read * (price.cache_read_pico or 0) + write * (price.cache_write_pico or 0)
    return nano_from_pico(pico)
