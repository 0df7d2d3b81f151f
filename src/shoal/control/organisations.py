"""Organisations: who pays, and on what terms. The terms are the operator's to change; its owners may name it, and be warned."""

from typing import Annotated

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import JSONBody
from msgspec import UNSET, Meta, UnsetType

from shoal.control.amounts import Percent, Usd, moment_text, nano_of, nano_or_none, percent_text, ppm_of, require_usd
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import (
    AGE,
    Cursor,
    Id,
    IfMatch,
    Limit,
    Page,
    QueryVersion,
    Version,
    by_age,
    paged,
    read_cursor,
    seen_version,
    versioned,
)
from shoal.core.errors import Fault
from shoal.core.money import usd_text
from shoal.storage.organisations import Organisation, OrganisationEdit

Markups = Annotated[dict[Annotated[str, Meta(min_length=1, max_length=256)], Percent], Meta(max_length=256)]
_OF_OWNERS = ("name", "low_balance_usd", "currency", "version")


class OrganisationView(msgspec.Struct, frozen=True, kw_only=True):
    """An organisation. Amounts are US dollars, markups percent above cost; `markups` are those of a model or of `route/NAME`."""

    id: str
    name: str
    prepaid: bool
    markup_percent: str
    markups_percent: dict[str, str]
    free_monthly_usd: str
    low_balance_usd: str | None
    created_at: str | None
    closed_at: str | None
    version: int


class NewOrganisation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new organisation: prepaid, at cost, with nothing free, unless it says otherwise."""

    name: str
    prepaid: bool | UnsetType = UNSET
    markup_percent: Percent | UnsetType = UNSET
    markups_percent: Markups | UnsetType = UNSET
    free_monthly_usd: Usd | UnsetType = UNSET
    low_balance_usd: Usd | UnsetType | None = UNSET
    currency: str = "usd"


class OrganisationChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; what is not given stays."""

    name: str | UnsetType = UNSET
    prepaid: bool | UnsetType = UNSET
    markup_percent: Percent | UnsetType = UNSET
    markups_percent: Markups | UnsetType = UNSET
    free_monthly_usd: Usd | UnsetType = UNSET
    low_balance_usd: Usd | UnsetType | None = UNSET
    currency: str = "usd"
    version: Version | UnsetType = UNSET


@post("/organisations")
async def create_organisation(data: JSONBody[NewOrganisation], actor: GivenActor, store: GivenStore) -> Response[OrganisationView]:
    """Make an organisation, with its wallet and a first project."""
    actor.require_operator()
    return versioned(show(await store.organisations.create(_edit(data), actor=actor.name)), 201)


@get("/organisations")
async def list_organisations(actor: GivenActor, store: GivenStore, limit: Limit = 50, cursor: Cursor = None) -> Page[OrganisationView]:
    """List organisations, oldest first."""
    after = read_cursor(cursor, AGE)
    if not actor.is_operator:
        own = [] if after else [await store.organisations.find(actor.org_id)]
        return paged(own, limit, show, by_age)
    return paged(await store.organisations.list_all(after=after, limit=limit + 1), limit, show, by_age)


@get("/organisations/{org_id:str}")
async def get_organisation(org_id: Id, actor: GivenActor, store: GivenStore) -> Response[OrganisationView]:
    """Show an organisation."""
    actor.require("viewer", org_id)
    return versioned(show(await store.organisations.find(org_id)))


@patch("/organisations/{org_id:str}")
async def update_organisation(
    org_id: Id, data: JSONBody[OrganisationChange], actor: GivenActor, store: GivenStore, if_match: IfMatch = None
) -> Response[OrganisationView]:
    """Change an organisation."""
    actor.require("owner", org_id)
    if not actor.is_operator:
        for name in data.__struct_fields__:
            if name not in _OF_OWNERS and getattr(data, name) is not UNSET:
                raise Fault("forbidden", f"Only a key of the operator's may change {name!r}.", param=name)
    seen = seen_version(data.version, if_match)
    try:
        return versioned(show(await store.organisations.update(org_id, seen.version, _edit(data), actor=actor.name)))
    except Fault as fault:
        raise seen.explain(fault) from None


@delete("/organisations/{org_id:str}", status_code=200)
async def close_organisation(
    org_id: Id, actor: GivenActor, store: GivenStore, version: QueryVersion = None, if_match: IfMatch = None
) -> Response[OrganisationView]:
    """Close an organisation: its keys open nothing, its money and its log stay."""
    actor.require("viewer", org_id)
    actor.require_operator()
    seen = seen_version(UNSET if version is None else version, if_match)
    try:
        return versioned(show(await store.organisations.close(org_id, seen.version, actor=actor.name)))
    except Fault as fault:
        raise seen.explain(fault) from None


HANDLERS = [create_organisation, list_organisations, get_organisation, update_organisation, close_organisation]


def show(organisation: Organisation) -> OrganisationView:
    """An organisation as it is shown."""
    return OrganisationView(
        id=organisation.id,
        name=organisation.name,
        prepaid=organisation.prepaid,
        markup_percent=percent_text(organisation.markup_ppm),
        markups_percent={name: percent_text(ppm) for name, ppm in organisation.markups.items()},
        free_monthly_usd=usd_text(organisation.free_monthly_nano),
        low_balance_usd=None if organisation.low_balance_nano is None else usd_text(organisation.low_balance_nano),
        created_at=moment_text(organisation.created_at_ms),
        closed_at=moment_text(organisation.closed_at_ms),
        version=organisation.version,
    )


def _edit(data: NewOrganisation | OrganisationChange) -> OrganisationEdit:
    require_usd(data.currency)
    markups, free, low = data.markups_percent, data.free_monthly_usd, data.low_balance_usd
    return OrganisationEdit(
        name=data.name,
        prepaid=data.prepaid,
        markup_ppm=UNSET if data.markup_percent is UNSET else ppm_of(data.markup_percent, "markup_percent"),
        markups=UNSET if markups is UNSET else {name: ppm_of(one, f"markups_percent.{name}") for name, one in markups.items()},
        free_monthly_nano=UNSET if free is UNSET else nano_of(free, "free_monthly_usd"),
        low_balance_nano=UNSET if low is UNSET else nano_or_none(low, "low_balance_usd"),
    )
