"""Policies from the configuration: [routes.NAME] tables, checked at the start, errors naming the key.

A table holds `policy`, the fields of that policy, and `models`. Where a field is a policy it is such a table again, without `models`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shoal.core.ports import Policy
from shoal.routing.balanced import Balanced
from shoal.routing.cascade import Cascade
from shoal.routing.cheapest import Cheapest
from shoal.routing.conditional import Conditional
from shoal.routing.context import Context
from shoal.routing.fallback import Fallback
from shoal.routing.fastest import Fastest
from shoal.routing.hedged import Hedged
from shoal.routing.least_busy import LeastBusy
from shoal.routing.names import split_suffix
from shoal.routing.ordered import Ordered
from shoal.routing.sticky import Sticky
from shoal.routing.strategy import Around, Strategy
from shoal.routing.throughput import Throughput
from shoal.routing.weighted import Weighted

POLICIES: Mapping[str, type[Any]] = {
    "balanced": Balanced,
    "cascade": Cascade,
    "cheapest": Cheapest,
    "conditional": Conditional,
    "context": Context,
    "fallback": Fallback,
    "fastest": Fastest,
    "hedged": Hedged,
    "least_busy": LeastBusy,
    "ordered": Ordered,
    "sticky": Sticky,
    "throughput": Throughput,
    "weighted": Weighted,
}
_TITLES: Mapping[type[Any], str] = {kind: name for name, kind in POLICIES.items()}
DEFAULT = Balanced()
DEFAULT_TITLE = "balanced"
PREFIX = "route/"
_LONGEST_CACHE_S = 86_400
_AT = " - at `$"


class BadRoute(ValueError):
    """A route cannot be used: `keys` lead to what is wrong (["routes", NAME, ...]), and the message names them."""

    def __init__(self, keys: Sequence[str], what: str) -> None:
        super().__init__(f"{_dotted(keys)}: {what}")
        self.keys = tuple(keys)
        self.what = what


class Route(msgspec.Struct, frozen=True):
    """A name for a policy and the models it chooses from: names to be resolved into candidates, in this order."""

    name: str
    models: tuple[str, ...]
    policy: Strategy = DEFAULT
    cache_s: int | None = None
    """How long its answers are kept for the same question, in seconds; None: only where a request asks for that."""

    @property
    def by_metadata(self) -> bool:
        """Whether a request's metadata have a say in who answers."""
        return any(isinstance(one, Conditional) for one in (self.policy, *self.policy.within()))


def describe(policy: Policy) -> str:
    """A policy's name with those of the policies within, such as `hedged(fastest)`; what a request wishes is `preferred`."""
    title = _TITLES.get(type(policy), type(policy).__name__.lower())
    return f"{title}({describe(policy.inner)})" if isinstance(policy, Around) else title


def build_routes(tables: Mapping[str, Any]) -> dict[str, Route]:
    """The routes of a configuration's `routes` table. Errors: BadRoute, for the first that cannot be used."""
    return {name: build_route(name, table) for name, table in tables.items()}


def build_route(name: str, table: Any) -> Route:
    """One [routes.NAME] table. Errors: BadRoute naming the key."""
    keys = ["routes", name]
    if not name or "/" in name or split_suffix(name)[1]:
        raise BadRoute(keys, "a route's name is not empty, holds no '/', and does not end in :floor, :nitro or :free")
    if not isinstance(table, Mapping):
        raise BadRoute(keys, 'a route is a table, such as {policy = "ordered", models = ["..."]}')
    fields = dict(table)
    kind = _kind(fields.get("policy", "balanced"), keys)
    listed = fields.get("models", []) if "models" in kind.__struct_fields__ else fields.pop("models", [])
    models = _names(listed, [*keys, "models"])
    cache_s = fields.pop("cache_s", None)
    if cache_s is not None and (type(cache_s) is not int or not 1 <= cache_s <= _LONGEST_CACHE_S):
        raise BadRoute([*keys, "cache_s"], f"must be a number of seconds from 1 to {_LONGEST_CACHE_S}")
    try:
        policy = _build(Strategy, {"policy": "balanced", **fields})
    except ValueError as error:
        raise _locate(keys, str(error)) from None
    names = tuple(dict.fromkeys((*models, *policy.names())))
    if not names:
        raise BadRoute([*keys, "models"], "is missing; list the models that the route chooses from")
    if isinstance(policy, Cascade) and len(names) < 2:
        raise BadRoute([*keys, "models"], "a cascade needs at least two models, the cheap one first")
    for number, one in enumerate(names):
        if one.startswith(PREFIX) or one == name:
            raise BadRoute([*keys, "models", str(number)], f"{one!r} is a route; a route names models only")
    return Route(name, names, policy, cache_s)


def find_route(routes: Mapping[str, Route], model: str) -> Route | None:
    """The route that a model's name means: `route/NAME`, or a bare NAME. None: it is not a route."""
    return routes.get(model.removeprefix(PREFIX))


def _kind(name: Any, keys: Sequence[str]) -> type[Any]:
    kind = POLICIES.get(name) if isinstance(name, str) else None
    if kind is None:
        raise BadRoute([*keys, "policy"], f"{name!r} is not a policy; there are: {', '.join(POLICIES)}")
    return kind


def _build(wanted: type[Any], raw: Any) -> Any:
    """msgspec's hook for fields that are policies. Errors: ValueError, which msgspec completes with the place."""
    if wanted is not Strategy:
        raise TypeError(f"{wanted.__name__} is nothing that a configuration holds")
    if not isinstance(raw, Mapping):
        raise ValueError('a policy is a table, such as {policy = "ordered"}')
    fields = dict(raw)
    name = fields.pop("policy", None)
    kind = POLICIES.get(name) if isinstance(name, str) else None
    if kind is None:
        what = "policy is missing" if name is None else f"{name!r} is not a policy"
        raise ValueError(f"{what}; there are: {', '.join(POLICIES)}{_AT}.policy`")
    try:
        return msgspec.convert(fields, kind, dec_hook=_build)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _names(raw: Any, keys: Sequence[str]) -> tuple[str, ...]:
    try:
        names = msgspec.convert(raw, tuple[str, ...])
    except msgspec.ValidationError:
        raise BadRoute(keys, 'must be a list of model names, such as ["minnow", "openai/gpt-5"]') from None
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadRoute(keys, f"lists {', '.join(map(repr, twice))} twice")
    if "" in names:
        raise BadRoute(keys, "holds an empty name")
    return names


def _locate(keys: Sequence[str], text: str) -> BadRoute:
    """The error at its place: each table on the way out has added its own ` - at $.path`, the innermost first."""
    what, *places = text.split(_AT)
    path = "".join(place.rstrip("`") for place in reversed(places))
    inner = [part.strip("[]") for part in path.replace("[...]", ".*").replace("[", ".[").split(".") if part]
    unknown = what.removeprefix("Object contains unknown field `")
    if unknown != what:
        return BadRoute([*keys, *inner, unknown.rstrip("`")], "is not a field of this policy")
    return BadRoute([*keys, *inner], what.replace("`", "'"))


def _dotted(keys: Sequence[str]) -> str:
    return "".join(f"[{key}]" if key.isdecimal() else f".{key}" for key in keys).removeprefix(".")
