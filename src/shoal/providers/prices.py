"""List prices and context windows of well-known models, from genai-prices: data that others keep well.

They are read in a process of their own that ends with the answer, since 2,000 models of theirs would stay in memory for a few of ours.
What comes back is compact: only the providers asked for, rates in pico-USD, names to match against.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.core.money import Price, Tier, pico_per_token
from shoal.core.usage import service_tier

if TYPE_CHECKING:
    from genai_prices import types

_DAY_S = 86_400


class Clause(msgspec.Struct, frozen=True, array_like=True):
    """Which names mean a model: `kind` is starts_with, ends_with, contains, regex, equals (of `text`), or, and (of `of`)."""

    kind: str
    text: str = ""
    of: "tuple[Clause, ...]" = ()

    def matches(self, name: str) -> bool:
        """Whether a name, in lower case, is meant."""
        match self.kind:
            case "equals":
                return name == self.text
            case "starts_with":
                return name.startswith(self.text)
            case "ends_with":
                return name.endswith(self.text)
            case "contains":
                return self.text in name
            case "regex":
                import re

                return re.search(self.text, name) is not None
            case "or":
                return any(one.matches(name) for one in self.of)
            case _:
                return all(one.matches(name) for one in self.of)


class Rate(msgspec.Struct, frozen=True, array_like=True):
    """A price and when it holds: from `since_s` (seconds since 1970) on, or between two times of the day (seconds since midnight, UTC)."""

    price: Price
    since_s: float | None = None
    daily: tuple[int, int] | None = None

    def holds(self, now_s: float) -> bool:
        """Whether this price is asked now."""
        if self.daily is not None:
            start, end = self.daily
            time = now_s % _DAY_S
            return start <= time < end if start <= end else time >= start or time < end
        return self.since_s is None or now_s >= self.since_s


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """One model of a price list. `names` mean it exactly, `clause` otherwise; of its rates the last that holds counts."""

    id: str
    names: tuple[str, ...]
    clause: Clause | None
    rates: tuple[Rate, ...]
    context_tokens: int | None = None
    deprecated: bool = False
    borrowed: bool = False
    """It is another provider's: priced here, but not known to be served."""

    @property
    def called(self) -> str | None:
        """A name that means it: its id, where that does, else the first that is known; None where only beginnings of names are."""
        plain = self.id.lower()
        if plain in self.names or (self.clause is not None and self.clause.matches(plain)):
            return self.id
        return self.names[0] if self.names else None

    def price(self, now_s: float) -> Price | None:
        """What it costs now."""
        holding = [rate.price for rate in self.rates if rate.holds(now_s)]
        return holding[-1] if holding else (self.rates[0].price if self.rates else None)


class PriceList:
    """The models of one provider, found by whatever name they go by. Of two that match, the first in the list counts."""

    def __init__(self, models: Sequence[Listed] = ()) -> None:
        self.models = models
        self._exact: dict[str, int] = {}
        self._loose = [(place, one, one.clause) for place, one in enumerate(models) if one.clause is not None]
        for place, one in enumerate(models):
            for name in one.names:
                self._exact.setdefault(name, place)

    def find(self, name: str) -> Listed | None:
        """The model that a name means."""
        name = name.lower()
        place = self._exact.get(name, len(self.models))
        loose = next((one for number, one, clause in self._loose if number < place and clause.matches(name)), None)
        return loose or (self.models[place] if place < len(self.models) else None)


class Answer(msgspec.Struct, frozen=True):
    """What the other process says: lists by provider, and prices (or why there is none) by `provider/model`."""

    lists: dict[str, tuple[Listed, ...]] = {}
    prices: dict[str, Price | str] = {}


class UnknownPrice(Exception):
    """No list price is known; the message says for what."""


def ask(providers: Sequence[str] = (), names: Sequence[str] = ()) -> Answer:
    """The price lists of providers (ids of genai-prices) and the prices of `provider/model`. Blocks for a second, if anything is asked."""
    if not providers and not names:
        return Answer()
    question = msgspec.json.encode({"providers": sorted({*providers}), "names": sorted({*names})})
    done = subprocess.run([sys.executable, "-m", __name__], input=question, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=Answer)


