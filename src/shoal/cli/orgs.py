"""`shoal orgs`: organisations, who pays and on what terms."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli.at_store import ACTOR, AS_JSON, CONFIG, act, describe, find_org, fold, nano, ppm, show

if TYPE_CHECKING:
    from shoal.storage.organisations import Organisation, OrganisationEdit
    from shoal.storage.retention import Forgotten
    from shoal.storage.store import Store

app = typer.Typer(help="Organisations: who pays, and on what terms.", no_args_is_help=True)
_COLUMNS = ("name", "id", "prepaid", "markup_percent", "free_monthly_usd", "low_balance_usd", "closed_at")
WHICH = typer.Argument(metavar="NAME_OR_ID", help="The organisation.")
PREPAID = typer.Option(None, "--prepaid/--postpaid", help="Whether it pays in advance. [default: prepaid]", show_default=False)
MARKUP = typer.Option(None, metavar="PERCENT", help="What it is charged above cost.")
MARKUPS = typer.Option([], "--markup-of", metavar="MODEL=PERCENT", help="The same for one model, or for route/NAME; all of them at once.")
FREE = typer.Option(None, metavar="USD", help="What is free each calendar month.")
LOW = typer.Option(None, metavar="USD", help="Below it there is an alert.")


@app.command("create")
def create(
    name: str = typer.Argument(help="What to call it."),
    prepaid: bool | None = PREPAID,
    markup: str | None = MARKUP,
    markup_of: list[str] = MARKUPS,
    free_monthly: str | None = FREE,
    low_balance: str | None = LOW,
    config: Path | None = CONFIG,
) -> None:
    """Make an organisation, with its wallet and a first project; its id is printed, alone, on stdout."""

    async def run(store: "Store") -> "Organisation":
        return await store.organisations.create(_edit(name, prepaid, markup, markup_of, free_monthly, low_balance), actor=ACTOR)

    typer.echo(act(config, run).id)


@app.command("list")
def list_orgs(config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """List all organisations, closed ones too, oldest first."""
    rows = act(config, lambda store: store.organisations.list_all())
    show("organisations", [describe(row) for row in rows], _COLUMNS, as_json)


@app.command("update")
def update(
    which: str = WHICH,
    name: str | None = typer.Option(None, help="Another name."),
    prepaid: bool | None = PREPAID,
    markup: str | None = MARKUP,
    markup_of: list[str] = MARKUPS,
    free_monthly: str | None = FREE,
    low_balance: str | None = LOW,
    config: Path | None = CONFIG,
) -> None:
    """Change an organisation; its keys follow within a second."""

    async def run(store: "Store") -> "Organisation":
        found = await find_org(store, which)
        edit = _edit(name, prepaid, markup, markup_of, free_monthly, low_balance)
        return await store.organisations.update(found.id, found.version, edit, actor=ACTOR)

    changed = act(config, run)
    typer.echo(f'Organisation "{changed.name}" ({changed.id}) is changed.', err=True)


@app.command("close")
def close(which: str = WHICH, config: Path | None = CONFIG) -> None:
    """Close an organisation: its keys open nothing any more, its money and its log stay."""

    async def run(store: "Store") -> "Organisation":
        found = await find_org(store, which)
        return await store.organisations.close(found.id, found.version, actor=ACTOR)

    closed = act(config, run)
    typer.echo(f'Organisation "{closed.name}" ({closed.id}) is closed.', err=True)


@app.command("forget-user")
def forget_user(which: str = WHICH, user: str = typer.Argument(help="Whom callers named in `user`."), config: Path | None = CONFIG) -> None:
    """Delete what is kept of one user; costs stay, for nobody in particular."""

    async def run(store: "Store") -> "Forgotten":
        found = await find_org(store, which)
        await fold(store)
        return await store.retention.forget(found.id, user, actor=ACTOR)

    gone = act(config, run)
    typer.echo(f"Forgotten: {gone.requests} requests, {gone.bodies} bodies and {gone.responses} kept answers.", err=True)


def _edit(
    name: str | None,
    prepaid: bool | None,
    markup: str | None,
    markup_of: list[str],
    free_monthly: str | None,
    low_balance: str | None,
) -> "OrganisationEdit":
    from msgspec import UNSET

    from shoal.core.errors import Fault
    from shoal.storage.organisations import OrganisationEdit

    pairs = [one.rpartition("=")[::2] for one in markup_of]
    if not all(model for model, _ in pairs):
        raise Fault("invalid_value", "--markup-of is MODEL=PERCENT, such as openai/gpt-5=20.")
    return OrganisationEdit(
        name=UNSET if name is None else name,
        prepaid=UNSET if prepaid is None else prepaid,
        markup_ppm=UNSET if markup is None else ppm(markup),
        markups={model: ppm(percent) for model, percent in pairs} if pairs else UNSET,
        free_monthly_nano=UNSET if free_monthly is None else _positive(free_monthly),
        low_balance_nano=UNSET if low_balance is None else _positive(low_balance),
    )


def _positive(text: str) -> int:
    from shoal.core.errors import Fault

    amount = nano(text)
    if amount < 0:
        raise Fault("invalid_value", f"{text!r} is less than nothing.")
    return amount
