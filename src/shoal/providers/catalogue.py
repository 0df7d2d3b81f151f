"""Which deployments a model's name stands for, and the list of all of them.

In this order: a name of the configuration, a model of the local process, `provider/model` exactly, and a bare name at every provider
within reach that serves it. A name that is none of these is answered with the variable that is not set, or with the nearest names. A model
of one organisation alone (a student) does not exist for another: whatever is asked, the answer is that of a name that nobody has.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from shoal.core.errors import Fault
from shoal.core.models import Capabilities, Deployment
from shoal.core.money import Price, Tier
from shoal.core.students import PREFIX, parse_name
from shoal.providers.configured import make_deployment
from shoal.providers.minnow import PROVIDER, Minnow
from shoal.providers.offers import Offers
from shoal.providers.options import ModelSettings

_SHOWN_MAX = 100
_REMEMBERED_MAX = 10_000
_NEAR = 24


class Pricing(msgspec.Struct, frozen=True, omit_defaults=True):
    """USD a token, as texts, so that no reader rounds them; in OpenRouter's words. None is not known."""

    prompt: str | None = None
    completion: str | None = None
    input_cache_read: str | None = None
    input_cache_write: str | None = None
    input_cache_write_1h: str | None = None
    above_tokens: int | None = None
    """Set in `tiers` alone: for requests that read more than this."""
    tiers: tuple["Pricing", ...] = ()


class Architecture(msgspec.Struct, frozen=True):
    """What goes in and what comes out."""

    input_modalities: tuple[str, ...]
    output_modalities: tuple[str, ...]


class Card(msgspec.Struct, frozen=True, omit_defaults=True):
    """One model as `GET /v1/models` shows it: OpenAI's members, and more. The price and the lengths are the first provider's."""

    id: str
    owned_by: str
    created: int = msgspec.field(default_factory=int)
    providers: tuple[str, ...] = ()
    pricing: Pricing | None = None
    context_length: int | None = None
    max_output_tokens: int | None = None
    capabilities: Capabilities = Capabilities()
    architecture: Architecture | None = None
    deprecated: bool = False
    expiration_date: str | None = None
    """OpenRouter's name for the day on which it ends."""


