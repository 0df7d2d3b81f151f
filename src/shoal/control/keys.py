"""Keys: made, shown, changed, given another secret, revoked. A secret is told once, when it is made, and never again.

Who may make a key for inference may be a developer. A key for administration acts with its member's role, so nobody makes, or renews, one
that could do more than the maker's own.
"""

from typing import Annotated, Literal

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import JSONBody, Parameter
from msgspec import UNSET, Meta, UnsetType

from shoal.control.actor import RANKS, Actor
from shoal.control.amounts import Moment, moment_ms, moment_text
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import AGE, Cursor, Id, IfMatch, Limit, Page, Version, by_age, paged, read_cursor, seen_version, versioned
from shoal.control.terms import (
    BudgetsView,
    LimitsView,
    ScopesView,
    TermsBody,
    merge,
    show_budgets,
    show_limits,
    show_scopes,
)
from shoal.core.errors import Fault
from shoal.core.identity import OPERATOR, Kind
from shoal.core.terms import Terms
from shoal.storage.key_changes import MOST_GRACE_S, KeyEdit
from shoal.storage.keys import Key
from shoal.storage.store import Store

GivenId = Annotated[str, Meta(min_length=1, max_length=64)]
Grace = Annotated[float, Meta(ge=0, le=MOST_GRACE_S, description="Seconds for which the secret before is still good.")]


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key. `ends_in` are its secret's last four letters; a key for administration acts with its member's role."""

    id: str
    name: str
    kind: Kind
    organisation_id: str
    project_id: str
    member_id: str | None
    ends_in: str
    scopes: ScopesView
    ips: tuple[str, ...] | None
    budgets_usd: BudgetsView
    limits: LimitsView
    metadata: dict[str, str]
    tags: tuple[str, ...]
    retention: str | None
    created_at: str | None
    expires_at: str | None
    revoked_at: str | None
    version: int


class SecretView(msgspec.Struct, frozen=True):
    """A key and its secret, which is not shown again."""

    key: KeyView
    secret: str


class NewKey(TermsBody, kw_only=True, forbid_unknown_fields=True):
    """A new key, of the organisation's first project unless it names another."""

    name: str
    kind: Kind = "inference"
    project_id: GivenId | None = None
    member_id: GivenId | None = None
    expires_at: Moment | None = None


