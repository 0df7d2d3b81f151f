"""Projects: parts of an organisation, whose use is counted apart, and which say what is kept of their requests, and for how long."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy import ColumnElement, exc, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.audit import record
from shoal.storage.database import gate, writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.keys import read_keys, revoke_key
from shoal.storage.ledger import no_wallet
from shoal.storage.names import check_name
from shoal.storage.pages import Mark, cut
from shoal.storage.schema import DEFAULT_PROJECT, api_keys, organisations, projects
from shoal.storage.versions import change_row, find_row, given

Days = Annotated[int, Meta(ge=1, le=36_500)]


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """One project. `keep_bodies`: what was asked and answered is kept; `retention_days`: for how long the log is, None as elsewhere;
    `may_train`: what is kept may teach a model."""

    id: str
    org_id: str
    name: str
    keep_bodies: bool
    retention_days: int | None
    created_at_ms: int
    archived_at_ms: int | None = None
    version: int
    may_train: bool


class ProjectEdit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed of a project; what is not given stays."""

    name: str | UnsetType = UNSET
    keep_bodies: bool | UnsetType = UNSET
    retention_days: Days | UnsetType | None = UNSET
    may_train: bool | UnsetType = UNSET


class Projects:
    """The projects of organisations. Every change is one transaction, with its line in the audit log."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, org_id: str, edit: ProjectEdit, *, actor: str) -> Project:
        """Make a project. Errors: Fault."""
        values = _values(edit)
        if "name" not in values:
            raise Fault("missing_parameter", "A project needs a name.", param="name")
        row = {"keep_bodies": False, "retention_days": None, "may_train": False, **values, "id": new_id("proj_"), "org_id": org_id}
        row |= {"created_at_ms": now_ms(), "archived_at_ms": None, "version": 1}
        try:
            async with writing(self._engine).begin() as connection:
                await find_row(connection, organisations, organisations.c.id == org_id, no_wallet(org_id))
                await connection.execute(insert(projects).values(**row))
                await record(connection, actor, "project.create", org_id, row["id"], given(edit))
        except exc.IntegrityError as error:
            raise _taken(row["name"]) from error
        return Project(**row)

    async def find(self, org_id: str, project_id: str) -> Project:
        """One project of an organisation. Errors: Fault not_found."""
        async with self._engine.connect() as connection:
            return Project(**await find_row(connection, projects, _is(org_id, project_id), _missing(project_id)))

    async def list_of(self, org_id: str, *, after: Mark | None = None, limit: int | None = None) -> list[Project]:
        """An organisation's projects, archived ones too, oldest first; a page of them by (created_at_ms, id)."""
        query = cut(select(projects).where(projects.c.org_id == org_id), (projects.c.created_at_ms, projects.c.id), after, limit)
        async with self._engine.connect() as connection:
            return [Project(**row) for row in (await connection.execute(query)).mappings()]

    async def keeping(self) -> frozenset[str]:
        """The ids of all projects that keep bodies."""
        query = select(projects.c.id).where(projects.c.keep_bodies, projects.c.archived_at_ms.is_(None))
        async with self._engine.connect() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def update(self, org_id: str, project_id: str, version: int, edit: ProjectEdit, *, actor: str) -> Project:
        """Change a project. Errors: Fault not_found, conflict, invalid_value."""
        values = _values(edit)
        try:
            async with writing(self._engine).begin() as connection:
                changed = await change_row(connection, projects, _is(org_id, project_id), version, values, _missing(project_id))
                await record(connection, actor, "project.update", org_id, project_id, changed.detail)
        except exc.IntegrityError as error:
            raise _taken(str(values.get("name"))) from error
        return Project(**changed.after)

    async def archive(self, org_id: str, project_id: str, version: int, *, actor: str) -> Project:
        """Archive a project: its keys are revoked, its log stays for as long as it is kept. Errors: Fault."""
        if project_id == DEFAULT_PROJECT:
            raise Fault("invalid_value", "The operator's first project cannot be archived.")
        async with writing(self._engine).begin() as connection:
            await gate(connection, "keys")
            change = {"archived_at_ms": now_ms()}
            changed = await change_row(connection, projects, _is(org_id, project_id), version, change, _missing(project_id))
            for key in await read_keys(connection, (api_keys.c.project_id == project_id) & api_keys.c.replaced_by.is_(None)):
                await revoke_key(connection, key)
            await record(connection, actor, "project.archive", org_id, project_id)
        return Project(**changed.after)


def _values(edit: ProjectEdit) -> dict[str, Any]:
    values = given(edit)
    return values | {"name": check_name(values["name"], "project's name")} if "name" in values else values


def _is(org_id: str, project_id: str) -> ColumnElement[bool]:
    return (projects.c.org_id == org_id) & (projects.c.id == project_id)


def _missing(project_id: str) -> Fault:
    return Fault("not_found", f"There is no project {project_id[:64]!r}.", param="project")


def _taken(name: str) -> Fault:
    return Fault("conflict", f'There is a project called "{name}" already.', param="name")
