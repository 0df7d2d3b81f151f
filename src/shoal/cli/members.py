"""`shoal members`: who belongs to an organisation, and what each may do there."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from shoal.cli.at_store import ACTOR, AS_JSON, CONFIG, ORG, act, describe, find_member, find_org, show

if TYPE_CHECKING:
    from shoal.storage.members import Member
    from shoal.storage.store import Store

app = typer.Typer(help="Members of organisations, and their roles.", no_args_is_help=True)
_COLUMNS = ("email", "name", "role", "id", "created_at")
WHICH = typer.Argument(metavar="EMAIL_OR_ID", help="The member.")
Roles = Literal["owner", "admin", "developer", "viewer"]


@app.command("add")
def add(
    email: str = typer.Argument(help="The address."),
    role: Roles = typer.Option("viewer", help="What it may do."),
    name: str | None = typer.Option(None, help="What to call it; its address, without."),
    org: str = ORG,
    config: Path | None = CONFIG,
) -> None:
    """Add a member; its id is printed, alone, on stdout."""
    from msgspec import UNSET

    from shoal.storage.members import MemberEdit

    async def run(store: "Store") -> "Member":
        edit = MemberEdit(email=email, name=UNSET if name is None else name, role=role)
        return await store.members.add((await find_org(store, org)).id, edit, actor=ACTOR)

    typer.echo(act(config, run).id)


@app.command("list")
def list_members(org: str = ORG, config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """List an organisation's members, oldest first."""

    async def run(store: "Store") -> "list[Member]":
        return await store.members.list_of((await find_org(store, org)).id)

    show("members", [describe(row) for row in act(config, run)], _COLUMNS, as_json)


@app.command("role")
def change_role(
    which: str = WHICH, role: Roles = typer.Argument(help="What it may do."), org: str = ORG, config: Path | None = CONFIG
) -> None:
    """Give a member another role; its keys for administration follow at once."""
    from shoal.storage.members import MemberEdit

    async def run(store: "Store") -> "Member":
        found = await find_member(store, await find_org(store, org), which)
        return await store.members.update(found.org_id, found.id, found.version, MemberEdit(role=role), actor=ACTOR)

    changed = act(config, run)
    typer.echo(f"{changed.email} ({changed.id}) is {changed.role}.", err=True)


@app.command("remove")
def remove(which: str = WHICH, org: str = ORG, config: Path | None = CONFIG) -> None:
    """Remove a member, whose keys are revoked."""

    async def run(store: "Store") -> "Member":
        found = await find_member(store, await find_org(store, org), which)
        return await store.members.remove(found.org_id, found.id, found.version, actor=ACTOR)

    removed = act(config, run)
    typer.echo(f"{removed.email} ({removed.id}) is removed.", err=True)
