"""`shoal distil suggest`: which part of the traffic a mini could take over, and what that would save."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli.at_store import AS_JSON, CONFIG, ORG, act, find_org, find_project, fold, guarded

if TYPE_CHECKING:
    from shoal.core.money import Price
    from shoal.distil.suggest import Report
    from shoal.mini.engine import Embedder
    from shoal.settings import Settings
    from shoal.storage.store import Store

_DAY_MS = 86_400_000


def suggest(
    days: int = typer.Option(30, min=1, help="How far back to look."),
    model: str | None = typer.Option(None, help="Look at this model's requests alone."),
    most: int = typer.Option(3000, min=10, help="How many kept requests to look at, the newest first."),
    org: str = ORG,
    project: str | None = typer.Option(
        None, "--project", metavar="NAME_OR_ID", help="The project; its organisation's first, without.", show_default=False
    ),
    config: Path | None = CONFIG,
    as_json: bool = AS_JSON,
) -> None:
    """Say which of the kept requests look alike, what they cost a month, and what a mini would cost."""
    import time

    import msgspec
    from rich.console import Console

    from shoal.distil.collect import Wanted
    from shoal.distil.suggest import show
    from shoal.distil.suggest import suggest as look
    from shoal.mini.heads import embed_with
    from shoal.settings import load

    settings = guarded(lambda: load(config))
    embedder = _load_embedder(settings)
    wanted = Wanted(since_ms=int(time.time() * 1000) - days * _DAY_MS, model=model, most=most)

    async def run(store: "Store") -> "Report":
        await fold(store)
        found = await find_org(store, org)
        place = await find_project(store, found, project)
        overrides = settings.distil.licence_overrides
        return await look(store, found.id, place.id, embed_with(embedder), _price_of_mini(settings), wanted, overrides)

    with Console(stderr=True).status("Looking at what was asked ..."):
        report = act(config, run)
    if as_json:
        typer.echo(msgspec.json.encode(report))
    else:
        show(report, Console())


def _load_embedder(settings: "Settings") -> "Embedder":
    import os

    from shoal.core.errors import Fault
    from shoal.mini.catalogue import load_embedder
    from shoal.mini.pull import PullFailed
    from shoal.settings import home

    def open_model() -> "Embedder":
        try:
            return load_embedder(home(), settings.mini.threads or os.cpu_count() or 1)
        except PullFailed as error:
            raise Fault("not_ready", str(error)) from None

    return guarded(open_model)


def _price_of_mini(settings: "Settings") -> "Price | None":
    """What a token of this machine's mini costs; None where its speed has not been measured."""
    from shoal.mini.catalogue import measured_speed
    from shoal.providers.minnow import price_of
    from shoal.settings import home

    try:
        speed = measured_speed(home(), settings.mini.model)
    except OSError:
        return None
    return price_of(settings.mini.usd_per_hour, speed.decode_tokens_per_s, speed.prefill_tokens_per_s)