class Catalogue:
    """Names and what they stand for, as configured, as known, as discovered, and as the local process has loaded."""

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        like: Mapping[str, Price | str],
        offers: Offers,
        minnow: Minnow | None = None,
        local_names: Sequence[str] = (),
        started_s: int = 0,
    ) -> None:
        """`models` are the configuration's, `like` the prices that they name with price_like; `started_s` dates what has no date."""
        self._models = models
        self._like = like
        self._offers = offers
        self._minnow = minnow
        self._local_names = frozenset(local_names)
        self._started_s = started_s
        self._beside: Mapping[str, Deployment] = {}
        self._resolved: dict[str, tuple[Deployment, ...]] = {}
        self._cards: tuple[Card, ...] = ()
        self._students = False
        self._owned: dict[str, tuple[Deployment, ...]] = {}  # the names that are not for everybody

    def resolve(self, model: str, org_id: str = "") -> Sequence[Deployment]:
        """Deployments that can answer an organisation, best first; without one, those for everybody.

        Errors: Fault model_not_found, provider_not_configured, or not_ready.
        """
        self._refresh()
        known = self._resolved.get(model)
        if known is None:
            configured = self._configured(model)
            if configured is not None and not configured:
                raise self._unknown(model, org_id)
            known = self._resolved[model] = configured or self._local(model) or self._find(model, org_id)
        if not self._students or all(one.org_id is None for one in known):
            return known
        return tuple(one for one in known if one.is_for(org_id)) or self._find(model, org_id)

    async def look(self, names: Iterable[str]) -> None:
        """Ask the local process anew where one of these is a student's name that is not known: it may have come a moment ago."""
        if self._minnow is not None:
            students = [name.removeprefix(f"{PROVIDER}/") for name in names]
            if any(name.startswith(PREFIX) and name not in self._minnow.deployments and parse_name(name) for name in students):
                await self._minnow.look()

    def _refresh(self) -> None:
        beside = self._minnow.deployments if self._minnow else self._beside
        if self._offers.refresh() or beside is not self._beside or len(self._resolved) > _REMEMBERED_MAX:
            self._beside, self._resolved, self._cards = beside, {}, ()
            self._students = any(one.org_id is not None for one in beside.values())

    def _configured(self, model: str) -> tuple[Deployment, ...] | None:
        """Deployments of the configuration, or None: it does not name the model. Those of providers without a key are left out, and so are
        students that are not here. Errors: Fault when there are only providers without a key."""
        said = self._models.get(model)
        if said is None:
            return None
        there = [(number, one) for number, one in enumerate(said.deployments) if not self._is_away(one.provider, one.model or model)]
        if not there:
            return ()
        made = [make_deployment(model, number, one, self._offers, self._like, self._beside) for number, one in there]
        usable = tuple(one for one in made if one.local or self._offers.providers[one.provider].missing is None)
        if not usable:
            raise self._offers.providers[made[0].provider].fault()
        return usable

    def _is_away(self, provider: str, upstream_model: str) -> bool:
        """Whether a deployment is of a student that is not on this machine: whose it is cannot be told, so it is nobody's."""
        return provider == PROVIDER and upstream_model.startswith(PREFIX) and upstream_model not in self._beside

    def _local(self, model: str) -> tuple[Deployment, ...]:
        if self._minnow is None:
            return ()
        name = model.removeprefix(f"{PROVIDER}/")
        if name in self._beside:
            return (self._beside[name],)
        if not self._minnow.ready and (name in self._local_names or self._is_students(name)):
            raise Fault("not_ready", f"The model '{model}' is still being loaded; try again in a few seconds.", retry_after_s=2)
        return ()

    def _is_students(self, name: str) -> bool:
        """Whether a name can be of a student of our own models, and so of nobody else's: OpenAI's fine-tuned models are `ft:`, too."""
        student = parse_name(name) if name.startswith(PREFIX) else None
        return student is not None and (student.base == PROVIDER or student.base in self._local_names)

    def _find(self, model: str, org_id: str) -> tuple[Deployment, ...]:
        name, slash, rest = model.partition("/")
        if self._is_students(model) or (name == PROVIDER and rest.startswith(PREFIX)):  # the local process does not ask who wants it
            raise self._unknown(model, org_id)
        provider = self._offers.providers.get(name) if slash and rest else None
        serving = self._offers.serving(model)
        if provider is not None and provider.missing is None and (not serving or "/" in rest or self._offers.knows(name, rest)):
            return (self._offers.deployment(name, rest, model),)
        if serving:
            return tuple(self._offers.deployment(one, upstream_model, model) for one, upstream_model in serving)
        if provider is not None:
            raise provider.fault()
        home = None if slash else self._offers.home_of(model)
        if home is not None and home.missing is not None:
            raise home.fault()
        raise self._unknown(model, org_id)

    def _unknown(self, model: str, org_id: str) -> Fault:
        shown = model if len(model) <= _SHOWN_MAX else model[:_SHOWN_MAX] + "..."
        near = _nearest(model[: 2 * _SHOWN_MAX], [card.id for card in self.cards(org_id)])
        hint = f" Did you mean {' or '.join(repr(one) for one in near)}?" if near else ""
        if model.removeprefix(f"{PROVIDER}/").startswith(PREFIX):
            hint = f" A student is served by the machine that holds its files, to its own organisation.{hint}"
        text = f"The model {shown!r} does not exist or is not configured here.{hint} GET /v1/models lists what can be reached."
        return Fault("model_not_found", text, param="model")

    def listing(self) -> Iterator[tuple[str, str]]:
        """Every name that resolves, with the provider it belongs to, each once."""
        return ((card.id, card.owned_by) for card in self.cards())

    def cards(self, org_id: str = "") -> Sequence[Card]:
        """Every model that an organisation can reach, each once: configured, local, then those of the providers."""
        self._refresh()
        if not self._cards:
            own = {name: found for name in self._models if (found := self._usable(name))}
            own |= {name: (one,) for name, one in self._beside.items() if name not in self._models}
            self._owned = {name: found for name, found in own.items() if any(one.org_id is not None for one in found)}
            made = [_card(name, found, self._created(name)) for name, found in own.items()]
            self._cards = (*made, *(card for card in self._offered() if card.id not in own))
        if not self._owned:
            return self._cards
        return [card for card in self._cards if card.id not in self._owned or any(one.is_for(org_id) for one in self._owned[card.id])]

    def _created(self, name: str) -> int:
        local = self._minnow.models.get(name) if self._minnow is not None and name.startswith(PREFIX) else None
        return (local and local.created) or self._started_s

    def lists(self, model: str, org_id: str = "") -> bool:
        """Whether a model that the organisation knows goes by this very name, or by what follows its provider's."""
        names = (model, model.partition("/")[2])
        return any(card.id in names for card in self.cards(org_id))

    def _usable(self, model: str) -> tuple[Deployment, ...]:
        try:
            return self._configured(model) or ()
        except Fault:
            return ()

    def card(self, model: str, org_id: str = "") -> Card:
        """One model by any name that resolves for an organisation. Errors: Fault."""
        listed = next((card for card in self.cards(org_id) if card.id == model), None)
        return listed or _card(model, self.resolve(model, org_id), self._started_s)

    def _offered(self) -> Iterator[Card]:
        seen: set[str] = set()
        for serving in self._offers.common_names():
            provider, name = min(serving, key=lambda one: (len(one[1]), one[1]))  # the plainest name
            ordered = {(provider, name): None} | dict.fromkeys(serving)
            if name in seen:
                continue
            seen.add(name)
            deployments = [self._offers.deployment(one, upstream_model, name) for one, upstream_model in ordered]
            found = next((one for pair in ordered if (one := self._offers.found(*pair)) and one.created), None)
            yield _card(name, deployments, (found and found.created) or self._started_s)