def read_lists(providers: Sequence[str]) -> dict[str, PriceList]:
    """The price lists of providers, by their ids in genai-prices."""
    return {name: PriceList(models) for name, models in ask(providers=providers).lists.items()}


def look_up(names: Sequence[str]) -> dict[str, Price | str]:
    """For each `provider/model` its list price, or why none is known."""
    return ask(names=names).prices


def find_price(name: str) -> Price:
    """The list price of `provider/model`, for example openai/gpt-4o. Errors: UnknownPrice."""
    from datetime import UTC, datetime

    from genai_prices import data_snapshot

    provider, _, model = name.partition("/")
    try:
        _, found = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError as error:
        raise UnknownPrice(f"no list price is known for {name!r}: {error}") from None
    price = _listed(found, False).price(datetime.now(UTC).timestamp())
    if price is None:
        raise UnknownPrice(f"the list price of {name!r} is not a rate per token; give price = {{input = ..., output = ...}}")
    return price


def find_list(provider: str) -> tuple[Listed, ...]:
    """A provider's own models and, after them, those of the providers whose models it serves. Errors: LookupError."""
    from genai_prices import data_snapshot

    snapshot = data_snapshot.get_snapshot()
    own = snapshot.find_provider(None, provider, None)
    borrowed = [one for other in own.fallback_model_providers or () for one in snapshot.find_provider(None, other, None).models]
    return (*(_listed(one, False) for one in own.models), *(_listed(one, True) for one in borrowed))


def _listed(model: "types.ModelInfo", borrowed: bool) -> Listed:
    clause = _clause(model.match)
    parts = clause.of if clause.kind == "or" else (clause,)
    names = tuple(one.text for one in parts if one.kind == "equals")
    loose = tuple(one for one in parts if one.kind != "equals")
    return Listed(
        id=model.id,
        names=names,
        clause=Clause("or", of=loose) if loose else None,
        rates=tuple(_rates(model)),
        context_tokens=model.context_window,
        deprecated=bool(model.deprecated),
        borrowed=borrowed,
    )


def _clause(match: Any) -> Clause:
    (kind,) = (name for name in ("starts_with", "ends_with", "contains", "regex", "equals", "or_", "and_") if hasattr(match, name))
    value = getattr(match, kind)
    if isinstance(value, str):
        return Clause(kind, value if kind == "regex" else value.lower())
    return Clause(kind.rstrip("_"), of=tuple(_clause(one) for one in value))


def _rates(model: "types.ModelInfo") -> Iterator[Rate]:
    """The prices of a model in the order of their begin, those of its service tiers with them; of times of the day it has none of those."""
    prices: list[Any] = model.prices if isinstance(model.prices, list) else [model.prices]
    if model.price_variants and not any(hasattr(getattr(one, "constraint", None), "start_time") for one in prices):
        yield from _dated_rates(model, [*prices, *model.price_variants])
        return
    for one in prices:
        price = _price(getattr(one, "prices", one))
        constraint = getattr(one, "constraint", None)
        if price is None:
            continue
        if constraint is None:
            yield Rate(price)
        elif hasattr(constraint, "start_date"):
            from datetime import UTC, datetime, time

            yield Rate(price, since_s=datetime.combine(constraint.start_date, time(), UTC).timestamp())
        else:
            yield Rate(price, daily=(_seconds(constraint.start_time), _seconds(constraint.end_time)))


_TIERS = ("service_tier", "speed")
"""By what genai-prices tells apart how an answer was made: OpenAI's and Google's word, and Anthropic's."""


def _dated_rates(model: "types.ModelInfo", constrained: Sequence[Any]) -> Iterator[Rate]:
    from datetime import UTC, datetime, time

    dates = {one.constraint.start_date for one in constrained if getattr(one, "constraint", None) is not None}
    starts = [datetime.fromtimestamp(0, UTC), *(datetime.combine(date, time(), UTC) for date in sorted(dates))]
    for start in starts:
        active = [one for one in model.price_variants or () if one.constraint is None or one.constraint.active(start)]
        named = {(key, word) for one in active for key, word in one.when.items() if key in _TIERS and len(one.when) == 1}
        price = _price(model.get_prices(start))
        if price is not None:
            tiers = {word: _price(model.get_prices(start, {key: word})) for key, word in sorted(named) if service_tier(word)}
            known = {word: tier for word, tier in tiers.items() if tier is not None}
            yield Rate(msgspec.structs.replace(price, service_tiers=known), since_s=start.timestamp() or None)


