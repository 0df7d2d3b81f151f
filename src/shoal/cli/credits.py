"""`shoal credits`: money into wallets, codes that are worth some, and statements of what became of it."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli.at_store import ACTOR, AS_JSON, CONFIG, act, days, describe, find_org, fold, nano, show

if TYPE_CHECKING:
    from shoal.storage.statements import Statement
    from shoal.storage.store import Store

app = typer.Typer(help="Wallets: top up, adjust, codes, statements.", no_args_is_help=True)
WHICH = typer.Argument(metavar="ORG", help="The organisation's name or id.")
REFERENCE = typer.Option(None, metavar="TEXT", help="Your own name of it: the same again moves nothing.")
_NUMBERED = {"ignore_unknown_options": True}  # -0.5 is an amount, and no option


@app.command("balance")
def balance(which: str = WHICH, config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """Show what is in a wallet, and how much of it is held for requests."""

    async def run(store: "Store") -> dict[str, object]:
        found = await find_org(store, which)
        return {"organisation": found.name, "organisation_id": found.id, **describe(await store.ledger.balance(found.id))}

    show("wallets", [act(config, run)], ("organisation", "balance_usd", "held_usd"), as_json)


@app.command("add")
def add(
    which: str = WHICH,
    amount: str = typer.Argument(metavar="USD", help="How much."),
    reference: str | None = REFERENCE,
    memo: str = typer.Option("", help="What for."),
    config: Path | None = CONFIG,
) -> None:
    """Put money into a wallet."""
    from shoal.storage.identifiers import new_id

    async def run(store: "Store") -> bool:
        found = await find_org(store, which)
        name = reference or new_id("top_")
        return await store.ledger.top_up(found.id, nano(amount), "admin", f"{found.id}:{name}", memo=memo, actor=ACTOR)

    _say(act(config, run), amount, which)


@app.command("adjust", context_settings=_NUMBERED)
def adjust(
    which: str = WHICH,
    amount: str = typer.Argument(metavar="USD", help="How much; less than 0 takes it out."),
    memo: str = typer.Option(..., help="Why."),
    reference: str | None = REFERENCE,
    config: Path | None = CONFIG,
) -> None:
    """Correct a wallet, up or down."""
    from shoal.storage.identifiers import new_id

    async def run(store: "Store") -> bool:
        found = await find_org(store, which)
        name = reference or new_id("adj_")
        return await store.ledger.adjust(found.id, nano(amount), f"{found.id}:{name}", memo=memo, actor=ACTOR)

    _say(act(config, run), amount, which)


@app.command("code")
def make_code(
    amount: str = typer.Argument(metavar="USD", help="What it is worth."),
    expires: str | None = typer.Option(None, metavar="WHEN", help="Until when it can be redeemed: 30d, 2027-01-31."),
    config: Path | None = CONFIG,
) -> None:
    """Make a code and print it, alone, on stdout. It is not shown again."""
    from datetime import UTC, datetime

    from shoal.cli.terms import read_expiry

    async def run(store: "Store") -> str:
        return await store.codes.create(nano(amount), expires_at_ms=read_expiry(expires, datetime.now(UTC)), actor=ACTOR)

    typer.echo(act(config, run))


@app.command("codes")
def list_codes(config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """List codes by their numbers, newest first."""
    rows = act(config, lambda store: store.codes.list_all())
    show("codes", [describe(row) for row in rows], ("number", "amount_usd", "made_at", "expires_at", "redeemed_at", "org_id"), as_json)


@app.command("redeem")
def redeem(which: str = WHICH, code: str = typer.Argument(help="The code."), config: Path | None = CONFIG) -> None:
    """Put what a code is worth into a wallet."""
    from shoal.core.money import usd_text

    async def run(store: "Store") -> int:
        return await store.codes.redeem((await find_org(store, which)).id, code, actor=ACTOR)

    _say(True, usd_text(act(config, run)), which)


@app.command("statement")
def statement(
    which: str = WHICH,
    since: str | None = typer.Option(None, metavar="DAY", help="The first day (UTC); 30 days before the last, without."),
    until: str | None = typer.Option(None, metavar="DAY", help="The last day; today, without."),
    as_csv: bool = typer.Option(False, "--csv", help="Print CSV."),
    config: Path | None = CONFIG,
    as_json: bool = AS_JSON,
) -> None:
    """Show what a wallet held, every change of it, and what it holds; use is summed up by day."""
    from shoal.storage.windows import DAY_MS

    async def run(store: "Store") -> "Statement":
        found = await find_org(store, which)
        first, last = days(since, until)
        await fold(store)
        return await store.statements.make(found.id, first * DAY_MS, (last + 1) * DAY_MS)

    made = act(config, run)
    if as_csv:
        typer.echo(made.csv(), nl=False)
        return
    rows = [describe(one) for one in made.positions]
    show("positions", rows, ("at", "kind", "memo", "amount_usd", "balance_usd"), as_json)


def _say(done: bool, amount: str, which: str) -> None:
    if done:
        typer.echo(f"{amount} USD moved: {which}.", err=True)
        return
    typer.echo("Nothing moved: this reference has been used.", err=True)
