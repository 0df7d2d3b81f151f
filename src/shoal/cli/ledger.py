"""`shoal ledger`: the proof that the books are right, and who holds money just now."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli.at_store import ACTOR, AS_JSON, CONFIG, act, describe, show

if TYPE_CHECKING:
    from shoal.storage.store import Store

app = typer.Typer(help="The books: their proof, and who holds money.", no_args_is_help=True)


@app.command("check")
def check(config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """Prove that the books are right; the exit status is 1 where they are not."""
    errors = act(config, lambda store: store.ledger.check())
    if as_json or errors:
        show("errors", [{"error": one} for one in errors], ("error",), as_json)
    else:
        typer.echo("The books are right.", err=True)
    raise typer.Exit(1 if errors else 0)


@app.command("holders")
def holders(config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """List the processes that hold money or rates."""
    rows = act(config, lambda store: store.holders.list_all())
    show("holders", [describe(row) for row in rows], ("id", "home", "started_at", "renewed_at", "held_usd"), as_json)


@app.command("release")
def release(holder: str = typer.Argument(help="Its id."), config: Path | None = CONFIG) -> None:
    """Take back what a process holds whose home is lost, and whose journal will not come back."""

    async def run(store: "Store") -> None:
        await store.holders.release(holder)
        await store.audit.record(ACTOR, "holder.release", None, holder)

    act(config, run)
    typer.echo(f"{holder} holds nothing any more.", err=True)
