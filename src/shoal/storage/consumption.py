"""What was used, summed up: read from the roll-ups, which are kept as requests arrive. The log is never scanned."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import BigInteger, Column, ColumnElement, Select, cast, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.storage.schema import api_keys, project_usage_days, projects, usage_days

By = Literal["day", "model", "project", "key", "organisation"]
_SUMS = (
    "requests",
    "errors",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano",
    "charged_nano",
)


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Of what is asked: days since 1970 (UTC), the first and the last included. What is None is not looked at."""

    first_day: int
    last_day: int
    org_id: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    model: str | None = None


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """What one group used. Its own columns are set, the others None. No sum has requests whose cost is not known: they are `unpriced`."""

    day: int | None = None
    model: str | None = None
    project: str | None = None
    key: str | None = None
    organisation: str | None = None
    requests: int
    errors: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano: int
    charged_nano: int


class Consumption:
    """The roll-ups, read."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, span: Span, by: Sequence[By], *, skip: int = 0, limit: int = 100) -> list[Used]:
        """Sums in the order of their groups, `skip` of which are left out. By key where a key is among it, or else by project."""
        table = usage_days if span.key_id is not None or "key" in by else project_usage_days
        groups = [_group(table, name).label(name) for name in by]
        sums = [cast(func.coalesce(func.sum(table.c[name]), 0), BigInteger).label(name) for name in _SUMS]
        query = _from(select(*groups, *sums), table).where(table.c.day.between(span.first_day, span.last_day), *_where(table, span))
        query = query.group_by(*groups).order_by(*groups).offset(skip).limit(limit)
        async with self._engine.connect() as connection:
            return [Used(**row) for row in (await connection.execute(query)).mappings()]


def _from(query: Select[Any], table: Any) -> Select[Any]:
    """Keys and projects know whose they are."""
    if table is usage_days:
        return query.select_from(api_keys.join(usage_days, usage_days.c.key_id == api_keys.c.id))
    return query.select_from(projects.join(project_usage_days, project_usage_days.c.project_id == projects.c.id))


def _group(table: Any, name: By) -> Column[Any]:
    owner = api_keys if table is usage_days else projects
    columns: dict[str, Column[Any]] = {"day": table.c.day, "model": table.c.model, "organisation": owner.c.org_id}
    columns["key"] = api_keys.c.id
    columns["project"] = api_keys.c.project_id if table is usage_days else projects.c.id
    return columns[name]


def _where(table: Any, span: Span) -> list[ColumnElement[bool]]:
    found = ((name, getattr(span, f"{name}_id")) for name in ("org", "project", "key"))
    named: dict[str, By] = {"org": "organisation", "project": "project", "key": "key"}
    where = [_group(table, named[name]) == value for name, value in found if value is not None]
    return where if span.model is None else [*where, table.c.model == span.model]
