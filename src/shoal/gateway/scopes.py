"""What a key may be used for: endpoints, routes, models; and which models' prices must be known for it."""

from collections.abc import Iterable, Sequence

from shoal.core.errors import Fault
from shoal.core.identity import Principal
from shoal.core.models import Deployment
from shoal.core.terms import Patterns, covers
from shoal.gateway.call import Call
from shoal.routing.routes import PREFIX, find_route

_SHOWN = 5


def check_endpoint(call: Call) -> None:
    """Errors: Fault forbidden, where the key is not for this endpoint."""
    check_scope(call.principal, call.endpoint.name)


def check_scope(principal: Principal, name: str) -> None:
    """Errors: Fault forbidden, where the key is not for what goes by this name."""
    allowed = principal.terms.endpoints
    if allowed is not None and not covers(allowed, name):
        raise Fault("forbidden", f"This key may not be used for {name!r}; it is for {_list(allowed)}.")


def permit(call: Call, candidates: Sequence[Deployment]) -> Sequence[Deployment]:
    """The candidates that the key may use. Errors: Fault forbidden, insufficient_quota, where there is none."""
    if call.principal.scoped:
        candidates = within(call, candidates)
    if call.principal.prepaid and not call.world.allows_unpriced:
        priced = [one for one in candidates if one.price is not None]
        if candidates and not priced:
            text = f"The price of {call.request.model!r} is not known, so prepaid credit cannot pay for it; choose another model."
            raise Fault("insufficient_quota", text, param="model")
        candidates = priced
    return candidates


def within(call: Call, candidates: Sequence[Deployment]) -> Sequence[Deployment]:
    """Those of models that the key lists, or that a route brings along which it lists. Errors: Fault forbidden."""
    terms, fields = call.principal.terms, call.request.fields
    brought: list[str] = []
    if terms.routes is not None:
        for name in (call.request.model, *(fields.models or ()), *(fields.fallbacks or ())):
            route = find_route(call.world.routes, name)
            if route is not None and not _lists_route(terms.routes, route.name):
                raise Fault("forbidden", f"This key may not use the route {route.name!r}; it may use {_list(terms.routes)}.", param="model")
            brought += route.models if route is not None else ()
    models = terms.models
    if models is None:
        return candidates
    left = [one for one in candidates if _lists(models, one) or _lists(tuple(brought), one)]
    if candidates and not left:
        text = f"This key may not use the model {call.request.model[:100]!r}; it may use {_list(models)}."
        raise Fault("forbidden", text, param="model")
    return left


def _lists_route(routes: Patterns, name: str) -> bool:
    return covers(routes, name) or covers(routes, PREFIX + name)


def _lists(models: Patterns, deployment: Deployment) -> bool:
    return covers(models, deployment.model) or covers(models, f"{deployment.provider}/{deployment.upstream_model}")


def shows(principal: Principal, model: str, providers: Iterable[str]) -> bool:
    """Whether a model is in the list that the key sees."""
    models = principal.terms.models
    return models is None or covers(models, model) or any(covers(models, f"{provider}/{model}") for provider in providers)


def _list(patterns: Patterns) -> str:
    if not patterns:
        return "none"
    shown = ", ".join(patterns[:_SHOWN])
    return shown if len(patterns) <= _SHOWN else f"{shown} and {len(patterns) - _SHOWN} more"
