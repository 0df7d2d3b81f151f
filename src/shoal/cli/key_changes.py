"""`shoal keys update` and `rotate`: what becomes of a key after it was made; running servers follow within a second."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from shoal.cli.at_store import ACTOR, CONFIG, act
from shoal.cli.term_options import (
    Burst,
    Daily,
    Endpoints,
    Expires,
    Ips,
    Metadata,
    Models,
    Monthly,
    Parallel,
    Retention,
    Routes,
    Rpm,
    Tags,
    Total,
    Tpm,
    Weekly,
)

if TYPE_CHECKING:
    from shoal.core.terms import Terms
    from shoal.storage.keys import Key
    from shoal.storage.store import Store

WHICH = typer.Argument(metavar="NAME_OR_ID", help="An active key's name (if no other organisation has one so called), or its id.")
_UNITS_S = {"m": 60, "h": 3600, "d": 86_400}
_LIFTED = {"budget": "total_nano"} | {name: f"{name}_nano" for name in ("daily", "weekly", "monthly")}


def update(
    which: str = WHICH,
    name: str | None = typer.Option(None, metavar="NAME", help="What to call it from now on."),
    budget: Total = None,
    daily: Daily = None,
    weekly: Weekly = None,
    monthly: Monthly = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    parallel: Parallel = None,
    burst: Burst = None,
    retention: Retention = None,
    models: Models = [],  # noqa: B006, typer reads it and makes a list of its own
    endpoints: Endpoints = [],  # noqa: B006
    routes: Routes = [],  # noqa: B006
    ips: Ips = [],  # noqa: B006
    tags: Tags = [],  # noqa: B006
    metadata: Metadata = [],  # noqa: B006
    expires: Expires = None,
    lift: list[str] = typer.Option([], metavar="NAME,...", help="Limits to take away: budget, daily, rpm, models, expires, ..."),
    config: Path | None = CONFIG,
) -> None:
    """Change a key's name, terms or end. What is not named stays; its secret and what it has used stay in any case."""
    from msgspec import UNSET

    from shoal.cli.terms import read_expiry, read_terms
    from shoal.storage.key_changes import KeyEdit

    async def run(store: "Store") -> "Key":
        limits = {"daily": daily, "weekly": weekly, "monthly": monthly, "total": budget, "rpm": rpm, "tpm": tpm}
        scopes = {"models": models, "endpoints": endpoints, "routes": routes, "ips": ips, "tags": tags, "metadata": metadata}
        said = read_terms(**limits, **scopes, parallel=parallel, burst=burst, retention=retention)
        lifted = {one.strip().removeprefix("--") for text in lift for one in text.split(",") if one.strip()}
        key = await find_key(store, which)
        edit = KeyEdit(
            name=UNSET if name is None else name,
            terms=_change(key.terms, said, lifted - {"expires"}),
            expires_at_ms=None if "expires" in lifted else UNSET if expires is None else read_expiry(expires, datetime.now(UTC)) or UNSET,
        )
        return await store.key_changes.update(key.org_id, key.id, key.version, edit, actor=ACTOR)

    key = act(config, run)
    typer.echo(f'Key "{key.name}" ({key.id}) is changed.', err=True)


def rotate(
    which: str = WHICH,
    grace: str = typer.Option("0m", metavar="TIME", help="How long the earlier secret stays good: 30m, 24h, 7d; at most 30d."),
    config: Path | None = CONFIG,
) -> None:
    """Give a key a new secret and print it, alone, on stdout. Its id, its terms and what it has used stay."""

    async def run(store: "Store") -> "tuple[Key, str]":
        key = await find_key(store, which)
        return await store.key_changes.rotate(key.org_id, key.id, key.version, grace_s=_seconds(grace), actor=ACTOR)

    key, secret = act(config, run)
    until = "is good no more" if _seconds(grace) == 0 else f"stays good for {grace}"
    typer.echo(f'Key "{key.name}" has a new secret; the earlier one {until}. Keep it now, it is not shown again:', err=True)
    typer.echo(secret)


async def find_key(store: "Store", which: str) -> "Key":
    """An active key by its name or id. Errors: Fault not_found; invalid_value where several are called so."""
    from shoal.core.errors import Fault

    found = [key for key in await store.keys.list_all() if key.active and which in (key.id, key.name)]
    if len(found) > 1:
        ids = " or ".join(key.id for key in found)
        raise Fault("invalid_value", f"{len(found)} keys are called {which[:64]!r}: say which by its id, {ids}.")
    if not found:
        raise Fault("not_found", f"There is no active key {which[:64]!r}; shoal keys list shows all.")
    return found[0]


def _change(terms: "Terms", said: "Terms", lifted: set[str]) -> "Terms":
    """What was said replaces what held, and what is lifted holds no more. Errors: Fault."""
    import msgspec

    from shoal.core.errors import Fault

    fields = msgspec.structs.asdict(type(terms)())
    names = {_LIFTED.get(name, name) for name in lifted}
    unknown = names - set(fields)
    if unknown:
        shown = ", ".join(sorted({*_LIFTED, "expires", *(name for name in fields if not name.endswith("_nano"))}))
        raise Fault("invalid_value", f"--lift: there is no limit {min(unknown)[:64]!r}; there are {shown}.")
    changes = {name: value for name, default in fields.items() if (value := getattr(said, name)) != default}
    return msgspec.structs.replace(terms, **{name: fields[name] for name in names} | changes)


def _seconds(text: str) -> float:
    """Errors: Fault."""
    from shoal.core.errors import Fault

    found = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if found is None:
        raise Fault("invalid_value", f"--grace: {text[:32]!r} is no time such as 30m, 24h or 7d.")
    return float(int(found[1]) * _UNITS_S[found[2]])
