"""What the verbs share that act on the store itself: opening it, finding organisations, and printing rows for people or for programs."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from shoal.storage.members import Member
    from shoal.storage.organisations import Organisation
    from shoal.storage.projects import Project
    from shoal.storage.store import Store

Result = TypeVar("Result")
ACTOR = "cli"
"""What the audit log calls whoever types."""

CONFIG = typer.Option(None, "--config", envvar="SHOAL_CONFIG", help="The TOML configuration.", show_default=False)
AS_JSON = typer.Option(False, "--json", help="Print JSON.")
ORG = typer.Option("operator", "--org", metavar="NAME_OR_ID", help="The organisation.")
_DAY_MS = 86_400_000
_PPM_PER_PERCENT = 10_000


def act(config: Path | None, action: "Callable[[Store], Awaitable[Result]]") -> Result:
    """Open the configured store, act on it, close it. What cannot be done is said on stderr, with exit status 1."""
    import asyncio

    from shoal.settings import home, load
    from shoal.storage.store import open_store

    async def run() -> Result:
        store = await open_store(load(config).storage.url or home() / "shoal.db")
        try:
            return await action(store)
        finally:
            await store.close()

    return guarded(lambda: asyncio.run(run()))


def guarded(work: Callable[[], Result]) -> Result:
    """Do it. What cannot be done is said on stderr, with exit status 1."""
    from shoal.core.errors import Fault
    from shoal.settings import BadSettings
    from shoal.storage.store import STORE_ERRORS

    try:
        return work()
    except (Fault, BadSettings, *STORE_ERRORS) as error:
        typer.echo(f"shoal: {getattr(error, 'orig', None) or error}", err=True)
        raise typer.Exit(1) from None


async def fold(store: "Store") -> None:
    """Bring into the store what journals of this home still hold, a running server's too."""
    from shoal.settings import home

    if (home() / "journal").exists():
        await store.fold(home() / "journal").flush(everyone=True)


async def find_org(store: "Store", which: str) -> "Organisation":
    """An organisation by its id or name. Errors: Fault not_found."""
    from shoal.core.errors import Fault

    for one in await store.organisations.list_all():
        if which in (one.id, one.name):
            return one
    raise Fault("not_found", f"There is no organisation {which[:64]!r}: `shoal orgs list` shows them.")


async def find_project(store: "Store", org: "Organisation", which: str | None) -> "Project":
    """A project of an organisation by its id or name; its first where none is named. Errors: Fault not_found."""
    from shoal.core.errors import Fault

    for one in await store.projects.list_of(org.id):
        if one.archived_at_ms is None and (which is None or which in (one.id, one.name)):
            return one
    raise Fault("not_found", f"There is no project {(which or '')[:64]!r}: `shoal projects list --org {org.id}` shows them.")


async def find_member(store: "Store", org: "Organisation", which: str) -> "Member":
    """A member of an organisation by its id or address. Errors: Fault not_found."""
    from shoal.core.errors import Fault

    for member in await store.members.list_of(org.id):
        if which.lower() in (member.id, member.email):
            return member
    raise Fault("not_found", f"There is no member {which[:64]!r}: `shoal members list --org {org.id}` shows them.")


def nano(text: str) -> int:
    """Nano-USD of what was typed, which may begin with a minus. Errors: Fault."""
    from shoal.core.errors import Fault
    from shoal.core.money import nano_from_usd

    try:
        return -nano_from_usd(text[1:]) if text.startswith("-") else nano_from_usd(text)
    except ValueError as error:
        raise Fault("invalid_value", str(error)) from None


def ppm(text: str) -> int:
    """Millionths of percent that were typed. Errors: Fault."""
    from decimal import Decimal, InvalidOperation

    from shoal.core.errors import Fault

    try:
        value = Decimal(text) * _PPM_PER_PERCENT
        if value.is_finite() and value == value.to_integral_value() and 0 <= value <= 10**8:
            return int(value)
    except InvalidOperation:
        pass
    raise Fault("invalid_value", f"{text[:40]!r} is no percentage from 0 to 10,000 with at most four decimals.")


def days(since: str | None, until: str | None) -> tuple[int, int]:
    """The first and the last of the days that were typed, in days since 1970; the last 31 where they were not. Errors: Fault."""
    from shoal.core.errors import Fault

    epoch, today = date(1970, 1, 1), datetime.now(UTC).date()
    try:
        last = (today if until is None else date.fromisoformat(until)) - epoch
        first = last.days - 30 if since is None else (date.fromisoformat(since) - epoch).days
    except ValueError:
        raise Fault("invalid_value", "--since and --until are days, such as 2026-11-25.") from None
    return first, last.days


def describe(row: Any) -> dict[str, Any]:
    """A row for a program: amounts in USD and shares in percent as decimal texts, times in RFC 3339."""
    import msgspec

    from shoal.core.money import NANO_PER_USD, usd_text

    def percent(value: int) -> str:
        return usd_text(value * (NANO_PER_USD // _PPM_PER_PERCENT))

    shown: dict[str, Any] = {}
    for name, value in msgspec.json.decode(msgspec.json.encode(row)).items():
        if name.endswith("_nano"):
            shown[f"{name.removesuffix('nano')}usd"] = None if value is None else usd_text(value)
        elif name.endswith("at_ms"):
            shown[name.removesuffix("_ms")] = None if value is None else moment(value)
        elif name.endswith("_ppm"):
            shown[f"{name.removesuffix('ppm')}percent"] = percent(value)
        elif name == "markups":
            shown["markups_percent"] = {model: percent(one) for model, one in value.items()}
        elif name == "day" and value is not None:
            shown["day"] = datetime.fromtimestamp(value * _DAY_MS / 1000, UTC).date().isoformat()
        else:
            shown[name] = value
    return shown


def moment(at_ms: int) -> str:
    """A time in RFC 3339, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def show(name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], as_json: bool) -> None:
    """Print rows: all of each as JSON under `name`, or `columns` of them as a table."""
    if as_json:
        typer.echo(json.dumps({name: list(rows)}, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")  # an amount or an id that is cut short says nothing
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    Console(highlight=False).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return "" if value is None else str(value)