def _seconds(time: Any) -> int:
    """Seconds since midnight, UTC."""
    offset = time.utcoffset()
    return int(time.hour * 3600 + time.minute * 60 + time.second - (offset.total_seconds() if offset else 0)) % _DAY_S


_RATES = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok")
_ODD = {
    "input_audio_mtok": "audio_input_pico",
    "cache_audio_read_mtok": "audio_cache_read_pico",
    "output_audio_mtok": "audio_output_pico",
    "output_reasoning_mtok": "reasoning_pico",
    "output_citation_mtok": "citation_pico",
}
_KCOUNTS = {"requests_kcount": "request_pico", "web_searches_kcount": "web_search_pico"}


def _price(listed: Any) -> Price | None:
    """A price with its tiers. A rate that is not listed is that of the wider unit, as genai-prices counts: cached tokens are input.

    None: what is sold are not tokens.
    """
    known = {name: getattr(listed, name) for name in _RATES if getattr(listed, name) is not None}
    if not known.keys() & {"input_mtok", "output_mtok"}:
        return None
    starts = sorted({tier.start for rate in known.values() for tier in getattr(rate, "tiers", ())})
    plain = _rates_at(known, 0)
    tiers = tuple(Tier(start, *_rates_at(known, start + 1)) for start in starts)
    odd = {ours: pico_per_token(str(_at(rate, 0))) for name, ours in _ODD.items() if (rate := getattr(listed, name)) is not None}
    counted = {ours: _pico_each(rate) for name, ours in _KCOUNTS.items() if (rate := getattr(listed, name)) is not None}
    return msgspec.structs.replace(Price(*plain[:4], tiers=tiers, cache_write_1h_pico=plain[4]), **odd, **counted)


def _pico_each(usd_per_thousand: Decimal) -> int:
    """Pico-USD for one of what is sold by the thousand."""
    return pico_per_token(str(Decimal(str(usd_per_thousand)) * 1000))


def _at(rate: Any, tokens: int) -> Decimal:
    """A rate for a request that reads so many tokens."""
    if not hasattr(rate, "tiers"):
        return Decimal(str(rate))
    reached = [tier.price for tier in rate.tiers if tokens > tier.start]
    return Decimal(str(reached[-1] if reached else rate.base))


def _rates_at(known: Mapping[str, Any], tokens: int) -> tuple[int, int, int, int, int]:
    """Pico-USD a token for input, output, cache reads, cache writes and those for an hour, of a request that reads so many tokens."""
    read, written = (_at(known.get(name, 0), tokens) for name in _RATES[:2])
    cache_read, cache_write = (_at(known[name], tokens) if name in known else read for name in _RATES[2:4])
    longer = _at(known[_RATES[4]], tokens) if _RATES[4] in known else cache_write
    rates = [pico_per_token(str(rate)) for rate in (read, written, cache_read, cache_write, longer)]
    return rates[0], rates[1], rates[2], rates[3], rates[4]


def main() -> None:
    """Run as a program: a question on stdin, an Answer on stdout. A provider that genai-prices does not have is left out."""
    question = msgspec.json.decode(sys.stdin.buffer.read())
    lists: dict[str, tuple[Listed, ...]] = {}
    prices: dict[str, Price | str] = {}
    for provider in question["providers"]:
        try:
            lists[provider] = find_list(provider)
        except LookupError as error:
            print(f"shoal: no list prices: {error}", file=sys.stderr)
    for name in question["names"]:
        try:
            prices[name] = find_price(name)
        except UnknownPrice as error:
            prices[name] = str(error)
    sys.stdout.buffer.write(msgspec.json.encode(Answer(lists, prices)))


if __name__ == "__main__":
    main()
