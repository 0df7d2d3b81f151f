"""Files of projects: what is to be learnt from, or asked in a batch. Their bytes lie in the database, in compressed parts, so that they are
where everything else is, on every machine and in every backup.

A file is there once it is whole; what was begun and never finished goes after an hour, and so does what has expired.
"""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.bulk import storable
from shoal.storage.database import gate, writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.kept_tables import file_parts, files
from shoal.storage.pages import Mark, cut

PART_BYTES = 1024 * 1024
MOST_FILES = 1_000
"""Of a project."""

MOST_PROJECT_BYTES = 10 * 1024**3
"""Of all files of a project, as they were uploaded."""

DRAFT_MS = 3_600_000
"""How long a file may take to become whole."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `digest` is the SHA-256 of its bytes; `expires_at_ms` None: it stays until it is deleted."""

    id: str
    project_id: str
    key_id: str
    user_id: str
    purpose: str
    filename: str
    digest: bytes
    bytes: int
    created_at_ms: int
    expires_at_ms: int | None

    @property
    def mark(self) -> Mark:
        """Its place in the order of time."""
        return (self.created_at_ms, self.id)


class Draft:
    """A file that is being written. It is nobody's until it is finished."""

    def __init__(self, engine: AsyncEngine, row: Mapping[str, Any]) -> None:
        self._engine = engine
        self._row = {**row}
        self._digest = hashlib.sha256()
        self._rest = bytearray()
        self._parts = 0
        self.bytes = 0

    async def write(self, data: bytes) -> None:
        """Add bytes."""
        self._digest.update(data)
        self._rest += data
        self.bytes += len(data)
        while len(self._rest) >= PART_BYTES:
            part = bytes(self._rest[:PART_BYTES])
            del self._rest[:PART_BYTES]
            await self._store(part)

    async def finish(self, purpose: str, *, user_id: str = "", expires_after_s: int | None = None) -> File:
        """There are no more: the file is there from now on. Errors: Fault invalid_value, where its project has no room for it."""
        if self._rest:
            await self._store(bytes(self._rest))
        id, project_id, created = self._row["id"], self._row["project_id"], self._row["created_at_ms"]
        expires = None if expires_after_s is None else created + expires_after_s * 1000
        change: dict[str, Any] = {"bytes": self.bytes, "digest": self._digest.digest(), "expires_at_ms": expires, "whole": True}
        change |= {"purpose": purpose, "user_id": storable(user_id) or None}
        async with writing(self._engine).begin() as connection:
            await gate(connection, f"files/{project_id}")
            await _check_room(connection, project_id, self.bytes)
            if (await connection.execute(update(files).where(files.c.id == id).values(**change))).rowcount == 0:
                raise Fault("request_timeout", "The file took too long to arrive, and is not kept.")
        return _file(self._row | change)

    async def discard(self) -> None:
        """Delete what was written."""
        async with writing(self._engine).begin() as connection:
            await connection.execute(delete(files).where(files.c.id == self._row["id"]))

    async def _store(self, part: bytes) -> None:
        packed = await asyncio.to_thread(zlib.compress, part)
        async with writing(self._engine).begin() as connection:
            await connection.execute(insert(file_parts).values(file_id=self._row["id"], number=self._parts, data=packed))
        self._parts += 1


