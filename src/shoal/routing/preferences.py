"""What a request may ask of routing: OpenRouter's `provider` object, `models`, and the suffixes of a model's name.

Nothing is ignored: a field that is not known, a provider that is not there and wishes that contradict each other are refused by name.
The fields: https://openrouter.ai/docs/guides/routing/provider-selection
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

import msgspec

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.money import pico_per_token
from shoal.core.ports import Policy
from shoal.routing.cheapest import Cheapest
from shoal.routing.fallback import Fallback
from shoal.routing.fastest import Fastest
from shoal.routing.names import Suffix, is_of_provider
from shoal.routing.preferred import Preferred
from shoal.routing.strategy import Strategy
from shoal.routing.throughput import Throughput

MOST_MODELS = 16
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Names = Annotated[tuple[_Name, ...], msgspec.Meta(max_length=100)]
_SomeNames = Annotated[tuple[_Name, ...], msgspec.Meta(min_length=1, max_length=100)]
_Amount = Annotated[float, msgspec.Meta(ge=0)]
_Usd = _Amount | Annotated[str, msgspec.Meta(max_length=40)]
By = Literal["price", "throughput", "latency"]
Quantization = Literal["int4", "int8", "fp4", "fp6", "fp8", "fp16", "bf16", "fp32", "unknown"]


class Sort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """By what; `partition` none sorts the deployments of all models together, model sorts those of each model."""

    by: By
    partition: Literal["model", "none"] | None = None


class Percentiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Thresholds by percentile; all that are given must be met."""

    p50: _Amount | None = None
    p75: _Amount | None = None
    p90: _Amount | None = None
    p99: _Amount | None = None


class MaxPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """USD per million tokens of prompt and completion. Deployments here charge by the token: nothing for a request or an image as such."""

    prompt: _Usd | None = None
    completion: _Usd | None = None
    request: _Usd | None = None
    image: _Usd | None = None


class Preferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """OpenRouter's `provider` object. None: no wish."""

    order: _Names | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    only: _SomeNames | None = None
    ignore: _Names | None = None
    quantizations: Annotated[tuple[Quantization, ...], msgspec.Meta(min_length=1)] | None = None
    sort: By | Sort | None = None
    preferred_min_throughput: _Amount | Percentiles | None = None
    preferred_max_latency: _Amount | Percentiles | None = None
    max_price: MaxPrice | None = None