class KeyChange(TermsBody, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; what is not given stays."""

    name: str | UnsetType = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    version: Version | UnsetType = UNSET


class Rotation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Another secret for a key."""

    grace_s: Grace = 0.0
    version: Version | UnsetType = UNSET


@post("/organisations/{org_id:str}/keys")
async def create_key(org_id: Id, data: JSONBody[NewKey], actor: GivenActor, store: GivenStore) -> Response[SecretView]:
    """Make a key; its secret is in the answer, this once."""
    actor.require("developer", org_id)
    await _may_hold(actor, store, org_id, data.kind, data.member_id)
    terms = merge(Terms(), data)
    _check_kind(data.kind, terms)
    key, secret = await store.keys.make(
        org_id,
        data.project_id or await _first_project(store, org_id),
        data.name,
        member_id=data.member_id,
        kind=data.kind,
        terms=terms,
        expires_at_ms=None if data.expires_at is None else moment_ms(data.expires_at, "expires_at"),
        actor=actor.name,
    )
    return Response(SecretView(show(key), secret), status_code=201, headers={"etag": f'"{key.version}"'})


@get("/organisations/{org_id:str}/keys")
async def list_keys(
    org_id: Id,
    actor: GivenActor,
    store: GivenStore,
    project_id: Annotated[str | None, Parameter(max_length=64)] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[KeyView]:
    """List keys, revoked ones too, oldest first."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    rows = await store.keys.list_of(org_id, project_id, after=read_cursor(cursor, AGE), limit=limit + 1)
    return paged(rows, limit, show, by_age)


@get("/organisations/{org_id:str}/keys/{key_id:str}")
async def get_key(org_id: Id, key_id: Id, actor: GivenActor, store: GivenStore) -> Response[KeyView]:
    """Show a key."""
    actor.require("viewer", org_id)
    return versioned(show(await store.key_changes.find(org_id, key_id)))


@patch("/organisations/{org_id:str}/keys/{key_id:str}")
async def update_key(
    org_id: Id, key_id: Id, data: JSONBody[KeyChange], actor: GivenActor, store: GivenStore, if_match: IfMatch = None
) -> Response[KeyView]:
    """Change a key; running servers follow within a second."""
    key = await _find_changeable(org_id, key_id, actor, store)
    seen = seen_version(data.version, if_match)
    terms = merge(key.terms, data)
    _check_kind(key.kind, terms)
    ends: int | UnsetType | None = UNSET
    if data.expires_at is not UNSET:
        ends = None if data.expires_at is None else moment_ms(data.expires_at, "expires_at")
    edit = KeyEdit(name=data.name, terms=UNSET if terms == key.terms else terms, expires_at_ms=ends)
    try:
        return versioned(show(await store.key_changes.update(org_id, key_id, seen.version, edit, actor=actor.name)))
    except Fault as fault:
        raise seen.explain(fault) from None


@post("/organisations/{org_id:str}/keys/{key_id:str}/rotate", status_code=200)
async def rotate_key(
    org_id: Id, key_id: Id, data: JSONBody[Rotation], actor: GivenActor, store: GivenStore, if_match: IfMatch = None
) -> Response[SecretView]:
    """Give a key another secret, shown this once."""
    await _find_changeable(org_id, key_id, actor, store)
    seen = seen_version(data.version, if_match)
    try:
        key, secret = await store.key_changes.rotate(org_id, key_id, seen.version, grace_s=data.grace_s, actor=actor.name)
    except Fault as fault:
        raise seen.explain(fault) from None
    return Response(SecretView(show(key), secret), headers={"etag": f'"{key.version}"'})


@delete("/organisations/{org_id:str}/keys/{key_id:str}", status_code=200)
async def revoke_key(org_id: Id, key_id: Id, actor: GivenActor, store: GivenStore) -> Response[KeyView]:
    """Revoke a key, for good."""
    await _find_changeable(org_id, key_id, actor, store)
    return versioned(show(await store.key_changes.revoke(org_id, key_id, actor=actor.name)))


HANDLERS = [create_key, list_keys, get_key, update_key, rotate_key, revoke_key]


def show(key: Key) -> KeyView:
    """A key as it is shown."""
    return KeyView(
        id=key.id,
        name=key.name,
        kind=key.kind,
        organisation_id=key.org_id,
        project_id=key.project_id,
        member_id=key.member_id,
        ends_in=key.hint,
        scopes=show_scopes(key.terms),
        ips=key.terms.ips,
        budgets_usd=show_budgets(key.terms),
        limits=show_limits(key.terms),
        metadata=key.terms.metadata,
        tags=key.terms.tags,
        retention=key.terms.retention,
        created_at=moment_text(key.created_at_ms),
        expires_at=moment_text(key.expires_at_ms),
        revoked_at=moment_text(key.revoked_at_ms),
        version=key.version,
    )


async def _find_changeable(org_id: str, key_id: str, actor: Actor, store: Store) -> Key:
    """A key that this actor may change. Errors: Fault."""
    actor.require("viewer", org_id)
    key = await store.key_changes.find(org_id, key_id)
    actor.require_rank("developer")
    await _may_hold(actor, store, org_id, key.kind, key.member_id)
    return key


async def _may_hold(actor: Actor, store: Store, org_id: str, kind: Literal["inference", "admin"], member_id: str | None) -> None:
    """Errors: Fault forbidden, where a key of this kind could do more than the actor; missing_parameter, where it could do nothing."""
    if kind == "inference":
        return
    actor.require_rank("admin")
    if member_id is None:
        if org_id != OPERATOR:
            text = "A key for administration acts with the role of a member: say whose it is."
            raise Fault("missing_parameter", text, param="member_id")
        actor.require_operator()
        return
    try:
        role = (await store.members.find(org_id, member_id)).role
    except Fault as fault:
        raise Fault(fault.kind, fault.message, param="member_id") from None
    if RANKS[role] > RANKS[actor.role]:
        raise Fault("forbidden", f"The key would be {role}'s, who may do more than the {actor.role} that asks.", param="member_id")


def _check_kind(kind: str, terms: Terms) -> None:
    """A limit that would mean nothing must not be taken for one."""
    told = msgspec.structs.replace(terms, ips=None, metadata={}, tags=())
    if kind == "admin" and told != Terms():
        raise Fault(
            "unsupported_parameter",
            "A key for administration has no scopes, budgets or limits, and no retention: it asks no model.",
            param="kind",
        )


async def _first_project(store: Store, org_id: str) -> str:
    for project in await store.projects.list_of(org_id):
        if project.archived_at_ms is None:
            return project.id
    raise Fault("not_found", f"There is no organisation {org_id[:64]!r} with a project.", param="project_id")
