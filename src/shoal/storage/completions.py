"""Stored completions: the kept chats of a project, found by id, model and metadata, page by page in the order of time.

To any other project they are not there. What one page reads is bounded in rows and in bytes, however much is kept.
"""

import asyncio
import heapq
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, FromClause, Row, Select, delete, exists, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.storage.bodies import label_rows
from shoal.storage.database import writing
from shoal.storage.kept_tables import bodies, completion_labels, completions
from shoal.storage.pages import Mark, cut

Order = Sequence[ColumnElement[Any]]
MOST_PAGE_BYTES = 16 * 1024 * 1024
"""Of a page, compressed; a page holds at least one completion all the same."""


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """One stored completion: the request as it came, and the whole answer as the caller got it. See storage.bodies.Chat."""

    id: str
    request_id: str
    project_id: str
    key_id: str
    user_id: str
    at_ms: int
    requested_model: str
    model: str
    provider: str
    asked: bool
    labels: dict[str, str]
    request: bytes
    response: bytes

    @property
    def mark(self) -> Mark:
        """Its place in the order of time."""
        return (self.at_ms, self.request_id)


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for in a project: a model by either of its names, the one asked for or the one that answered; every one of `labels`;
    only what callers `asked` to have stored; moments in milliseconds since 1970, the last not included."""

    project_id: str
    model: str | None = None
    labels: Mapping[str, str] = {}
    asked: bool = False
    from_ms: int | None = None
    until_ms: int | None = None


class Page(msgspec.Struct, frozen=True):
    """A part of what is sought, and whether there is more behind it."""

    completions: list[Completion]
    more: bool


class Completions:
    """The stored completions of all projects."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def page(self, sought: Sought, *, after: Mark | None = None, limit: int = 100, newest_first: bool = False) -> Page:
        """At most `limit` of what is sought behind the mark `after`."""
        async with self._engine.connect() as connection:
            queries = [cut(query, order, after, limit + 1, newest_first=newest_first) for query, order in _queries(sought)]
            found = [(await connection.execute(query)).all() for query in queries]
            rows = list(heapq.merge(*found, key=lambda row: (row.at_ms, row.request_id), reverse=newest_first))
            shown = _fit(rows[:limit])
            read = await _read(connection, [row.request_id for row in shown])
        return Page(await asyncio.to_thread(lambda: [_completion(row, labels) for row, labels in read]), len(shown) < len(rows))

    async def walk(self, sought: Sought, *, newest_first: bool = False) -> AsyncIterator[Completion]:
        """All of what is sought, read page by page as it is asked for."""
        page, after = Page([], True), None
        while page.more:
            page = await self.page(sought, after=after, newest_first=newest_first)
            for one in page.completions:
                after = one.mark
                yield one

    async def find(self, project_id: str, id: str) -> Completion | None:
        """One by its id, or that of its request; None when the project has none such."""
        async with self._engine.connect() as connection:
            request_id = await _find_request(connection, project_id, id)
            read = await _read(connection, [] if request_id is None else [request_id])
        return await asyncio.to_thread(_completion, *read[0]) if read else None

    async def label(self, project_id: str, id: str, labels: Mapping[str, str]) -> bool:
        """Give one other metadata; False when the project has none such."""
        async with writing(self._engine).begin() as connection:
            request_id = await _find_request(connection, project_id, id)
            if request_id is None:
                return False
            here = completions.c.request_id == request_id
            at_ms = (await connection.execute(select(completions.c.at_ms).where(here).with_for_update())).scalar_one()
            await connection.execute(delete(completion_labels).where(completion_labels.c.request_id == request_id))
            if rows := label_rows(request_id, project_id, at_ms, labels):
                await connection.execute(insert(completion_labels), rows)
        return True

    async def delete(self, project_id: str, id: str) -> bool:
        """Delete one, its bodies with it; False when the project has none such."""
        async with writing(self._engine).begin() as connection:
            request_id = await _find_request(connection, project_id, id)
            if request_id is not None:
                await connection.execute(delete(bodies).where(bodies.c.request_id == request_id))
        return request_id is not None


async def _find_request(connection: AsyncConnection, project_id: str, id: str) -> str | None:
    for column in (completions.c.id, completions.c.request_id):
        query = select(completions.c.request_id).where(completions.c.project_id == project_id, column == id)
        if (found := (await connection.execute(query)).scalar()) is not None:
            return str(found)
    return None


def _queries(sought: Sought) -> list[tuple[Select[Any], Order]]:
    """Places and sizes of what is sought, and the columns that order them: each query reads an index in the order of time, and a completion
    is in one of them. Metadata is looked for where it is, so that a rare label costs no walk through all that is kept."""
    size = (func.length(bodies.c.request) + func.length(bodies.c.response)).label("size")
    driver: FromClause = completions
    labels = list(sought.labels.items())
    if labels:
        driver = completion_labels.alias()
    order = (driver.c.at_ms, driver.c.request_id)
    query = select(*order, size).select_from(driver).join(bodies, bodies.c.request_id == driver.c.request_id)
    query = query.where(driver.c.project_id == sought.project_id)
    if labels:
        query = query.join(completions, completions.c.request_id == driver.c.request_id)
        query = query.where(driver.c.name == labels[0][0], driver.c.value == labels[0][1])
    for name, value in labels[1:]:
        query = query.where(_has_label(driver.c.request_id, name, value))
    if sought.asked:
        query = query.where(completions.c.asked)
    if sought.from_ms is not None:
        query = query.where(driver.c.at_ms >= sought.from_ms)
    if sought.until_ms is not None:
        query = query.where(driver.c.at_ms < sought.until_ms)
    if sought.model is None:
        return [(query, order)]
    asked_for, answered = completions.c.requested_model == sought.model, completions.c.model == sought.model
    if labels:
        return [(query.where(or_(asked_for, answered)), order)]
    return [(query.where(asked_for), order), (query.where(answered, completions.c.requested_model != sought.model), order)]


def _has_label(request_id: ColumnElement[Any], name: str, value: str) -> ColumnElement[bool]:
    one = completion_labels.alias().c
    return exists().where(one.request_id == request_id, one.name == name, one.value == value)


def _fit(rows: Sequence[Row[Any]]) -> Sequence[Row[Any]]:
    size = 0
    for number, row in enumerate(rows):
        size += row.size
        if number and size > MOST_PAGE_BYTES:
            return rows[:number]
    return rows


async def _read(connection: AsyncConnection, ids: Sequence[str]) -> list[tuple[Row[Any], dict[str, str]]]:
    """These completions, in this order, each with its labels."""
    if not ids:
        return []
    columns = (completions, bodies.c.key_id, bodies.c.user_id, bodies.c.request, bodies.c.response)
    query = select(*columns).join(bodies, bodies.c.request_id == completions.c.request_id).where(completions.c.request_id.in_(ids))
    found = {row.request_id: row for row in await connection.execute(query)}
    labels: dict[str, dict[str, str]] = {id: {} for id in ids}
    for row in await connection.execute(select(completion_labels).where(completion_labels.c.request_id.in_(ids))):
        labels[row.request_id][row.name] = row.value
    return [(found[id], labels[id]) for id in ids if id in found]


def _completion(row: Row[Any], labels: dict[str, str]) -> Completion:
    values = {**row._mapping, "labels": labels, "user_id": row.user_id or ""}
    return Completion(**values | {name: zlib.decompress(values[name]) for name in ("request", "response")})