_preferences = msgspec.json.Decoder(Preferences | None)
_models = msgspec.json.Decoder(
    Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1, max_length=512)], ...], msgspec.Meta(min_length=1)]
)
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*)`$")
NO_PREFERENCES = Preferences()


def read_preferences(raw: bytes | msgspec.Raw | None, providers: Collection[str] | None = None) -> Preferences:
    """The `provider` member of a request, JSON; None where there is none. `providers`: the names of all that there are, if they are known.

    Errors: Fault naming the field, for what is unknown, of the wrong type, or contradictory.
    """
    if raw is None:
        return NO_PREFERENCES
    try:
        preferences = _preferences.decode(raw) or NO_PREFERENCES
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except (msgspec.DecodeError, RecursionError):
        raise Fault("invalid_json", "'provider' is not valid JSON.", param="provider") from None
    _check_names(preferences, providers)
    _check_sense(preferences)
    return preferences


def read_models(raw: bytes | msgspec.Raw | None, model: str) -> tuple[str, ...]:
    """`model` and the fallbacks that the `models` member of a request lists, each once, in order. Errors: Fault naming `models`."""
    if raw is None:
        return (model,)
    try:
        listed = _models.decode(raw)
    except msgspec.DecodeError as error:
        raise Fault("invalid_type", f"'models' must be a list of model names: {error}", param="models") from None
    names = tuple(dict.fromkeys((model, *listed)))
    if len(names) > MOST_MODELS:
        raise Fault("invalid_value", f"'models' lists {len(names)} models; at most {MOST_MODELS} are tried.", param="models")
    return names


def narrow(
    candidates: Sequence[Deployment], preferences: Preferences, suffix: Suffix | None = None
) -> tuple[Sequence[Deployment], tuple[str, ...]]:
    """The candidates that a request's preferences allow, and in words which rule excluded whom. Errors: Fault saying so if none is left."""
    rules = list(_rules(preferences, suffix))
    if not rules or not candidates:
        return candidates, ()
    left, excluded = list(candidates), []
    for param, allows in rules:
        out = [one for one in left if not allows(one)]
        if out:
            excluded.append((param, f"'{param}' excludes {', '.join(sorted({one.provider for one in out}))}"))
            left = [one for one in left if allows(one)]
    why = tuple(text for _, text in excluded)
    if left:
        return left, why
    raise Fault("invalid_value", f"No provider is left for this request: {'; '.join(why)}. Allow one of them.", param=excluded[0][0])


def choose_policy(preferences: Preferences, suffix: Suffix | None, default: Strategy, several_models: bool = False) -> Policy:
    """The policy of a request: `default`, or by what it asks to sort; with its own wishes; one model after the other if it lists several.

    Errors: Fault when suffix and `sort` contradict each other.
    """
    by, together = _sort(preferences, suffix)
    policy = _SORTS[by] if by else default
    alone = preferences.allow_fallbacks is False and not preferences.order
    if preferences.order or alone:
        policy = Preferred(policy, order=preferences.order or (), alone=alone)
    if several_models and not together:
        policy = Fallback(policy)
    throughput = _percentiles(preferences.preferred_min_throughput)
    latency = _percentiles(preferences.preferred_max_latency)
    if throughput or latency:
        policy = Preferred(
            policy,
            min_tokens_per_s=max(throughput.values(), default=None),
            max_first_token_s=min((latency[one] for one in ("p50", "p75") if one in latency), default=None),
            max_first_token_p95_s=min((latency[one] for one in ("p90", "p99") if one in latency), default=None),
        )
    return policy


_SORTS: dict[By, Strategy] = {"price": Cheapest(), "throughput": Throughput(), "latency": Fastest()}
_SUFFIX_SORTS: dict[Suffix, By] = {"floor": "price", "nitro": "throughput"}


def _sort(preferences: Preferences, suffix: Suffix | None) -> tuple[By | None, bool]:
    """By what to sort, and whether all models together."""
    sort = preferences.sort
    by, together = (sort.by, sort.partition == "none") if isinstance(sort, Sort) else (sort, False)
    meant = _SUFFIX_SORTS.get(suffix) if suffix else None
    if by and meant and by != meant:
        raise Fault("invalid_value", f"':{suffix}' sorts by {meant}, but 'provider.sort' says {by}; keep one.", param="provider.sort")
    return by or meant, together


def _percentiles(wish: float | Percentiles | None) -> dict[str, float]:
    """A number is meant for the median."""
    if isinstance(wish, Percentiles):
        return {name: value for name, value in msgspec.structs.asdict(wish).items() if value is not None}
    return {} if wish is None else {"p50": wish}


def _rules(preferences: Preferences, suffix: Suffix | None) -> Iterator[tuple[str, Callable[[Deployment], bool]]]:
    """What a deployment must be, by the parameter that says so. What is not known of one does not meet a demand."""
    only, ignore, order, quantizations = preferences.only, preferences.ignore, preferences.order, preferences.quantizations
    if only:
        yield "provider.only", lambda one: any(is_of_provider(one, name) for name in only)
    if ignore:
        yield "provider.ignore", lambda one: not any(is_of_provider(one, name) for name in ignore)
    if order and preferences.allow_fallbacks is False:
        yield "provider.allow_fallbacks", lambda one: any(is_of_provider(one, name) for name in order)
    if preferences.data_collection == "deny":
        yield "provider.data_collection", lambda one: one.local or one.collects_data is False
    if preferences.zdr:
        yield "provider.zdr", lambda one: one.local or one.zero_retention is True
    if quantizations:
        yield "provider.quantizations", lambda one: (one.quantization or "unknown") in quantizations
    if preferences.max_price is not None:
        prompt, completion = _pico(preferences.max_price.prompt, "prompt"), _pico(preferences.max_price.completion, "completion")
        if prompt is not None:
            yield "provider.max_price.prompt", lambda one: one.price is not None and one.price.input_pico <= prompt
        if completion is not None:
            yield "provider.max_price.completion", lambda one: one.price is not None and one.price.output_pico <= completion
    if suffix == "free":
        yield "model", lambda one: one.price is not None and one.price.input_pico == one.price.output_pico == 0


def _pico(usd: float | str | None, field: str) -> int | None:
    if usd is None:
        return None
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        param = f"provider.max_price.{field}"
        raise Fault("invalid_value", f"'{param}' is not an amount of USD per million tokens: {str(usd)!r}.", param=param)
    return pico_per_token(str(amount))


def _check_names(preferences: Preferences, providers: Collection[str] | None) -> None:
    if providers is None:
        return
    known = {name.casefold() for name in providers}
    for field in ("order", "only", "ignore"):
        names: Sequence[str] = getattr(preferences, field) or ()
        unknown = [name for name in names if name.casefold() not in known and name.partition("/")[0].casefold() not in known]
        if unknown:
            text = f"'provider.{field}' names {', '.join(map(repr, unknown))}, which is not a provider here; there are: {_list(providers)}."
            raise Fault("invalid_value", text, param=f"provider.{field}")


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _check_sense(preferences: Preferences) -> None:
    """Refuse wishes that cannot all be granted, whatever the candidates are."""
    ignored = {name.casefold() for name in preferences.ignore or ()}
    only = {name.casefold() for name in preferences.only or ()}
    for field in ("only", "order"):
        names: Sequence[str] = getattr(preferences, field) or ()
        both = [name for name in names if name.casefold() in ignored]
        if both:
            text = f"'provider.{field}' and 'provider.ignore' both name {', '.join(map(repr, both))}; keep one."
            raise Fault("invalid_value", text, param=f"provider.{field}")
    outside = [name for name in preferences.order or () if only and not any(_overlap(name.casefold(), one) for one in only)]
    if outside:
        text = f"'provider.order' names {', '.join(map(repr, outside))}, which 'provider.only' leaves out; keep one."
        raise Fault("invalid_value", text, param="provider.order")
    if preferences.max_price is not None:
        for field in MaxPrice.__struct_fields__:
            _pico(getattr(preferences.max_price, field), field)


def _overlap(one: str, other: str) -> bool:
    """Whether two names mean the same, or one a part of what the other means."""
    return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")


def _explain(text: str) -> Fault:
    """A Fault from msgspec's message: `what - at $.path`."""
    what, _, where = text.partition(" - at `$")
    param = "provider" + where.rstrip("`")
    unknown = _UNKNOWN.match(what)
    if unknown:
        param = f"{param}.{unknown[1]}"
        known = ", ".join(Preferences.__struct_fields__)
        return Fault("unsupported_parameter", f"'{param}' is not known; the fields of 'provider' are: {known}.", param=param)
    kind = "invalid_type" if what.startswith("Expected") and ", got" in what else "invalid_value"
    return Fault(kind, f"'{param}': {what.replace('`', chr(39))}.", param=param)
