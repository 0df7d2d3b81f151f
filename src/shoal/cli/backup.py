"""`shoal backup` and `shoal restore`: the whole database in one file, taken while everyone goes on, and the way back."""

from pathlib import Path

import typer

from shoal.cli.at_store import CONFIG, guarded


def backup(
    target: Path = typer.Argument(help="A file that is not there yet; its owner alone may read it."), config: Path | None = CONFIG
) -> None:
    """Copy the database into a file. Keys for providers stay sealed: keep secret.key, or SHOAL_SECRET, elsewhere."""
    import asyncio

    from shoal.storage.backup import back_up

    guarded(lambda: asyncio.run(back_up(_address(config), target)))
    typer.echo(f"The database is in {target}.", err=True)


def restore(source: Path = typer.Argument(help="What `shoal backup` wrote."), config: Path | None = CONFIG) -> None:
    """Fill a database that is empty, or not there yet, and bring it to this release. Stop the server first."""
    import asyncio

    from shoal.storage import backup as copies

    guarded(lambda: asyncio.run(copies.restore(_address(config), source)))
    typer.echo(f"{source} is restored.", err=True)


def _address(config: Path | None) -> str | Path:
    from shoal.settings import home, load

    return load(config).storage.url or home() / "shoal.db"
