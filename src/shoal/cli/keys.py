"""`shoal keys`: make, list and revoke API keys in the store itself, before the first start as well as beside running servers."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from shoal.storage.keys import Key, KeyStore

Result = TypeVar("Result")
CONFIG = typer.Option(None, "--config", envvar="SHOAL_CONFIG", help="The TOML configuration.", show_default=False)

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command("create")
def create(
    name: str = typer.Argument(help="What to call it: 1 to 64 printable characters."),
    config: Path | None = CONFIG,
) -> None:
    """Make a key and print it, alone, on stdout. It is not shown again: only its hash is kept."""

    async def act(keys: "KeyStore") -> str:
        return await keys.create(name)

    secret = _act(config, act)
    typer.echo(f'Key "{name}" made. Keep it now, it is not shown again:', err=True)
    typer.echo(secret)


@app.command("list")
def list_keys(
    config: Path | None = CONFIG,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List all keys, revoked ones too, oldest first."""
    keys = _act(config, lambda store: store.list_all())
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

    async def act(keys: "KeyStore") -> "Key":
        return await keys.revoke(which)

    key = _act(config, act)
    typer.echo(f'Key "{key.name}" ({key.id}) is revoked.', err=True)


def _act(config: Path | None, action: "Callable[[KeyStore], Awaitable[Result]]") -> Result:
    """Open the configured store, act on its keys, close it. What cannot be done is said on stderr, with exit status 1."""
    import asyncio

    from shoal.core.errors import Fault
    from shoal.settings import BadSettings, home, load
    from shoal.storage.store import STORE_ERRORS, open_store

    async def run() -> Result:
        store = await open_store(load(config).storage.url or home() / "shoal.db")
        try:
            return await action(store.keys)
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except (Fault, BadSettings, *STORE_ERRORS) as error:
        typer.echo(f"shoal: {getattr(error, 'orig', None) or error}", err=True)
        raise typer.Exit(1) from None


def _describe(key: "Key") -> dict[str, str | None]:
    revoked = None if key.revoked_at_ms is None else _moment(key.revoked_at_ms)
    return {"id": key.id, "name": key.name, "hint": key.hint, "created_at": _moment(key.created_at_ms), "revoked_at": revoked}


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
