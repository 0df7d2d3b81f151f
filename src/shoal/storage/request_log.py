"""The log of requests, newest first, by pages: each reads a bounded part of an index, however rare what is looked for."""

import heapq
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Row, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.storage.pages import Mark, cut
from shoal.storage.schema import projects, requests

_COLUMNS = tuple(column for column in requests.columns if column.name != "receipt")
_PICKY = ("model", "status", "user_id")
_MOST_PROJECTS = 1000
_LOOKED_AT = 10_000
"""Rows that one page may look at. Where none of them is wanted the page is empty, and says from where to go on."""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for: of an organisation, or of one project or key of it; moments in milliseconds since 1970, the last not included."""

    org_id: str
    project_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    status: int | None = None
    user_id: str | None = None
    from_ms: int | None = None
    until_ms: int | None = None


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the log knows it."""

    request_id: str
    at_ms: int
    key_id: str
    endpoint: str
    requested_model: str
    model: str
    provider: str
    deployment: str
    status: int
    stream: bool
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_nano: int | None
    attempts: int
    overhead_us: int
    first_token_us: int | None
    duration_us: int
    error_code: str | None
    charged_nano: int | None
    org_id: str
    project_id: str
    user_id: str | None


class Found(msgspec.Struct, frozen=True):
    """A page: requests, and the mark behind which the next page begins, None at the end."""

    requests: list[Logged]
    after: Mark | None


class RequestLog:
    """The log of requests."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def read(self, sought: Sought, *, after: Mark | None = None, limit: int = 100) -> Found:
        """A page of what is sought, newest first, behind the mark `after` (at_ms, request_id)."""
        async with self._engine.connect() as connection:
            places = await _places(connection, sought)
            picky = any(getattr(sought, name) is not None for name in _PICKY)
            most = max(limit + 1, _LOOKED_AT // max(1, len(places))) if picky else limit + 1
            found = [await _look(connection, place, sought, after, most, limit) for place in places]
        rows = list(heapq.merge(*(rows for rows, _ in found), key=_mark, reverse=True))
        # behind where a place was left, others may have rows that come first
        ends = [end for _, end in found if end is not None]
        least = max(ends, default=None)
        if least is not None:
            rows = [row for row in rows if _mark(row) >= least]
        if len(rows) > limit:
            return Found([Logged(**row._mapping) for row in rows[:limit]], _mark(rows[limit - 1]))
        return Found([Logged(**row._mapping) for row in rows], least)


def _mark(row: Row[Any]) -> tuple[int, str]:
    return (row.at_ms, row.request_id)


async def _places(connection: AsyncConnection, sought: Sought) -> Sequence[tuple[Column[Any], str]]:
    """Where to look: ranges of an index, which are in the order of time."""
    if sought.key_id is not None:
        return [(requests.c.key_id, sought.key_id)]
    if sought.project_id is not None:
        return [(requests.c.project_id, sought.project_id)]
    query = select(projects.c.id).where(projects.c.org_id == sought.org_id).order_by(projects.c.created_at_ms.desc()).limit(_MOST_PROJECTS)
    return [(requests.c.project_id, one) for one in (await connection.execute(query)).scalars()]


async def _look(
    connection: AsyncConnection, place: tuple[Column[Any], str], sought: Sought, after: Mark | None, most: int, limit: int
) -> tuple[Sequence[Row[Any]], tuple[int, str] | None]:
    """What is sought among the first `most` rows of a place, one more than fits a page; and the last of those, if they are so many."""
    column, value = place
    order = (requests.c.at_ms, requests.c.request_id)
    least = sought.from_ms or 0
    here = [column == value] if sought.until_ms is None else [column == value, requests.c.at_ms < sought.until_ms]
    last = cut(select(*order).where(*here, requests.c.at_ms >= least), order, after, 1, newest_first=True).offset(most - 1)
    end = (await connection.execute(last)).first()
    query = select(*_COLUMNS).where(*here, *(requests.c[name] == getattr(sought, name) for name in _given(sought)))
    if end is not None:
        query, least = query.where(tuple_(*order) >= tuple_(*end)), end.at_ms
    query = query.where(requests.c.at_ms >= least)  # by which the index is read: not of the pair, and no other index looks better
    rows = (await connection.execute(cut(query, order, after, limit + 1, newest_first=True))).all()
    return rows, None if end is None else _mark(end)


def _given(sought: Sought) -> list[str]:
    return [name for name in ("org_id", "project_id", "key_id", *_PICKY) if getattr(sought, name) is not None]
