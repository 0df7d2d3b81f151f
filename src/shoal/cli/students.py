"""`shoal students`: the small models that were made from an organisation's traffic, as they lie on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shoal.cli.at_store import ACTOR, AS_JSON, CONFIG, act, find_org, guarded, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from shoal.storage.store import Store

app = typer.Typer(help="Students: models of your own that the local model's process serves.", no_args_is_help=True)
NAME = typer.Argument(metavar="NAME", help="ft:BASE:ORG:NAME, or with a version.")
_COLUMNS = ("model", "current", "kind", "base", "organisation_id", "made_at")


@app.command("list")
def list_students(
    org: str | None = typer.Option(None, "--org", metavar="NAME_OR_ID", help="Of this organisation alone.", show_default=False),
    config: Path | None = CONFIG,
    as_json: bool = AS_JSON,
) -> None:
    """List every version of every student on this machine; a running server needs not be asked."""
    from shoal.cli.at_store import moment
    from shoal.core.identity import OPERATOR
    from shoal.mini import shelf
    from shoal.settings import home

    async def find(store: "Store") -> str:
        return (await find_org(store, org or "")).id

    org_id = act(config, find) if org is not None else None
    rows: list[dict[str, Any]] = []
    for one in guarded(lambda: shelf.list_students(home())):
        owner = one.card.org_id or OPERATOR
        if org_id in (None, owner):
            made = moment(one.card.made_at * 1000) if one.card.made_at else None
            row = {"model": one.id, "alias": str(one.name.alias), "version": one.name.version, "current": one.current}
            rows.append({**row, "kind": one.card.kind, "base": one.card.base, "organisation_id": owner, "made_at": made})
    show("students", rows, _COLUMNS, as_json)


@app.command("rollback")
def rollback(name: str = NAME, config: Path | None = CONFIG) -> None:
    """Let a name lead to the version that was current before, or to the version that is named; its name is printed."""
    from shoal.mini.shelf import make_current

    (made,) = _change(config, "student.current", lambda home: [make_current(home, name)])
    typer.echo(made)


@app.command("delete")
def delete(name: str = NAME, config: Path | None = CONFIG) -> None:
    """Delete a version, or, without one, all of them; answers under way are finished. What is gone is printed."""
    from shoal.mini import shelf

    for gone in _change(config, "student.delete", lambda home: shelf.delete(home, name)):
        typer.echo(gone)


def _change(config: Path | None, action: str, change: "Callable[[Path], list[str]]") -> list[str]:
    """Change what lies on the shelf, and write it down."""
    from shoal.core.errors import Fault
    from shoal.core.identity import OPERATOR
    from shoal.mini.shelf import ShelfError, list_students
    from shoal.settings import home

    async def run(store: "Store") -> list[str]:
        owners = {one.id: one.card.org_id or OPERATOR for one in list_students(home())}
        try:
            changed = change(home())
        except ShelfError as error:
            raise Fault("not_found", str(error)) from None
        for one in changed:
            await store.audit.record(ACTOR, action, owners.get(one), one)
        return changed

    return act(config, run)
