"""List prices of well-known models, from genai-prices: data that others keep well.

They are looked up in a process of their own that ends with the answer, since 2,000 models would stay in memory for a handful of numbers.
"""

import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from shoal.core.money import Price, pico_per_token


class UnknownPrice(Exception):
    """No list price is known; the message says for what."""


def look_up(names: Sequence[str]) -> dict[str, Price | str]:
    """For each `provider/model` its list price, or why none is known. Blocks for about a second; at once when there are no names."""
    if not names:
        return {}
    done = subprocess.run([sys.executable, "-m", __name__, *names], stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=dict[str, Price | str])


def find_price(name: str) -> Price:
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


def main() -> None:
    """Run as a program: a JSON object of prices, or of reasons why there are none."""
    out: dict[str, Price | str] = {}
    for name in sys.argv[1:]:
        try:
            out[name] = find_price(name)
        except UnknownPrice as error:
            out[name] = str(error)
    sys.stdout.buffer.write(msgspec.json.encode(out))


if __name__ == "__main__":
    main()
