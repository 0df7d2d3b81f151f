"""What was asked and answered, of projects and callers that want it kept: compressed, and gone with the retention of the log."""

import asyncio
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import delete, exc, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.storage.bulk import storable
from shoal.storage.database import writing
from shoal.storage.kept_tables import bodies, completion_labels, completions

MOST_BYTES = 16 * 1024 * 1024
"""A longer body is not kept."""


_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")


class Chat(msgspec.Struct, frozen=True):
    """What is known of a kept chat, whose response is the whole completion. `id` is the answer's; `asked`: its caller wanted it stored,
    and not the project alone; `model` and `provider` are who answered; `labels` are its metadata."""

    id: str
    asked: bool
    requested_model: str
    model: str
    provider: str
    labels: Mapping[str, str] = {}


class Body(msgspec.Struct, frozen=True):
    """The bytes of one request and of its answer (of a stream that is no chat: its events). `user_id` is for whom the caller asked; may
    be empty. A `chat` can be found again as a stored completion."""

    request_id: str
    key_id: str
    project_id: str
    user_id: str
    at_ms: int
    request: bytes
    response: bytes
    chat: Chat | None = None


class Bodies:
    """The kept bodies. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def save(self, kept: Sequence[Body]) -> int:
        """Keep these, but for those that are too long; how many are kept. Of a request that is kept already the newer one stays.

        An id that another completion of the project has, or that no path can hold, gives way to one that is made of the request's.
        """
        fitting = [one for one in kept if len(one.request) <= MOST_BYTES and len(one.response) <= MOST_BYTES]
        rows = await asyncio.to_thread(lambda: [_pack(one) for one in fitting])
        if rows:
            try:
                await self._insert(fitting, rows)
            except exc.IntegrityError:  # another process has just kept the same id, which is seen now
                await self._insert(fitting, rows)
        return len(rows)

    async def _insert(self, kept: Sequence[Body], rows: Sequence[dict[str, object]]) -> None:
        async with writing(self._engine).begin() as connection:
            await connection.execute(delete(bodies).where(bodies.c.request_id.in_([one.request_id for one in kept])))
            await connection.execute(insert(bodies), rows)
            chats = [one for one in kept if one.chat is not None]
            if chats:
                taken = await _find_taken(connection, chats)
                await connection.execute(insert(completions), [_describe(one, taken) for one in chats])
            labels = [row for one in chats for row in label_rows(one.request_id, one.project_id, one.at_ms, one.chat.labels)]  # type: ignore[union-attr]
            if labels:
                await connection.execute(insert(completion_labels), labels)

    async def find(self, request_id: str, project_id: str) -> Body | None:
        """The bodies of a project's request, without what is known of a chat; None where they are not kept."""
        where = (bodies.c.request_id == request_id) & (bodies.c.project_id == project_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(bodies).where(where))).mappings().first()
        return None if row is None else await asyncio.to_thread(_unpack, {**row})


def label_rows(request_id: str, project_id: str, at_ms: int, labels: Mapping[str, str]) -> list[dict[str, object]]:
    """The rows of a completion's metadata."""
    row = {"request_id": request_id, "project_id": project_id, "at_ms": at_ms}
    stored = {storable(name): storable(value) for name, value in labels.items()}
    return [{**row, "name": name, "value": value} for name, value in stored.items()]


async def _find_taken(connection: AsyncConnection, chats: Iterable[Body]) -> set[tuple[str, str]]:
    """Which of the ids are a completion's already, with their projects."""
    ids = {one.chat.id for one in chats if one.chat is not None}
    found = await connection.execute(select(completions.c.project_id, completions.c.id).where(completions.c.id.in_(ids)))
    return {(row.project_id, row.id) for row in found}


def _describe(body: Body, taken: set[tuple[str, str]]) -> dict[str, object]:
    assert body.chat is not None
    name = body.chat.id
    if not _PLAIN_ID.fullmatch(name) or (body.project_id, name) in taken:
        name = "chatcmpl-" + body.request_id.removeprefix("req_")
    taken.add((body.project_id, name))
    row = {name: storable(getattr(body.chat, name)) for name in ("requested_model", "model", "provider")}
    return {"request_id": body.request_id, "project_id": body.project_id, "at_ms": body.at_ms, "id": name, "asked": body.chat.asked, **row}


def _pack(body: Body) -> dict[str, object]:
    row: dict[str, Any] = {name: getattr(body, name) for name in ("request_id", "key_id", "project_id", "at_ms")}
    packed = {"request": zlib.compress(body.request), "response": zlib.compress(body.response)}
    return row | packed | {"user_id": storable(body.user_id) or None}


def _unpack(row: dict[str, object]) -> Body:
    request, response = (zlib.decompress(row[name]) for name in ("request", "response"))  # type: ignore[arg-type]
    return Body(**row | {"request": request, "response": response, "user_id": row["user_id"] or ""})  # type: ignore[arg-type]
