"""Whether the models that routes name can be anybody's, as far as that is known before a start: a route to nobody is told then.

A bare name cannot be known to be nobody's while there is a provider within reach that says only later, when asked, which models it has.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shoal.core.errors import Fault
from shoal.providers.catalogue import Catalogue
from shoal.providers.discovery import Discovery
from shoal.providers.minnow import PROVIDER
from shoal.providers.offers import Offers
from shoal.providers.prices import read_lists
from shoal.providers.registry import Provider
from shoal.routing.routes import Route
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
            if named in settings.models or named in local:
                continue
            if slash and not (owner in providers and rest):
                yield keys, f"routes.{route.name}.models: {named!r} names no provider; there is none called {owner!r}"
            elif not slash:
                unclear.append((keys, named))
    if unclear and not any(one.discover for name, one in providers.items() if name != PROVIDER):
        yield from _unknown(unclear, settings, providers)


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


def find_text(table: Any, text: str, keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """The keys that lead to a text in a list of `models`, in a table or those within it."""
    inner = table.items() if isinstance(table, Mapping) else enumerate(table) if isinstance(table, list) else ()
    for key, value in inner:
        if value == text and keys[-1] == "models":
            return (*keys, str(key))
        if found := find_text(value, text, (*keys, str(key))):
            return found
    return None
