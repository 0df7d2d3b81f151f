"""Processes that borrow: each is a row, and a file in its home that it keeps locked, so that its death is seen at once and for certain.

The journal of a home holds what its processes charged. Therefore what a dead process has borrowed returns after its home's journal is
folded, by whoever lives in the same home; those of other homes, whose journals may come back, are left to the operator.
"""

import asyncio
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.database import writing
from shoal.storage.fold import Folder
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.schema import bucket_leases, buckets, holders, leases

PLACE, NAME = "holders", "home.id"


class Holder(msgspec.Struct, frozen=True):
    """A process that borrows: when it began, and when it last said that it lives. `held_nano` is what it has borrowed."""

    id: str
    home: str
    started_at_ms: int
    renewed_at_ms: int
    held_nano: int = 0


class Lifeline:
    """The file that a process keeps locked for as long as it lives."""

    def __init__(self, home: Path) -> None:
        self.home = read_home(home)
        self.id = new_id("hold_")
        place = home / PLACE
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = place / self.id
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def cut(self) -> None:
        """Let go: from now on this process counts as dead. Twice is as good as once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read_home(home: Path) -> str:
    """The id of a home, made when it is first asked for; whoever comes second takes the first's."""
    path = home / NAME
    if not path.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(new_id(f"{NAME}."))
        draft.write_text(new_id("home_"))
        try:
            os.link(draft, path)
        except FileExistsError:
            return path.read_text()
        finally:
            draft.unlink()
    return path.read_text()


def is_dead(home: Path, holder: str) -> bool:
    """Whether a holder of this home lives no more: nobody has its file locked."""
    try:
        file = os.open(home / PLACE / holder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


class Holders:
    """The processes that borrow. Every method is short transactions."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def renew(self, lifeline: Lifeline) -> None:
        """Say that a process lives; the first time makes it known."""
        now = now_ms()
        async with writing(self._engine, durable=False).begin() as connection:
            done = await connection.execute(update(holders).where(holders.c.id == lifeline.id).values(renewed_at_ms=now))
            if not done.rowcount:
                row = {"id": lifeline.id, "home": lifeline.home, "started_at_ms": now, "renewed_at_ms": now}
                await connection.execute(insert(holders).values(**row))

    async def list_all(self) -> list[Holder]:
        """Everyone who borrows, and how much money each has."""
        async with self._engine.connect() as connection:
            found = [Holder(*row) for row in await connection.execute(select(holders).order_by(holders.c.started_at_ms))]
            held: dict[str, int] = {}
            for holder, amount in await connection.execute(select(leases.c.holder, leases.c.amount_nano)):
                held[holder] = held.get(holder, 0) + amount
        return [msgspec.structs.replace(one, held_nano=held.get(one.id, 0)) for one in found]

    async def release_dead(self, home: Path, folder: Folder) -> list[str]:
        """Fold what the dead of this home have charged, then take back what they borrowed; who they were."""
        name = await asyncio.to_thread(read_home, home)
        async with self._engine.connect() as connection:
            ids = (await connection.execute(select(holders.c.id).where(holders.c.home == name))).scalars().all()
        dead = [one for one in ids if is_dead(home, one)]
        if dead:
            await folder.flush(everyone=True)  # all they wrote, they wrote before: after this it is folded, by us or by others
            await self._release(dead)
            for one in dead:
                (home / PLACE / one).unlink(missing_ok=True)
        return dead

    async def release(self, holder: str) -> None:
        """Take back what a process borrowed whose home is lost. What it still charges is taken from what is free. Errors: Fault."""
        if not await self._release([holder]):
            raise Fault("not_found", f"There is no holder {holder[:64]!r}: `shoal ledger holders` lists them.", param="holder")

    async def _release(self, ids: Sequence[str]) -> int:
        async with writing(self._engine).begin() as connection:
            query = select(leases.c.id).where(leases.c.holder.in_(ids)).order_by(leases.c.id).with_for_update()
            held = (await connection.execute(query)).scalars().all()
            await connection.execute(delete(leases).where(leases.c.id.in_(held)))
            await _release_buckets(connection, ids)
            return (await connection.execute(delete(holders).where(holders.c.id.in_(ids)))).rowcount


async def _release_buckets(connection: AsyncConnection, ids: Sequence[str]) -> None:
    """What was drawn of requests and tokens may have been used: it is gone, and comes back with time. Parallel requests have ended."""
    query = select(bucket_leases.c.key_id, bucket_leases.c.unit).where(bucket_leases.c.holder.in_(ids))
    for key_id, unit in sorted({(row.key_id, row.unit) for row in await connection.execute(query)}):
        bucket = (buckets.c.key_id == key_id) & (buckets.c.unit == unit)
        await connection.execute(select(buckets.c.unit).where(bucket).with_for_update())
        where = (bucket_leases.c.key_id == key_id) & (bucket_leases.c.unit == unit) & bucket_leases.c.holder.in_(ids)
        lent = sum((await connection.execute(select(bucket_leases.c.lent_parts).where(where))).scalars().all())
        await connection.execute(delete(bucket_leases).where(where))
        await connection.execute(update(buckets).where(bucket).values(lent_parts=buckets.c.lent_parts - lent))
