"""The audit log: who did what to whom, written in the transaction that does it. The database refuses to change or delete it."""

from collections.abc import Mapping

import msgspec
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.storage.identifiers import now_ms
from shoal.storage.schema import audit


class Act(msgspec.Struct, frozen=True):
    """One act: `actor` did `action` to `target`; `detail` is what it changed."""

    id: int
    at_ms: int
    actor: str
    action: str
    org_id: str | None
    target: str
    detail: dict[str, msgspec.Raw]


_detail = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def record(
    connection: AsyncConnection, actor: str, action: str, org_id: str | None, target: str, detail: Mapping[str, object] | None = None
) -> None:
    """Write down an act. `detail` holds no secrets: names and amounts, what is sent to whoever may read the log."""
    row = {"actor": actor[:256], "action": action, "org_id": org_id, "target": target, "detail": msgspec.json.encode(detail or {}).decode()}
    await connection.execute(insert(audit).values(at_ms=now_ms(), **row))


class Audit:
    """The audit log."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def record(self, actor: str, action: str, org_id: str | None, target: str, detail: Mapping[str, object] | None = None) -> None:
        """Write down an act that happens elsewhere than in the store."""
        async with self._engine.begin() as connection:
            await record(connection, actor, action, org_id, target, detail)

    async def read(self, org_id: str | None = None, *, before: int | None = None, limit: int = 100) -> list[Act]:
        """Acts, newest first: of one organisation, or all; those before the act `before`."""
        query = select(audit).order_by(audit.c.id.desc()).limit(limit)
        if org_id is not None:
            query = query.where(audit.c.org_id == org_id)
        if before is not None:
            query = query.where(audit.c.id < before)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings()
            return [Act(**{**row, "detail": _detail.decode(row["detail"])}) for row in rows]
