"""`shoal projects`: parts of an organisation whose use is counted apart, and what is kept of their requests."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli.at_store import ACTOR, AS_JSON, CONFIG, ORG, act, describe, find_org, show

if TYPE_CHECKING:
    from shoal.storage.projects import Project
    from shoal.storage.store import Store

app = typer.Typer(help="Projects: whose use is counted apart.", no_args_is_help=True)
_COLUMNS = ("name", "id", "keep_bodies", "retention_days", "may_train", "created_at", "archived_at")
KEEP = typer.Option(None, "--keep-bodies/--forget-bodies", help="Whether what is asked and answered is kept.", show_default=False)
TRAIN = typer.Option(None, "--may-train/--may-not-train", help="Whether what is kept may teach a model.", show_default=False)
RETENTION = typer.Option(None, "--retention-days", min=1, max=36_500, help="How long its log is kept; as elsewhere, where it does not say.")


@app.command("create")
def create(
    name: str = typer.Argument(help="What to call it."),
    org: str = ORG,
    keep_bodies: bool | None = KEEP,
    retention_days: int | None = RETENTION,
    may_train: bool | None = TRAIN,
    config: Path | None = CONFIG,
) -> None:
    """Make a project; its id is printed, alone, on stdout."""
    from shoal.storage.projects import ProjectEdit

    async def run(store: "Store") -> "Project":
        edit = ProjectEdit(name=name, keep_bodies=bool(keep_bodies), retention_days=retention_days, may_train=bool(may_train))
        return await store.projects.create((await find_org(store, org)).id, edit, actor=ACTOR)

    typer.echo(act(config, run).id)


@app.command("list")
def list_projects(org: str = ORG, config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """List an organisation's projects, archived ones too, oldest first."""

    async def run(store: "Store") -> "list[Project]":
        return await store.projects.list_of((await find_org(store, org)).id)

    show("projects", [describe(row) for row in act(config, run)], _COLUMNS, as_json)


@app.command("update")
def update(
    which: str = typer.Argument(metavar="NAME_OR_ID", help="The project."),
    org: str = ORG,
    name: str | None = typer.Option(None, help="Another name."),
    keep_bodies: bool | None = KEEP,
    retention_days: int | None = RETENTION,
    may_train: bool | None = TRAIN,
    config: Path | None = CONFIG,
) -> None:
    """Change a project."""
    from msgspec import UNSET

    from shoal.storage.projects import ProjectEdit

    async def run(store: "Store") -> "Project":
        found = await _find(store, org, which)
        edit = ProjectEdit(
            name=UNSET if name is None else name,
            keep_bodies=UNSET if keep_bodies is None else keep_bodies,
            retention_days=UNSET if retention_days is None else retention_days,
            may_train=UNSET if may_train is None else may_train,
        )
        return await store.projects.update(found.org_id, found.id, found.version, edit, actor=ACTOR)

    changed = act(config, run)
    typer.echo(f'Project "{changed.name}" ({changed.id}) is changed.', err=True)


@app.command("archive")
def archive(which: str = typer.Argument(metavar="NAME_OR_ID", help="The project."), org: str = ORG, config: Path | None = CONFIG) -> None:
    """Archive a project: its keys are revoked, its log stays for as long as it is kept."""

    async def run(store: "Store") -> "Project":
        found = await _find(store, org, which)
        return await store.projects.archive(found.org_id, found.id, found.version, actor=ACTOR)

    archived = act(config, run)
    typer.echo(f'Project "{archived.name}" ({archived.id}) is archived.', err=True)


async def _find(store: "Store", org: str, which: str) -> "Project":
    from shoal.core.errors import Fault

    for project in await store.projects.list_of((await find_org(store, org)).id):
        if which in (project.id, project.name):
            return project
    raise Fault("not_found", f"There is no project {which[:64]!r}: `shoal projects list --org {org}` shows them.")
