"""Whom to ask, in which order: the names and wishes of a request become candidates, and a policy's plan over them."""

from collections.abc import Sequence

import msgspec

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.ports import Policy
from shoal.gateway import abilities
from shoal.gateway.attempts import Plan
from shoal.gateway.call import Call
from shoal.routing.names import Suffix, split_suffix
from shoal.routing.preferences import MOST_MODELS, NO_PREFERENCES, choose_policy, narrow, read_preferences
from shoal.routing.routes import DEFAULT, Route, find_route
from shoal.routing.strategy import Strategy


def plan(call: Call) -> Plan:
    """A plan of tries. Errors: Fault, when there is nobody to ask or the wishes contradict each other."""
    fields, world = call.request.fields, call.world
    world.hedges.earn()
    if fields.provider is None and fields.models is None and (route := find_route(world.routes, call.request.model)) is None:
        name, suffix = split_suffix(call.request.model)
        candidates = world.catalogue.resolve(name)
        policy: Policy = DEFAULT if suffix is None else choose_policy(NO_PREFERENCES, suffix, DEFAULT)
        if suffix is not None:
            candidates = narrow(candidates, NO_PREFERENCES, suffix)
    else:
        candidates, policy = _choose(call, None if fields.provider is not None or fields.models is not None else route)
    call.candidates = abilities.keep_able(call, candidates)
    return policy.plan(call.candidates, call)


def _choose(call: Call, route: Route | None) -> tuple[Sequence[Deployment], Policy]:
    """Candidates and policy where the request, or a route, has more to say than a model's name."""
    fields, world = call.request.fields, call.world
    raw = None if fields.provider is None else msgspec.json.encode(fields.provider)
    preferences = read_preferences(raw, world.providers)
    call.strict = bool(preferences.require_parameters)
    names, default, suffix = _names(call, route)
    candidates = narrow(_resolve(call, names), preferences, suffix)
    return candidates, choose_policy(preferences, suffix, default, several_models=len(names) > 1 and fields.models is not None)


def _names(call: Call, route: Route | None) -> "tuple[list[str], Strategy, Suffix | None]":
    """The names to resolve, in order, each route replaced by its models; the policy where the request wishes none; the first suffix."""
    world = call.world
    listed = dict.fromkeys((call.request.model, *(call.request.fields.models or ())))
    if len(listed) > MOST_MODELS:
        raise Fault("invalid_value", f"'models' lists {len(listed)} models; at most {MOST_MODELS} are tried.", param="models")
    names: dict[str, None] = {}
    policy: Strategy = DEFAULT
    suffix: Suffix | None = None
    for number, name in enumerate(listed):
        found = route or find_route(world.routes, name)
        if found is not None:
            names |= dict.fromkeys(found.models)
            policy = found.policy if number == 0 else policy
        else:
            plain, its = split_suffix(name)
            suffix = suffix or its
            names[plain] = None
    return list(names), policy, suffix


def _resolve(call: Call, names: Sequence[str]) -> list[Deployment]:
    """The deployments of all names, each once. A name that nobody knows is passed over where others are known. Errors: Fault."""
    found: dict[str, Deployment] = {}
    missing: Fault | None = None
    for name in names:
        try:
            found |= {one.id: one for one in call.world.catalogue.resolve(name)}
        except Fault as fault:
            missing = missing or fault
            call.notes = (*call.notes, f"{name} was not asked: {fault.message}")
    if not found:
        call.notes = ()
        raise missing or Fault("model_not_found", "The request names no model.", param="model")
    return list(found.values())
