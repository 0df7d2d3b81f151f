"""From the journal into the tables, in groups, exactly once.

A group's rows, roll-ups and charges and the new offset of its segment are one transaction, so replay continues where the last commit
ended; a request id that is already known is ignored, in all of them. Any process may fold any segment, beside others. A complete
segment is removed once its last commit is on the disk. A line that is no entry is moved to rejected/, and folding goes on.

The event loop is the request path's: parsing is done here in slices of well under a millisecond (a thread would hold the interpreter's
lock for longer), reading, syncing and SQLite in threads that release it.
"""

import asyncio
import contextlib
import logging
import os
from pathlib import Path

import msgspec
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.ledger import Entry
from shoal.storage.bulk import insert
from shoal.storage.charges import charge
from shoal.storage.database import is_postgres, writing
from shoal.storage.journal import SUFFIX, Journal, try_lock
from shoal.storage.schema import requests
from shoal.storage.usage import Tally

INTERVAL_S = 0.5
GROUP_ROWS = 2_000  # a transaction
SLICE_ROWS = 50  # between two yields to the event loop
READ_BYTES = 1024 * 1024
REJECTED = "rejected"

log = logging.getLogger("shoal.storage")

_OFFSET = text("SELECT folded_bytes FROM journal_offsets WHERE segment = :segment")
_HOLD_OFFSET = (
    text("INSERT INTO journal_offsets (segment, folded_bytes) VALUES (:segment, 0) ON CONFLICT DO NOTHING"),
    text("SELECT folded_bytes FROM journal_offsets WHERE segment = :segment FOR UPDATE"),
)
_ADVANCE = text(
    "INSERT INTO journal_offsets (segment, folded_bytes) VALUES (:segment, :end) "
    "ON CONFLICT (segment) DO UPDATE SET folded_bytes = excluded.folded_bytes"
)
_FORGET = text("DELETE FROM journal_offsets WHERE segment = :segment")


class Folder:
    """Folds the segments of a journal's directory. `journal` is this process's own, if it has one; `everyone`: `run` folds for all."""

    def __init__(self, engine: AsyncEngine, directory: Path, journal: Journal | None = None, *, everyone: bool = False) -> None:
        self._engine = writing(engine)
        self._directory = directory
        self._journal = journal
        self._everyone = everyone
        self._decode = msgspec.json.Decoder(Entry).decode
        self._offsets: dict[str, int] = {}  # what this process knows to be folded, to leave idle segments alone
        self._busy = asyncio.Lock()
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Fold every half second until `stop`, then once more. What fails (a full disk, a locked database) is tried again."""
        failing = stopping = False
        while not stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), INTERVAL_S)
            stopping = self._stopping.is_set()  # before the round: what is written until then is folded
            try:
                await self.flush(everyone=self._everyone)
                failing = False
            except Exception as error:  # supervised: whatever it is, the journal keeps every line
                log.log(logging.DEBUG if failing else logging.ERROR, "cannot fold the journal, will go on trying: %s", error)
                failing = True

    def stop(self) -> None:
        """Let `run` return after one more round; close the journal first, so that nothing is left behind."""
        self._stopping.set()

    async def flush(self, *, everyone: bool = False) -> None:
        """Fold what is there: this process's segments and those nobody writes any more; with `everyone` those of live processes too."""
        async with self._busy:
            for name in await asyncio.to_thread(_list_segments, self._directory):
                await self._fold_segment(name, everyone)

    async def _fold_segment(self, name: str, everyone: bool) -> None:
        path = self._directory / name
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # another process was done with it first
        try:
            own = self._journal is not None and self._journal.live == name
            complete = not own and try_lock(file)
            if not (own or complete or everyone) or os.fstat(file).st_nlink == 0:
                return
            await self._fold_lines(file, name, complete)
            if complete:
                await self._remove(path)
        finally:
            os.close(file)

    async def _fold_lines(self, file: int, name: str, complete: bool) -> None:
        offset = self._offsets.get(name)
        if offset is None:
            async with self._engine.connect() as connection:
                offset = (await connection.execute(_OFFSET, {"segment": name})).scalar() or 0
        size = os.fstat(file).st_size  # what comes while this is folded waits for the next round, and makes a group of its own there
        while offset < size:
            lines, end = await asyncio.to_thread(_read_lines, file, offset, complete)
            if not lines:
                break  # half a line, which its writer has yet to finish
            entries, tally = await self._parse(lines, name)
            offset = await self._commit(name, offset, end, entries, tally)
            self._offsets[name] = offset

    async def _parse(self, lines: list[bytes], name: str) -> tuple[list[Entry], Tally]:
        entries: list[Entry] = []
        tally = Tally()
        rejected: list[bytes] = []
        for at in range(0, len(lines), SLICE_ROWS):
            slice_start = len(entries)
            for line in lines[at : at + SLICE_ROWS]:
                try:
                    entries.append(self._decode(line))
                except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
                    if line:
                        rejected.append(line)
            tally.add(entries[slice_start:])
            await asyncio.sleep(0)
        if rejected:
            await asyncio.to_thread(_set_aside, self._directory / REJECTED, name, rejected)
            log.warning("%d lines of the journal's segment %s are not entries; they were moved to %s/", len(rejected), name, REJECTED)
        return entries, tally

    async def _commit(self, name: str, start: int, end: int, entries: list[Entry], tally: Tally) -> int:
        """One group, unless another process has folded from `start` meanwhile. Returns the offset that now holds."""
        async with self._engine.begin() as connection:
            folded = await _hold_offset(connection, name)
            if folded != start:
                return folded
            savepoint = await connection.begin_nested()
            if await insert(connection, entries) == len(entries):
                await savepoint.commit()
            else:  # a known id among them: rare, and then worth the second pass
                await savepoint.rollback()
                entries = await _drop_known(connection, entries)
                await insert(connection, entries)
                tally = Tally()
                tally.add(entries)
            await tally.save(connection)
            await charge(connection, entries, f"{name}:{start}")
            await connection.execute(_ADVANCE, {"segment": name, "end": end})
        return end

    async def _remove(self, path: Path) -> None:
        """Every line is committed, and commits are synced. The offset outlives the file: a crash in between counts nothing twice."""
        await asyncio.to_thread(_unlink, path)
        self._offsets.pop(path.name, None)
        async with self._engine.begin() as connection:
            await connection.execute(_FORGET, {"segment": path.name})


