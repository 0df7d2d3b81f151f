"""`shoal usage`: what was used, summed up by day, model, key, project or organisation."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from shoal.cli.at_store import AS_JSON, CONFIG, act, days, describe, find_org, fold, show

if TYPE_CHECKING:
    from shoal.storage.consumption import By, Used
    from shoal.storage.store import Store

_GROUPS = ("day", "model", "key", "project", "organisation")
_SUMS = ("requests", "errors", "unpriced", "input_tokens", "output_tokens", "cost_usd", "charged_usd")
_MOST = 100_000


def usage(
    org: str | None = typer.Option(None, "--org", metavar="NAME_OR_ID", help="One organisation alone."),
    by: str = typer.Option("day", help=f"Of {', '.join(_GROUPS)}, one or several with commas."),
    since: str | None = typer.Option(None, metavar="DAY", help="The first day (UTC); 30 days before the last, without."),
    until: str | None = typer.Option(None, metavar="DAY", help="The last day; today, without."),
    config: Path | None = CONFIG,
    as_json: bool = AS_JSON,
) -> None:
    """Show what was used."""
    groups = by.split(",")

    async def run(store: "Store") -> "list[Used]":
        from shoal.core.errors import Fault
        from shoal.storage.consumption import Span

        if not set(groups) <= set(_GROUPS):
            raise Fault("invalid_value", f"--by is of {', '.join(_GROUPS)}.")
        first, last = days(since, until)
        org_id = None if org is None else (await find_org(store, org)).id
        await fold(store)
        span = Span(first_day=first, last_day=last, org_id=org_id)
        return await store.consumption.read(span, [cast("By", one) for one in groups], limit=_MOST)

    rows = [{name: value for name, value in describe(row).items() if name in groups or name not in _GROUPS} for row in act(config, run)]
    show("usage", rows, (*groups, *_SUMS), as_json)