class Files:
    """The files of all projects; to any other project they are not there."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def begin(self, project_id: str, key_id: str, filename: str) -> Draft:
        """Begin a file. Errors: Fault invalid_value, where its project has too many."""
        now = now_ms()
        row: dict[str, Any] = {"id": new_id("file-"), "project_id": project_id, "key_id": key_id, "purpose": "", "bytes": 0}
        row |= {"filename": storable(filename), "user_id": None, "digest": b"", "created_at_ms": now}
        row |= {"expires_at_ms": now + DRAFT_MS, "whole": False}
        async with writing(self._engine).begin() as connection:
            await gate(connection, f"files/{project_id}")
            await _check_room(connection, project_id, 0)
            await connection.execute(insert(files).values(**row))
        return Draft(self._engine, row)

    async def keep(
        self,
        project_id: str,
        key_id: str,
        purpose: str,
        filename: str,
        data: bytes,
        *,
        user_id: str = "",
        expires_after_s: int | None = None,
    ) -> File:
        """Keep these bytes as a file. Errors: Fault invalid_value, where its project has no room for it."""
        draft = await self.begin(project_id, key_id, filename)
        try:
            await draft.write(data)
            return await draft.finish(purpose, user_id=user_id, expires_after_s=expires_after_s)
        except Fault:
            await draft.discard()
            raise

    async def find(self, project_id: str, file_id: str) -> File | None:
        """One file; None when the project has none such."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(files).where(_is(project_id, file_id)))).mappings().first()
        return None if row is None else _file(row)

    async def page(
        self, project_id: str, *, purpose: str | None = None, after: Mark | None = None, limit: int = 100, newest_first: bool = False
    ) -> list[File]:
        """At most `limit` of a project's files behind the mark `after`, in the order of time."""
        query = select(files).where(_are(project_id))
        query = query if purpose is None else query.where(files.c.purpose == purpose)
        query = cut(query, (files.c.created_at_ms, files.c.id), after, limit, newest_first=newest_first)
        async with self._engine.connect() as connection:
            return [_file(row) for row in (await connection.execute(query)).mappings()]

    async def parts(self, file_id: str) -> AsyncIterator[bytes]:
        """The bytes of a file, part by part."""
        number = 0
        while True:
            query = select(file_parts.c.data).where(file_parts.c.file_id == file_id, file_parts.c.number == number)
            async with self._engine.connect() as connection:
                packed = (await connection.execute(query)).scalar()
            if packed is None:
                return
            yield await asyncio.to_thread(zlib.decompress, packed)
            number += 1

    async def read(self, project_id: str, file_id: str) -> bytes:
        """All bytes of a file. Errors: Fault not_found."""
        if await self.find(project_id, file_id) is None:
            raise no_file(file_id)
        return b"".join([part async for part in self.parts(file_id)])

    async def delete(self, project_id: str, file_id: str) -> bool:
        """Delete a file; False when the project has none such."""
        async with writing(self._engine).begin() as connection:
            return (await connection.execute(delete(files).where(_is(project_id, file_id)))).rowcount > 0

    async def expire(self) -> int:
        """Delete what has expired, and what never became whole; how many."""
        async with writing(self._engine).begin() as connection:
            return (await connection.execute(delete(files).where(files.c.expires_at_ms <= now_ms()))).rowcount


def no_file(file_id: str) -> Fault:
    """The project has no such file."""
    return Fault("not_found", f"No file of this project has the id {file_id[:64]!r}: GET /v1/files lists those there are.", param="file_id")


def _are(project_id: str) -> ColumnElement[bool]:
    return (files.c.project_id == project_id) & files.c.whole & (files.c.expires_at_ms.is_(None) | (files.c.expires_at_ms > now_ms()))


def _is(project_id: str, file_id: str) -> ColumnElement[bool]:
    return _are(project_id) & (files.c.id == file_id)


async def _check_room(connection: AsyncConnection, project_id: str, more: int) -> None:
    query = select(func.count(), func.coalesce(func.sum(files.c.bytes), 0)).where(files.c.project_id == project_id)
    count, size = (await connection.execute(query)).one()
    if count >= MOST_FILES + bool(more):  # one that is being written counts already
        raise Fault("invalid_value", f"The project has {MOST_FILES} files, and may not have more: delete some.", param="file")
    if size + more > MOST_PROJECT_BYTES:
        raise Fault("invalid_value", f"The project's files would exceed {MOST_PROJECT_BYTES // 1024**2} MiB: delete some.", param="file")


def _file(row: Mapping[Any, Any]) -> File:
    values = {name: value for name, value in row.items() if name != "whole"}
    return File(**values | {"user_id": values["user_id"] or ""})
