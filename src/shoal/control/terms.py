"""The terms of a key as the admin API says them, and as they are stored."""

import ipaddress
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from shoal.control.amounts import Usd, nano_or_none
from shoal.core.errors import Fault
from shoal.core.money import usd_text
from shoal.core.terms import ENDPOINTS, WINDOWS, Addresses, Labels, Patterns, Rate, Tags, Terms, unknown_endpoint

_LIMITS = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "parallel_requests": "parallel", "burst_requests": "burst"}
_SCOPES = ("models", "endpoints", "routes")


class Scopes(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a key is for; null is everything. A name that ends in `*` stands for all with that beginning."""

    models: Patterns | UnsetType | None = UNSET
    endpoints: Patterns | UnsetType | None = UNSET
    routes: Patterns | UnsetType | None = UNSET


class Budgets(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """US dollars that a key may spend in a UTC day, an ISO week, a calendar month, and ever; null is no limit."""

    daily: Usd | UnsetType | None = UNSET
    weekly: Usd | UnsetType | None = UNSET
    monthly: Usd | UnsetType | None = UNSET
    total: Usd | UnsetType | None = UNSET


class Limits(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How fast a key may be used; null is no limit. `burst_requests` of a minute's may come at once."""

    requests_per_minute: Rate | UnsetType | None = UNSET
    tokens_per_minute: Rate | UnsetType | None = UNSET
    parallel_requests: Rate | UnsetType | None = UNSET
    burst_requests: Rate | UnsetType | None = UNSET


Retention = Annotated[
    Literal["none"] | None, msgspec.Meta(description="`none` keeps nothing of its requests but the bill; null leaves it to them.")
]
Ips = Annotated[Addresses | None, msgspec.Meta(description="Addresses and networks that it may come from; null is anywhere.")]


class TermsBody(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The parts of a key's terms; what is not given stays as it is."""

    scopes: Scopes | UnsetType = UNSET
    ips: Ips | UnsetType = UNSET
    budgets_usd: Budgets | UnsetType = UNSET
    limits: Limits | UnsetType = UNSET
    metadata: Labels | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    retention: Retention | UnsetType = UNSET

    def __post_init__(self) -> None:
        for address in (self.ips or ()) if self.ips is not UNSET else ():
            ipaddress.ip_network(address, strict=False)


class ScopesView(msgspec.Struct, frozen=True):
    """What a key is for; null is everything."""

    models: tuple[str, ...] | None
    endpoints: tuple[str, ...] | None
    routes: tuple[str, ...] | None


class BudgetsView(msgspec.Struct, frozen=True):
    """US dollars by window; null is no limit."""

    daily: str | None
    weekly: str | None
    monthly: str | None
    total: str | None


class LimitsView(msgspec.Struct, frozen=True):
    """Rates; null is no limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    parallel_requests: int | None
    burst_requests: int | None


def merge(terms: Terms, body: TermsBody) -> Terms:
    """`terms`, changed as `body` says. Errors: Fault."""
    change: dict[str, object] = {name: getattr(body, name) for name in ("ips", "metadata", "tags", "retention")}
    if body.scopes is not UNSET:
        change |= {name: getattr(body.scopes, name) for name in _SCOPES}
        _check_endpoints(body.scopes.endpoints)
    if body.limits is not UNSET:
        change |= {name: getattr(body.limits, told) for told, name in _LIMITS.items()}
    if body.budgets_usd is not UNSET:
        for window in WINDOWS:
            amount = getattr(body.budgets_usd, window)
            change[f"{window}_nano"] = UNSET if amount is UNSET else nano_or_none(amount, f"budgets_usd.{window}")
    return msgspec.structs.replace(terms, **{name: value for name, value in change.items() if value is not UNSET})


def _check_endpoints(given: Patterns | UnsetType | None) -> None:
    unknown = None if given is UNSET else unknown_endpoint(given)
    if unknown is not None:
        text = f"There is no endpoint {unknown[:64]!r}; there are {', '.join(ENDPOINTS)}."
        raise Fault("invalid_value", text, param="scopes.endpoints")


def show_scopes(terms: Terms) -> ScopesView:
    """What it is for."""
    return ScopesView(terms.models, terms.endpoints, terms.routes)


def show_budgets(terms: Terms) -> BudgetsView:
    """What it may spend."""
    return BudgetsView(*(usd_text(terms.budgets[window]) if window in terms.budgets else None for window in WINDOWS))


def show_limits(terms: Terms) -> LimitsView:
    """How fast it may be used."""
    return LimitsView(terms.rpm, terms.tpm, terms.parallel, terms.burst)
