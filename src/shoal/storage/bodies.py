"""What was asked and answered, of projects that want it kept: compressed, and gone with the retention of the log."""

import asyncio
import zlib
from collections.abc import Sequence

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.storage.bulk import storable
from shoal.storage.database import writing
from shoal.storage.schema import bodies

MOST_BYTES = 16 * 1024 * 1024
"""A longer body is not kept."""


class Body(msgspec.Struct, frozen=True):
    """The bytes of one request and of its answer (of a stream: its events). `user_id` is for whom the caller asked; may be empty."""

    request_id: str
    key_id: str
    project_id: str
    user_id: str
    at_ms: int
    request: bytes
    response: bytes


class Bodies:
    """The kept bodies. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def save(self, kept: Sequence[Body]) -> int:
        """Keep these, but for those that are too long; how many are kept. Of a request that is kept already the newer one stays."""
        fitting = [one for one in kept if len(one.request) <= MOST_BYTES and len(one.response) <= MOST_BYTES]
        rows = await asyncio.to_thread(lambda: [_pack(one) for one in fitting])
        if rows:
            async with writing(self._engine).begin() as connection:
                await connection.execute(delete(bodies).where(bodies.c.request_id.in_([one.request_id for one in fitting])))
                await connection.execute(insert(bodies), rows)
        return len(rows)

    async def find(self, request_id: str, project_id: str) -> Body | None:
        """The bodies of a project's request; None where they are not kept."""
        where = (bodies.c.request_id == request_id) & (bodies.c.project_id == project_id)
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(bodies).where(where))).mappings().first()
        return None if row is None else await asyncio.to_thread(_unpack, {**row})


def _pack(body: Body) -> dict[str, object]:
    row = msgspec.structs.asdict(body)
    packed = {"request": zlib.compress(body.request), "response": zlib.compress(body.response), "user_id": storable(body.user_id) or None}
    return row | packed


def _unpack(row: dict[str, object]) -> Body:
    request, response = (zlib.decompress(row[name]) for name in ("request", "response"))  # type: ignore[arg-type]
    return Body(**row | {"request": request, "response": response, "user_id": row["user_id"] or ""})  # type: ignore[arg-type]
