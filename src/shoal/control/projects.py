"""Projects: parts of an organisation whose use is counted apart, and which say what is kept of their requests, and for how long."""

import msgspec
from litestar import Response, delete, get, patch, post
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

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
from shoal.storage.projects import Days, Project, ProjectEdit


class ProjectView(msgspec.Struct, frozen=True, kw_only=True):
    """A project. `keep_bodies`: what was asked and answered is kept; `retention_days`: for how long the log is, null as elsewhere;
    `may_train`: what is kept may teach a model."""

    id: str
    organisation_id: str
    name: str
    keep_bodies: bool
    retention_days: int | None
    may_train: bool
    created_at: str | None
    archived_at: str | None
    version: int


class NewProject(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A new project, which keeps no bodies unless it says so."""

    name: str
    keep_bodies: bool = False
    retention_days: Days | None = None
    may_train: bool = False


class ProjectChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be changed; what is not given stays."""

    name: str | UnsetType = UNSET
    keep_bodies: bool | UnsetType = UNSET
    retention_days: Days | UnsetType | None = UNSET
    may_train: bool | UnsetType = UNSET
    version: Version | UnsetType = UNSET


@post("/organisations/{org_id:str}/projects")
async def create_project(org_id: Id, data: JSONBody[NewProject], actor: GivenActor, store: GivenStore) -> Response[ProjectView]:
    """Make a project."""
    actor.require("admin", org_id)
    edit = _edit(data)
    return versioned(show(await store.projects.create(org_id, edit, actor=actor.name)), 201)


@get("/organisations/{org_id:str}/projects")
async def list_projects(org_id: Id, actor: GivenActor, store: GivenStore, limit: Limit = 50, cursor: Cursor = None) -> Page[ProjectView]:
    """List projects, archived ones too, oldest first."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    return paged(await store.projects.list_of(org_id, after=read_cursor(cursor, AGE), limit=limit + 1), limit, show, by_age)


@get("/organisations/{org_id:str}/projects/{project_id:str}")
async def get_project(org_id: Id, project_id: Id, actor: GivenActor, store: GivenStore) -> Response[ProjectView]:
    """Show a project."""
    actor.require("viewer", org_id)
    return versioned(show(await store.projects.find(org_id, project_id)))


@patch("/organisations/{org_id:str}/projects/{project_id:str}")
async def update_project(
    org_id: Id, project_id: Id, data: JSONBody[ProjectChange], actor: GivenActor, store: GivenStore, if_match: IfMatch = None
) -> Response[ProjectView]:
    """Change a project."""
    actor.require("admin", org_id)
    seen = seen_version(data.version, if_match)
    edit = _edit(data)
    try:
        return versioned(show(await store.projects.update(org_id, project_id, seen.version, edit, actor=actor.name)))
    except Fault as fault:
        raise seen.explain(fault) from None


@delete(
    "/organisations/{org_id:str}/projects/{project_id:str}",
    status_code=200,
)
async def archive_project(
    org_id: Id, project_id: Id, actor: GivenActor, store: GivenStore, version: QueryVersion = None, if_match: IfMatch = None
) -> Response[ProjectView]:
    """Archive a project: its keys are revoked, its log stays as long as it is kept."""
    actor.require("admin", org_id)
    seen = seen_version(UNSET if version is None else version, if_match)
    try:
        return versioned(show(await store.projects.archive(org_id, project_id, seen.version, actor=actor.name)))
    except Fault as fault:
        raise seen.explain(fault) from None


def _edit(data: NewProject | ProjectChange) -> ProjectEdit:
    return ProjectEdit(name=data.name, keep_bodies=data.keep_bodies, retention_days=data.retention_days, may_train=data.may_train)


HANDLERS = [create_project, list_projects, get_project, update_project, archive_project]


def show(project: Project) -> ProjectView:
    """A project as it is shown."""
    return ProjectView(
        id=project.id,
        organisation_id=project.org_id,
        name=project.name,
        keep_bodies=project.keep_bodies,
        retention_days=project.retention_days,
        may_train=project.may_train,
        created_at=moment_text(project.created_at_ms),
        archived_at=moment_text(project.archived_at_ms),
        version=project.version,
    )
