"""Members and their roles. Nobody gives a role above the own, or touches who has one."""

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from shoal.control.actor import Actor
from shoal.control.amounts import moment_text
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
from shoal.storage.members import Member, MemberEdit, Role
from shoal.storage.store import Store


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """A member of an organisation."""

    id: str
    organisation_id: str
    email: str
    name: str
    role: Role
    created_at: str | None
    removed_at: str | None
    version: int


class NewMember(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new member: a viewer unless it says otherwise, known by its address if it has no name."""

    email: str
    name: str | UnsetType = UNSET
    role: Role = "viewer"


class MemberChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; what is not given stays."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    version: Version | UnsetType = UNSET


@post("/organisations/{org_id:str}/members")
async def add_member(org_id: Id, data: JSONBody[NewMember], actor: GivenActor, store: GivenStore) -> Response[MemberView]:
    """Add a member."""
    actor.require("admin", org_id)
    actor.require_rank(data.role)
    edit = MemberEdit(email=data.email, name=data.name, role=data.role)
    return versioned(show(await store.members.add(org_id, edit, actor=actor.name)), 201)


@get("/organisations/{org_id:str}/members")
async def list_members(org_id: Id, actor: GivenActor, store: GivenStore, limit: Limit = 50, cursor: Cursor = None) -> Page[MemberView]:
    """List members, oldest first."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    return paged(await store.members.list_of(org_id, after=read_cursor(cursor, AGE), limit=limit + 1), limit, show, by_age)


@get("/organisations/{org_id:str}/members/{member_id:str}")
async def get_member(org_id: Id, member_id: Id, actor: GivenActor, store: GivenStore) -> Response[MemberView]:
    """Show a member."""
    actor.require("viewer", org_id)
    return versioned(show(await store.members.find(org_id, member_id)))


@patch("/organisations/{org_id:str}/members/{member_id:str}")
async def update_member(
    org_id: Id, member_id: Id, data: JSONBody[MemberChange], actor: GivenActor, store: GivenStore, if_match: IfMatch = None
) -> Response[MemberView]:
    """Change a member; its keys follow at once."""
    await _require_above(org_id, member_id, actor, store)
    if data.role is not UNSET:
        actor.require_rank(data.role)
    seen = seen_version(data.version, if_match)
    edit = MemberEdit(email=data.email, name=data.name, role=data.role)
    try:
        return versioned(show(await store.members.update(org_id, member_id, seen.version, edit, actor=actor.name)))
    except Fault as fault:
        raise seen.explain(fault) from None


@delete("/organisations/{org_id:str}/members/{member_id:str}", status_code=200)
async def remove_member(
    org_id: Id, member_id: Id, actor: GivenActor, store: GivenStore, version: QueryVersion = None, if_match: IfMatch = None
) -> Response[MemberView]:
    """Remove a member, whose keys are revoked."""
    await _require_above(org_id, member_id, actor, store)
    seen = seen_version(UNSET if version is None else version, if_match)
    try:
        return versioned(show(await store.members.remove(org_id, member_id, seen.version, actor=actor.name)))
    except Fault as fault:
        raise seen.explain(fault) from None


HANDLERS = [add_member, list_members, get_member, update_member, remove_member]


def show(member: Member) -> MemberView:
    """A member as it is shown."""
    return MemberView(
        id=member.id,
        organisation_id=member.org_id,
        email=member.email,
        name=member.name,
        role=member.role,
        created_at=moment_text(member.created_at_ms),
        removed_at=moment_text(member.removed_at_ms),
        version=member.version,
    )


async def _require_above(org_id: str, member_id: str, actor: Actor, store: Store) -> None:
    """Whether an actor may change a member. Errors: Fault."""
    actor.require("viewer", org_id)
    member = await store.members.find(org_id, member_id)
    actor.require_rank("admin")
    actor.require_rank(member.role)
