"""Money is integers: prices in pico-USD a token, amounts in nano-USD. Nothing is rounded but once, up, in `charge`."""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import msgspec

NANO_PER_USD = 1_000_000_000
PICO_PER_NANO = 1_000


class Tier(msgspec.Struct, frozen=True):
    """The rates of a request that reads more than `above_tokens`: they hold for all of its tokens, not only for those above."""

    above_tokens: int
    input_pico: int
    output_pico: int
    cache_read_pico: int | None = None
    cache_write_pico: int | None = None
    cache_write_1h_pico: int | None = None


class Price(msgspec.Struct, frozen=True):
    """What a deployment asks, in pico-USD a token, or a search where rankings are sold. A rate that is None is not known (never free).

    `tiers` are the rates of long requests; `cache_write_1h_pico` that of what stays in a prompt cache for an hour. Speech, thought and
    quotes cost what other tokens do where the last ones are None. `request_pico` is asked once, `web_search_pico` for every search.
    `service_tiers` are the prices of answers that were hurried or could wait (priority, flex, ...), as far as they are known.
    """

    input_pico: int
    output_pico: int
    cache_read_pico: int | None = None
    cache_write_pico: int | None = None
    search_pico: int | None = None
    tiers: tuple[Tier, ...] = ()
    cache_write_1h_pico: int | None = None
    request_pico: int = 0
    web_search_pico: int | None = None
    audio_input_pico: int | None = None
    audio_cache_read_pico: int | None = None
    audio_output_pico: int | None = None
    reasoning_pico: int | None = None
    citation_pico: int | None = None
    service_tiers: Mapping[str, "Price"] = {}

    @property
    def is_plain(self) -> bool:
        """Whether speech, thought and quotes cost what other tokens do."""
        return (
            self.reasoning_pico is None
            and self.audio_input_pico is None
            and self.audio_output_pico is None
            and self.audio_cache_read_pico is None
            and self.citation_pico is None
        )

    def at(self, input_tokens: int) -> "Price | Tier":
        """The rates of a request that reads so many tokens; tiers are in ascending order."""
        rates: Price | Tier = self
        for tier in self.tiers:
            if input_tokens > tier.above_tokens:
                rates = tier
        return rates


def pico_per_token(usd_per_million: float | str) -> int:
    """Pico-USD a token from the customary USD per million tokens: 1 USD/M is 1,000,000 pico-USD a token."""
    return int((Decimal(str(usd_per_million)) * 1_000_000).to_integral_value(ROUND_HALF_EVEN))


def nano_from_pico(pico: int) -> int:
    """Nano-USD, rounded up: an amount that is owed is never less than what was used."""
    return -(-pico // PICO_PER_NANO)


def nano_from_usd(text: str) -> int:
    """Nano-USD from an amount as it is written: digits, and a point. Errors: ValueError, also where there are more than nine decimals."""
    try:
        amount = Decimal(text) * NANO_PER_USD
    except InvalidOperation:
        raise ValueError(f"{text[:40]!r} is no amount of USD, such as 5.00") from None
    if not amount.is_finite() or amount != amount.to_integral_value() or not 0 <= amount <= 10**18:
        raise ValueError(f"{text[:40]!r} is no amount of USD from 0 to 1,000,000,000 with at most nine decimals")
    return int(amount)


def usd_text(nano: int) -> str:
    """An amount of nano-USD as a plain decimal USD number, without exponent or trailing zeros: 1500 -> '0.0000015'."""
    whole, part = divmod(abs(nano), NANO_PER_USD)
    digits = f"{part:09d}".rstrip("0")
    return f"{'-' if nano < 0 else ''}{whole}{'.' + digits if digits else ''}"