async def recover(engine: AsyncEngine, directory: Path) -> None:
    """Fold and remove what processes that are no more left behind; what the living write is left to them."""
    await Folder(engine, directory).flush()


async def _hold_offset(connection: AsyncConnection, name: str) -> int:
    """How far this segment is folded, which nobody changes until this transaction ends."""
    held = {"segment": name}
    while is_postgres(connection):
        await connection.execute(_HOLD_OFFSET[0], held)
        folded = (await connection.execute(_HOLD_OFFSET[1], held)).scalar_one_or_none()
        if folded is not None:  # or else whoever had made the row was done with the segment, and forgot it between the two
            return int(folded)
    return int((await connection.execute(_OFFSET, held)).scalar() or 0)


async def _drop_known(connection: AsyncConnection, entries: list[Entry]) -> list[Entry]:
    fresh = {entry.request_id: entry for entry in reversed(entries)}  # of two in one group the first counts
    ids = list(fresh)
    for at in range(0, len(ids), SLICE_ROWS):
        query = select(requests.c.request_id).where(requests.c.request_id.in_(ids[at : at + SLICE_ROWS]))
        for known in (await connection.execute(query)).scalars():
            del fresh[known]
    return list(fresh.values())


def _list_segments(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.glob(f"*{SUFFIX}"))


def _read_lines(file: int, offset: int, complete: bool) -> tuple[list[bytes], int]:
    """Up to GROUP_ROWS lines from `offset`, synced, and the offset after them. The last line of a complete segment needs no end."""
    _sync(file)
    size = READ_BYTES
    while b"\n" not in (data := os.pread(file, size, offset)) and len(data) == size:
        size *= 2  # one line longer than all that
    lines = data.split(b"\n")
    tail = lines.pop()
    if len(lines) > GROUP_ROWS:
        del lines[GROUP_ROWS:]
    elif tail and complete and len(data) < size:
        lines.append(tail)
        return lines, offset + len(data)
    return lines, offset + sum(map(len, lines)) + len(lines)


_sync = getattr(os, "fdatasync", os.fsync)


def _set_aside(directory: Path, name: str, lines: list[bytes]) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    file = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as target:
        target.write(b"".join(line + b"\n" for line in lines))
        target.flush()
        os.fsync(target.fileno())


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
