"""List prices of well-known models, from genai-prices: data that others keep well. Imported only where a configuration asks for it."""

from decimal import Decimal

from shoal.core.money import Price, pico_per_token


class UnknownPrice(Exception):
    """No list price is known; the message says for what."""


def price_like(name: str) -> Price:
    """The list price of `provider/model`, for example openai/gpt-4o. Errors: UnknownPrice."""
    from genai_prices import data_snapshot

    provider, _, model = name.partition("/")
    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError as error:
        raise UnknownPrice(f"no list price is known for {name!r}: {error}") from None
    listed = found.prices if not isinstance(found.prices, list) else found.prices[-1].prices
    read, written = _flat(listed.input_mtok), _flat(listed.output_mtok)
    if read is None:
        raise UnknownPrice(f"the list price of {name!r} is not a single rate per token; give price = {{input = ..., output = ...}}")
    return Price(
        input_pico=pico_per_token(str(read)),
        output_pico=pico_per_token(str(written or 0)),
        cache_read_pico=_optional(_flat(listed.cache_read_mtok)),
        cache_write_pico=_optional(_flat(listed.cache_write_mtok)),
    )


def _flat(rate: object) -> Decimal | None:
    return Decimal(str(rate)) if isinstance(rate, Decimal | int | float) else None


def _optional(rate: Decimal | None) -> int | None:
    return None if rate is None else pico_per_token(str(rate))
