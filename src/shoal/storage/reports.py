"""What was used, for pages: read from the roll-ups, so that it costs the same however many requests there were; and the log, by pages."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import BigInteger, Column, Select, cast, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.storage.schema import api_keys, project_usage_days, projects, requests, usage_days

By = Literal["day", "model", "key", "project"]
_SUMS = [column.name for column in usage_days.columns if not column.primary_key]
_LINE = [column for column in requests.columns if column.name != "receipt"]


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over requests, by what was asked for: the others are None. `unpriced` requests are those whose cost is not known."""

    day: int | None = None
    model: str | None = None
    key: str | None = None
    project: str | None = None
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


class Reports:
    """What an organisation used."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def usage(
        self, org_id: str | None, first_day: int, last_day: int, by: Sequence[By] = ("day",), *, key_id: str | None = None
    ) -> list[Used]:
        """Sums over days (since 1970, UTC, both included), largest charge first where not by day. None is all organisations."""
        by_key = "key" in by or key_id is not None
        table = usage_days if by_key else project_usage_days
        owner: Column[Any] = table.c.key_id if by_key else table.c.project_id
        columns = {"day": table.c.day, "model": table.c.model, "key": owner, "project": api_keys.c.project_id if by_key else owner}
        groups = [columns[name].label(name) for name in by]
        sums = [cast(func.sum(table.c[name]), BigInteger).label(name) for name in _SUMS]
        query = select(*groups, *sums).where(table.c.day >= first_day, table.c.day <= last_day)
        if by_key:
            query = query.join(api_keys, api_keys.c.id == table.c.key_id)
        if org_id is not None:
            query = query.where(api_keys.c.org_id == org_id if by_key else owner.in_(_projects_of(org_id)))
        if key_id is not None:
            query = query.where(table.c.key_id == key_id)
        order = [columns["day"]] if "day" in by else []
        query = query.group_by(*(columns[name] for name in by)).order_by(*order, func.sum(table.c.charged_nano).desc(), *groups)
        async with self._engine.connect() as connection:
            return [Used(**row) for row in (await connection.execute(query)).mappings() if row["requests"] is not None]

    async def log(
        self, org_id: str, *, key_id: str | None = None, before: tuple[int, str] | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Requests, newest first, those before the one that began at `before[0]` with the id `before[1]`; without their receipts."""
        async with self._engine.connect() as connection:
            ids = (await connection.execute(_projects_of(org_id))).scalars().all()
            if key_id is not None:
                parts = [_newest(before, limit).where(requests.c.key_id == key_id, requests.c.org_id == org_id)]
            else:  # a part for each project, so that each is read along its index
                parts = [_newest(before, limit).where(requests.c.project_id == one) for one in ids]
            if not parts:
                return []
            rows = union_all(*(select(part.subquery()) for part in parts)).subquery()
            query = select(rows).order_by(rows.c.at_ms.desc(), rows.c.request_id.desc()).limit(limit)
            return [{**row} for row in (await connection.execute(query)).mappings()]


def _projects_of(org_id: str) -> Select[tuple[Any]]:
    return select(projects.c.id).where(projects.c.org_id == org_id)


def _newest(before: tuple[int, str] | None, limit: int) -> Select[Any]:
    query = select(*_LINE).order_by(requests.c.at_ms.desc(), requests.c.request_id.desc()).limit(limit)
    if before is None:
        return query
    at_ms, request_id = before
    here = (requests.c.at_ms < at_ms) | ((requests.c.at_ms == at_ms) & (requests.c.request_id < request_id))
    return query.where(requests.c.at_ms <= at_ms, here)
