"""`shoal audit`: who did what to whom."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli.at_store import AS_JSON, CONFIG, act, describe, find_org, show

if TYPE_CHECKING:
    from shoal.storage.audit import Act
    from shoal.storage.store import Store


def audit(
    org: str | None = typer.Option(None, "--org", metavar="NAME_OR_ID", help="The acts of one organisation alone."),
    limit: int = typer.Option(100, min=1, max=100_000, help="The most acts, newest first."),
    config: Path | None = CONFIG,
    as_json: bool = AS_JSON,
) -> None:
    """Show what was done, newest first."""

    async def run(store: "Store") -> "list[Act]":
        return await store.audit.read(None if org is None else (await find_org(store, org)).id, limit=limit)

    rows = [describe(one) for one in act(config, run)]
    show("acts", rows, ("at", "actor", "action", "target", "detail"), as_json)
