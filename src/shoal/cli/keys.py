"""`shoal keys`: make, list, change and revoke API keys in the store itself, before the first start as well as beside running servers."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli import key_changes
from shoal.cli.at_store import CONFIG, act, find_member, find_org
from shoal.cli.term_options import (
    Burst,
    Daily,
    Endpoints,
    Expires,
    Ips,
    Metadata,
    Models,
    Monthly,
    Parallel,
    Retention,
    Routes,
    Rpm,
    Tags,
    Total,
    Tpm,
    Weekly,
)
from shoal.core.identity import OPERATOR

if TYPE_CHECKING:
    from shoal.storage.keys import Key
    from shoal.storage.store import Store

app = typer.Typer(help="Make, list, change, rotate and revoke API keys.", no_args_is_help=True)
app.command("update")(key_changes.update)
app.command("rotate")(key_changes.rotate)


@app.command("create")
def create(
    name: str = typer.Argument(help="What to call it: 1 to 64 printable characters."),
    budget: Total = None,
    daily: Daily = None,
    weekly: Weekly = None,
    monthly: Monthly = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    parallel: Parallel = None,
    burst: Burst = None,
    retention: Retention = None,
    models: Models = [],  # noqa: B006, typer reads it and makes a list of its own
    endpoints: Endpoints = [],  # noqa: B006
    routes: Routes = [],  # noqa: B006
    ips: Ips = [],  # noqa: B006
    tags: Tags = [],  # noqa: B006
    metadata: Metadata = [],  # noqa: B006
    expires: Expires = None,
    org: str = typer.Option("operator", metavar="NAME_OR_ID", help="The organisation that pays for it."),
    project: str | None = typer.Option(None, metavar="NAME_OR_ID", help="The project it belongs to."),
    member: str | None = typer.Option(None, metavar="EMAIL_OR_ID", help="Whose it is."),
    admin: bool = typer.Option(
        False, "--admin", help="A key for /admin/v1 and nothing else: the operator's, or, with --member, of a member's role."
    ),
    config: Path | None = CONFIG,
) -> None:
    """Make a key and print it, alone, on stdout. It is not shown again: only its hash is kept. What is not limited is free to use."""
    from shoal.cli.terms import read_expiry, read_terms
    from shoal.core.errors import Fault

    async def run(store: "Store") -> str:
        limits = {"daily": daily, "weekly": weekly, "monthly": monthly, "total": budget, "rpm": rpm, "tpm": tpm}
        scopes = {"models": models, "endpoints": endpoints, "routes": routes, "ips": ips, "tags": tags, "metadata": metadata}
        terms = read_terms(**limits, **scopes, parallel=parallel, burst=burst, retention=retention)
        expires_at_ms = read_expiry(expires, datetime.now(UTC))
        owner = await find_org(store, org)
        if admin and member is None and owner.id != OPERATOR:
            raise Fault("missing_parameter", "--admin: outside of the operator's organisation it must be a member's; add --member.")
        made = await store.keys.make(
            owner.id,
            await _find_project(store, owner.id, project),
            name,
            member_id=None if member is None else (await find_member(store, owner, member)).id,
            kind="admin" if admin else "inference",
            terms=terms,
            expires_at_ms=expires_at_ms,
        )
        return made[1]

    secret = act(config, run)
    typer.echo(f'Key "{name}" made. Keep it now, it is not shown again:', err=True)
    typer.echo(secret)


@app.command("list")
def list_keys(
    config: Path | None = CONFIG,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List all keys, revoked ones too, oldest first."""
    keys = act(config, lambda store: store.keys.list_all())
    if as_json:
        typer.echo(json.dumps({"keys": [_describe(key) for key in keys]}, ensure_ascii=False))
        return
    if not keys:
        typer.echo("There are no keys yet: shoal keys create NAME", err=True)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("name", "id", "ends in", "made", "revoked", box=None)
    for key in keys:
        revoked = "" if key.revoked_at_ms is None else _moment(key.revoked_at_ms)
        table.add_row(Text(key.name), key.id, Text(key.hint), _moment(key.created_at_ms), revoked)
    Console(highlight=False).print(table)


@app.command("revoke")
def revoke(
    which: str = typer.Argument(metavar="NAME_OR_ID", help="An active key's name, or any key's id."),
    config: Path | None = CONFIG,
) -> None:
    """Revoke a key; running servers refuse it within a second."""

    async def run(store: "Store") -> "Key":
        return await store.keys.revoke(which)

    key = act(config, run)
    typer.echo(f'Key "{key.name}" ({key.id}) is revoked.', err=True)


async def _find_project(store: "Store", org_id: str, which: str | None) -> str:
    """The id of an organisation's project, by its name or id, or of its first. Errors: Fault not_found."""
    from shoal.core.errors import Fault

    for project in await store.projects.list_of(org_id):
        if project.archived_at_ms is None and (which is None or which in (project.id, project.name)):
            return project.id
    raise Fault("not_found", f"There is no project {(which or '')[:64]!r}.")


def _describe(key: "Key") -> dict[str, object]:
    from msgspec import to_builtins

    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "kind": key.kind,
        "project_id": key.project_id,
        "created_at": _moment(key.created_at_ms),
        "expires_at": None if key.expires_at_ms is None else _moment(key.expires_at_ms),
        "revoked_at": None if key.revoked_at_ms is None else _moment(key.revoked_at_ms),
        "terms": to_builtins(key.terms),
    }


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
