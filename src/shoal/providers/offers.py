"""Who offers which model, and what is known of it there: its price now, its length, its abilities, what the provider speaks.

What a provider says it serves comes before what its price list names. All of it is remembered for the rest of the minute, since prices
may change with the time of day; only names that are asked for are worked out.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from shoal.core.models import Capabilities, Deployment
from shoal.core.money import Price
from shoal.providers.abilities import Traits, adjust, common_name, matches, short_name, traits_of
from shoal.providers.discovery import Discovery, Found
from shoal.providers.prices import Listed, PriceList
from shoal.providers.registry import Provider

_REMEMBERED_MAX = 20_000
_DATE = re.compile(r"-20\d{6}$")  # claude-sonnet-4-5-20250929 is called claude-sonnet-4-5, too


class Offers:
    """Everything that the providers within reach offer. `lists` are price lists by their ids in genai-prices, `clock` tells the time."""

    def __init__(
        self, providers: Mapping[str, Provider], lists: Mapping[str, PriceList], discovery: Discovery, clock: Callable[[], float]
    ) -> None:
        self.providers = providers
        self.reachable = {name: one for name, one in providers.items() if one.missing is None}
        self._lists = lists
        self._discovery = discovery
        self._clock = clock
        self._listed: dict[tuple[str, str], Listed | None] = {}
        self._known: dict[str, Deployment] = {}
        self._known_at = -1
        self._index: dict[str, list[tuple[str, str]]] = {}
        self._undated: dict[str, list[tuple[str, str]]] = {}
        self._index_of = -1
        self._traits: dict[tuple[str, str], Traits] = {}

    def refresh(self) -> bool:
        """Forget what may have changed; whether anything may have. Cheap: call it before every look."""
        minute, changed = int(self._clock() // 60), False
        if self._index_of != self._discovery.revision:
            self._index_of, self._index, changed = self._discovery.revision, self._build_index(), True
        if changed or minute != self._known_at:
            self._known_at, self._known, changed = minute, {}, True
        return changed

    def names(self, provider: str) -> Iterator[str]:
        """The models that a provider within reach is known to serve, by its own names for them."""
        found = self._discovery.models.get(provider)
        if found:
            yield from found
            return
        row = self.reachable[provider].row
        for model in self._list_of(provider).models:
            name = model.called if model.rates and not model.borrowed and not model.deprecated else None
            if name is not None and matches(short_name(name), row.listed):
                yield self._own_name(provider, name)

    def serving(self, model: str) -> list[tuple[str, str]]:
        """Providers that serve a model, and what each calls it: those that call it so first, each provider once."""
        alike = self._index.get(common_name(model), ())
        named = [pair for pair in alike if pair[1] == model]
        others = [pair for pair in alike if "/" not in model or pair[1].lower() == model.lower()]
        aliases = [(one, model) for one in self.reachable if self._is_alias(one, model)]
        undated = self._undated.get(common_name(model), ()) if "/" not in model else ()
        found: dict[str, tuple[str, str]] = {}
        for pair in (*named, *others, *aliases, *undated):
            found.setdefault(pair[0], pair)
        return list(found.values())

    def knows(self, provider: str, upstream_model: str) -> bool:
        """Whether a provider is known to serve a model by this name."""
        if self._discovery.models.get(provider):
            return self.found(provider, upstream_model) is not None
        listed = self.listed(provider, upstream_model)
        row = self.providers[provider].row
        return listed is not None and not listed.borrowed and matches(short_name(listed.id), row.listed)

    def deployment(self, provider: str, upstream_model: str, public: str) -> Deployment:
        """A model at a provider, under the name that callers use."""
        key = f"{provider}\n{upstream_model}\n{public}"
        known = self._known.get(key)
        if known is None:
            if len(self._known) > _REMEMBERED_MAX:
                self._known.clear()
            known = self._known[key] = self._make(self.providers[provider], upstream_model, public)
        return known

    def found(self, provider: str, upstream_model: str) -> Found | None:
        """What the provider itself says of a model."""
        return self._discovery.models.get(provider, {}).get(upstream_model)

    def listed(self, provider: str, upstream_model: str) -> Listed | None:
        """A model's place in its provider's price list."""
        key = (provider, upstream_model)
        if key not in self._listed:
            if len(self._listed) > _REMEMBERED_MAX:
                self._listed.clear()
            self._listed[key] = self._list_of(provider).find(upstream_model)
        return self._listed[key]

    def home_of(self, model: str) -> Provider | None:
        """The provider that makes a model, as far as its name tells."""
        name = short_name(model)
        return next((one for one in self.providers.values() if matches(name, one.row.makes)), None)

    def _make(self, provider: Provider, upstream_model: str, public: str) -> Deployment:
        row = provider.row
        traits = self._traits_of(provider, upstream_model)
        listed, found = self.listed(provider.name, upstream_model), self.found(provider.name, upstream_model)
        return Deployment(
            id=f"{provider.name}/{upstream_model}",
            model=public,
            provider=provider.name,
            upstream_model=upstream_model,
            price=self._price(listed, found),
            dialect=traits.dialect,
            capabilities=_combined(traits.capabilities, found, row.lacks),
            context_tokens=(found and found.context_tokens) or (listed and listed.context_tokens) or traits.context_tokens,
            max_output_tokens=(found and found.max_output_tokens) or traits.max_output_tokens,
            region=provider.values.get("region"),
            collects_data=row.collects_data,
            zero_retention=row.zero_retention,
            on_disconnect=row.on_disconnect,
            also=("openai_responses",) if "responses" in row.endpoints else (),
            endpoints=row.endpoints,
            deprecated=bool((listed and listed.deprecated) or (found and (found.deprecated or found.ends_on))),
            ends_on=found.ends_on if found else None,
        )

    def _traits_of(self, provider: Provider, upstream_model: str) -> Traits:
        """They never change, unlike prices."""
        key = (provider.name, upstream_model)
        if key not in self._traits:
            if len(self._traits) > _REMEMBERED_MAX:
                self._traits.clear()
            self._traits[key] = traits_of(upstream_model, provider.row)
        return self._traits[key]

    def _price(self, listed: Listed | None, found: Found | None) -> Price | None:
        """What the provider says now, unless only the list knows of rates for long requests."""
        price = listed.price(self._clock()) if listed is not None else None
        return found.price if found is not None and found.price is not None and not (price and price.tiers) else price

    def _list_of(self, provider: str) -> PriceList:
        return self._lists.get(self.providers[provider].row.prices or "", _NO_LIST)

    def _own_name(self, provider: str, listed: str) -> str:
        """A model of the price list as its provider's API calls it."""
        one = self.providers[provider]
        listed = listed.lower() if one.row.listed_lower else listed
        for old, new in one.row.listed_as.items():
            if listed.startswith(old):
                for name, value in one.values.items():
                    new = new.replace(f"{{{name}}}", value)
                return listed if new and listed.startswith(new) else new + listed.removeprefix(old)
        return listed

    def _is_alias(self, provider: str, model: str) -> bool:
        """Whether a provider's price list has another name for one of its own models, of a kind that callers may use."""
        return matches(short_name(model), self.reachable[provider].row.makes) and self.knows(provider, model)

    def _build_index(self) -> dict[str, list[tuple[str, str]]]:
        index: dict[str, list[tuple[str, str]]] = {}
        for provider in self.reachable:
            for name in self.names(provider):
                index.setdefault(common_name(name), []).append((provider, name))
        self._undated = {}
        for common, pairs in sorted(index.items(), reverse=True):  # of several dates the newest
            if _DATE.search(common):
                self._undated.setdefault(_DATE.sub("", common), pairs)
        return index

    def common_names(self) -> Iterator[list[tuple[str, str]]]:
        """Every model once, with all who serve it and what they call it."""
        return iter(self._index.values())


_NO_LIST = PriceList()


def _combined(capabilities: Capabilities, found: Found | None, lacks: tuple[str, ...]) -> Capabilities:
    """What the provider says of a model is better known than what its family lets expect; what it lacks altogether stays lacking."""
    if found is None or found.abilities is None:
        return capabilities
    has = [name for name, value in found.abilities.items() if value and name not in lacks]
    return adjust(capabilities, has, [name for name, value in found.abilities.items() if not value])