def _card(name: str, deployments: Sequence[Deployment], created: int) -> Card:
    first = deployments[0]
    can = first.capabilities
    inputs = ("text", *(kind for kind, known in (("image", can.images), ("file", can.files), ("audio", can.audio)) if known))
    return Card(
        id=name,
        owned_by=first.provider,
        created=created,
        providers=tuple(dict.fromkeys(one.provider for one in deployments)),
        pricing=_pricing(first.price),
        context_length=first.context_tokens,
        max_output_tokens=first.max_output_tokens,
        capabilities=can,
        architecture=Architecture(inputs, ("embeddings",) if "embed" in name else ("text",)),
        deprecated=first.deprecated,
        expiration_date=first.ends_on,
    )


def _pricing(price: Price | None) -> Pricing | None:
    return None if price is None else _rates(price, tiers=tuple(_rates(tier, tier.above_tokens) for tier in price.tiers))


def _rates(rates: Price | Tier, above_tokens: int | None = None, tiers: tuple[Pricing, ...] = ()) -> Pricing:
    return Pricing(
        prompt=_usd_text(rates.input_pico),
        completion=_usd_text(rates.output_pico),
        input_cache_read=_usd_text(rates.cache_read_pico),
        input_cache_write=_usd_text(rates.cache_write_pico),
        input_cache_write_1h=_usd_text(rates.cache_write_1h_pico),
        above_tokens=above_tokens,
        tiers=tiers,
    )


def _usd_text(pico: int | None) -> str | None:
    """Pico-USD as plain decimal USD: 2500000 -> '0.0000025'."""
    if pico is None:
        return None
    whole, part = divmod(pico, 10**12)
    return f"{whole}.{part:012d}".rstrip("0").rstrip(".")


def _nearest(name: str, names: Sequence[str]) -> list[str]:
    """The three names most like a name; a comparison of letter pairs leaves few for the thorough one."""
    pairs = _pairs(name)
    likely = sorted(names, key=lambda one: len(pairs ^ _pairs(one)))[:_NEAR]
    written = {one.lower(): one for one in likely}
    return [written[one] for one in difflib.get_close_matches(name.lower(), written, n=3, cutoff=0.4)]


def _pairs(name: str) -> set[str]:
    text = name.lower()
    return {text[place : place + 2] for place in range(len(text) - 1)}
