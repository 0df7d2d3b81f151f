"""Whether the models that routes name can be anybody's, as far as that is known before a start: a route to nobody is told then.

A bare name cannot be known to be nobody's while there is a provider within reach that says only later, when asked, which models it has.
Nor can a student's: it may be published at any time.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.core.errors import Fault
from shoal.core.students import parse_name
from shoal.mini.shelf import list_students
from shoal.providers.catalogue import Catalogue
from shoal.providers.discovery import Discovery
from shoal.providers.minnow import PROVIDER
from shoal.providers.offers import Offers
from shoal.providers.prices import read_lists
from shoal.providers.registry import Provider
from shoal.routing.routes import Route
from shoal.routing.weighted import Weighted
from shoal.settings import Settings
from shoal.wiring.reach import LOCAL_MODELS


def find_nobodys(settings: Settings, routes: Mapping[str, Route], providers: Mapping[str, Provider]) -> Iterator[tuple[Sequence[str], str]]:
    """The keys of each name in a route that is nobody's model, and what is wrong with it. Takes a second where price lists are needed."""
    local = {*LOCAL_MODELS, settings.mini.model}
    unclear: list[tuple[Sequence[str], str]] = []
    for route in routes.values():
        for named in route.models:
            keys = find_text(settings.routes[route.name], named, ("routes", route.name)) or ("routes", route.name, "models")
            owner, slash, rest = named.partition("/")
            if named in settings.models or named in local or parse_name(named.removeprefix(f"{PROVIDER}/")) is not None:
                continue
            if slash and not (owner in providers and rest):
                yield keys, f"routes.{route.name}.models: {named!r} names no provider; there is none called {owner!r}"
            elif not slash:
                unclear.append((keys, named))
        for place, weighed in _weights(route, settings.routes[route.name]):
            if not _is_weighed(weighed, route, settings, providers):
                yield place, f"routes.{route.name}: the weight of {weighed!r} is nobody's, neither a model of this route nor a provider"
    if unclear and not any(one.discover for name, one in providers.items() if name != PROVIDER):
        yield from _unknown(unclear, settings, providers)


def find_absent(settings: Settings, routes: Mapping[str, Route], home: Path) -> Iterator[str]:
    """What to tell of students that the configuration names and that are not on this machine; they may come later."""
    there = {name for one in list_students(home) for name in (one.id, str(one.name.alias))}
    named = [(f"routes.{route.name}.models", name) for route in routes.values() for name in route.models]
    named += [(f'models."{name}"', one.model or name) for name, model in settings.models.items() for one in model.deployments]
    for where, name in named:
        bare = name.removeprefix(f"{PROVIDER}/")
        if parse_name(bare) is not None and bare not in there:
            yield f"{where}: the student {bare!r} is not on this machine (yet); it is passed over until it is published or copied here"


def _unknown(
    named: Sequence[tuple[Sequence[str], str]], settings: Settings, providers: Mapping[str, Provider]
) -> Iterator[tuple[Sequence[str], str]]:
    lists = read_lists([one.row.prices for one in providers.values() if one.missing is None and one.row.prices])
    catalogue = Catalogue(settings.models, {}, Offers(providers, lists, Discovery({}), lambda: 0.0))
    for keys, name in named:
        try:
            catalogue.resolve(name)
        except Fault as fault:
            if fault.kind == "model_not_found":
                yield keys, f"routes.{keys[1]}.models: {fault.message}"


def _weights(route: Route, table: Mapping[str, Any]) -> Iterator[tuple[Sequence[str], str]]:
    for policy in (route.policy, *route.policy.within()):
        for name in policy.weights if isinstance(policy, Weighted) else ():
            yield find_key(table, name, ("routes", route.name)) or ("routes", route.name), name


def _is_weighed(name: str, route: Route, settings: Settings, providers: Mapping[str, Provider]) -> bool:
    """Whether a weight can be somebody's: a model's of the route, a provider's, or a deployment's (`MODEL#0`)."""
    owner, slash, _ = name.partition("/")
    model, _, number = name.rpartition("#")
    configured = settings.models.get(model) if model in route.models else None
    is_deployment = configured is not None and number.isdecimal() and int(number) < len(configured.deployments)
    return name in route.models or owner in providers or is_deployment or (bool(slash) and name in settings.models)


def find_key(table: Any, name: str, keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """The keys that lead to a weight of this name, in a table or those within it."""
    inner = table.items() if isinstance(table, Mapping) else enumerate(table) if isinstance(table, list) else ()
    for key, value in inner:
        if key == name and keys[-1] == "weights":
            return (*keys, name)
        if found := find_key(value, name, (*keys, str(key))):
            return found
    return None


def find_text(table: Any, text: str, keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """The keys that lead to a text in a list of `models`, in a table or those within it."""
    inner = table.items() if isinstance(table, Mapping) else enumerate(table) if isinstance(table, list) else ()
    for key, value in inner:
        if value == text and keys[-1] == "models":
            return (*keys, str(key))
        if found := find_text(value, text, (*keys, str(key))):
            return found
    return None
