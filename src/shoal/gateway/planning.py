"""Whom to ask, in which order: the names and wishes of a request become candidates, and a policy's plan over them."""

from collections.abc import Container, Iterable, Sequence
from typing import cast

import msgspec

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.ports import Policy
from shoal.core.students import PREFIX
from shoal.gateway import abilities, scopes
from shoal.gateway.attempts import Plan
from shoal.gateway.call import Call
from shoal.routing.names import Suffix, split_suffix
from shoal.routing.preferences import MOST_MODELS, NO_PREFERENCES, Preferences, choose_policy, narrow, read_preferences
from shoal.routing.routes import DEFAULT, DEFAULT_TITLE, describe, find_route
from shoal.routing.strategy import Strategy
from shoal.wire.openai_chat.manners import chooser


def plan(call: Call) -> Plan:
    """A plan of tries. Errors: Fault, when there is nobody to ask or the wishes contradict each other."""
    fields, world = call.request.fields, call.world
    world.hedges.earn()
    plain = fields.provider is None and fields.models is None and fields.fallbacks is None
    if plain and find_route(world.routes, call.request.model) is None and ":" not in call.request.model:
        candidates, policy, call.policy = _find(call, call.request.model), cast(Policy, DEFAULT), DEFAULT_TITLE
    else:
        candidates, policy = _choose(call)
        call.policy = describe(policy)
    if call.principal.scoped or call.principal.prepaid:
        candidates = scopes.permit(call, candidates)
    call.candidates = abilities.keep_able(call, candidates)
    return policy.plan(call.candidates, call)


def _choose(call: Call) -> tuple[Sequence[Deployment], Policy]:
    """Candidates and policy where the request, or a route, has more to say than a model's name."""
    fields = call.request.fields
    listed = dict.fromkeys((call.request.model, *(fields.models or ()), *(fields.fallbacks or ())))
    if len(listed) > MOST_MODELS:
        raise Fault("invalid_value", f"'models' lists {len(listed)} models; at most {MOST_MODELS} are tried.", param="models")
    names, default, suffix = _names(call, listed)
    resolved = _resolve(call, names, listed)
    preferences = _preferences(call, resolved)
    call.strict = bool(preferences.require_parameters)
    candidates, call.excluded = narrow(resolved, preferences, suffix)
    return candidates, choose_policy(preferences, suffix, default, several_models=len(listed) > 1)


def _preferences(call: Call, candidates: Sequence[Deployment]) -> Preferences:
    """The request's `provider`; none of it is ours where all go to one that chooses among others itself, and is told it. Errors: Fault."""
    wishes = call.request.fields.provider
    forwarded = call.endpoint.dialect == "openai_chat" and chooser(call.request.model, wishes)
    if wishes is None or (forwarded and all(one.provider == forwarded for one in candidates)):
        return NO_PREFERENCES
    return read_preferences(msgspec.json.encode(wishes), call.world.providers)


def _names(call: Call, listed: Iterable[str]) -> tuple[list[str], Strategy, Suffix | None]:
    """The names to resolve, in order, each route replaced by its models; the policy of a route that comes first; the first suffix."""
    world = call.world
    names: dict[str, None] = {}
    policy: Strategy | None = None
    suffix: Suffix | None = None
    for name in listed:
        route = find_route(world.routes, name)
        if route is not None:
            names |= dict.fromkeys(route.models)
            policy = policy or route.policy
            continue
        bare, its = split_suffix(name)
        if its is not None and world.catalogue.lists(name, call.principal.org_id):  # some names really end so
            bare, its = name, None
        names[bare] = None
        suffix, policy = suffix or its, policy or DEFAULT
    return list(names), policy or DEFAULT, suffix


async def look(call: Call) -> None:
    """Look again for students that the request names and nobody knows: they may have come a moment ago."""
    fields = call.request.fields
    await call.world.catalogue.look((call.request.model, *(fields.models or ()), *(fields.fallbacks or ())))


def names_students(call: Call) -> bool:
    """Whether a name in the request may be a student's."""
    fields = call.request.fields
    return PREFIX in call.request.model or fields.models is not None or fields.fallbacks is not None


def _find(call: Call, name: str) -> Sequence[Deployment]:
    return call.world.catalogue.resolve(name, call.principal.org_id)


def _resolve(call: Call, names: Sequence[str], listed: Container[str]) -> list[Deployment]:
    """The deployments of all names, each once. A name that nobody knows is passed over where others are known. Errors: Fault."""
    found: dict[str, Deployment] = {}
    missing: Fault | None = None
    for name in names:
        try:
            found |= {one.id: one for one in _find(call, name)}
        except Fault as fault:
            missing = missing or fault
            if name in listed or not name.startswith(PREFIX):  # a route may name what is not for whoever takes it to know
                call.notes = (*call.notes, f"{name} was not asked: {fault.message}")
    if not found:
        call.notes = ()
        raise missing or Fault("model_not_found", "The request names no model.", param="model")
    return list(found.values())
