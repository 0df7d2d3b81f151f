"""`shoal providers`: who can be reached, and the keys for them that are kept, encrypted, in the store."""

import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from shoal.settings import Settings
    from shoal.storage.store import Store

Result = TypeVar("Result")
CONFIG = typer.Option(None, "--config", envvar="SHOAL_CONFIG", help="The TOML configuration.", show_default=False)
_LONGEST = 16_384

app = typer.Typer(help="List providers, and keep keys for them.", no_args_is_help=True)


@app.command("list")
def list_providers(
    config: Path | None = CONFIG,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List every provider: whether it can be reached, or what to do about it."""
    from shoal.providers.registry import load

    async def act(store: "Store", settings: "Settings") -> dict[str, tuple[str, ...]]:
        from shoal.settings import home

        return await store.credentials.open_all(home(), os.environ)

    stored, settings = _act(config, act)
    providers = load(settings.providers, os.environ, stored)
    if as_json:
        rows = [
            {"name": one.name, "title": one.row.title, "base_url": one.base_url, "keys": len(one.keys), "missing": one.missing}
            for one in providers.values()
        ]
        typer.echo(json.dumps({"providers": rows}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("provider", "", "keys", "ready", box=None)
    for one in sorted(providers.values(), key=lambda one: (one.missing is not None, one.name)):
        table.add_row(Text(one.name), Text(one.row.title), str(len(one.keys) or ""), Text("yes" if one.missing is None else one.missing))
    Console(highlight=False).print(table)


@app.command("set-key")
def set_key(
    name: str = typer.Argument(help="The provider."),
    config: Path | None = CONFIG,
    add: bool = typer.Option(False, "--add", help="Keep the keys that are there: several are used in turn."),
) -> None:
    """Store a key, read from standard input (never from the command line, which others can see). Restart the server to use it."""
    from shoal.providers.row import read_rows

    async def act(store: "Store", settings: "Settings") -> None:
        from shoal.core.errors import Fault
        from shoal.settings import home
        from shoal.storage.credentials import read_secret

        known = {*read_rows(), *settings.providers}
        if name not in known:
            raise Fault("not_found", f"There is no provider {name!r}; `shoal providers list` shows them.")
        await store.credentials.put(name, _read_key(name), read_secret(home(), os.environ), keep=add)

    _act(config, act)
    typer.echo(f"The key for {name} is stored; restart the server to use it.", err=True)


@app.command("remove-key")
def remove_key(name: str = typer.Argument(help="The provider."), config: Path | None = CONFIG) -> None:
    """Forget the stored keys of a provider; those of the environment and of the configuration stay."""

    async def act(store: "Store", settings: "Settings") -> int:
        return await store.credentials.remove(name)

    removed, _ = _act(config, act)
    if not removed:
        typer.echo(f"shoal: no key is stored for {name!r}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{removed} key{'s' if removed > 1 else ''} for {name} forgotten; restart the server.", err=True)


def _read_key(name: str) -> str:
    if sys.stdin.isatty():
        return str(typer.prompt(f"Key for {name}", hide_input=True, err=True)).strip()
    return sys.stdin.read(_LONGEST).strip()


def _act(config: Path | None, action: "Callable[[Store, Settings], Awaitable[Result]]") -> "tuple[Result, Settings]":
    """Open the configured store, act on it, close it. What cannot be done is said on stderr, with exit status 1."""
    import asyncio

    from shoal.core.errors import Fault
    from shoal.settings import BadSettings, home, load
    from shoal.storage.store import STORE_ERRORS, open_store

    async def run() -> "tuple[Result, Settings]":
        settings = load(config)
        store = await open_store(settings.storage.url or home() / "shoal.db")
        try:
            return await action(store, settings), settings
        finally:
            await store.close()

    try:
        return asyncio.run(run())
    except (Fault, BadSettings, *STORE_ERRORS) as error:
        typer.echo(f"shoal: {getattr(error, 'orig', None) or error}", err=True)
        raise typer.Exit(1) from None
