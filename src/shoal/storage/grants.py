"""The free tier: what an organisation may use for nothing each calendar month, granted once, and not saved up.

A month's grant makes good what was used of the one before: after it no more is free than `free_monthly_nano`, whatever was left over.
"""

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.storage.database import writing
from shoal.storage.identifiers import now_ms
from shoal.storage.ledger import Movement, move, wallet
from shoal.storage.schema import movements, organisations, postings


class Grants:
    """What grants the free tier."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def give(self) -> int:
        """Give this month's grants to those who have not got them; to how many. Each organisation is a transaction."""
        due = (organisations.c.free_monthly_nano > 0) & organisations.c.prepaid & organisations.c.closed_at_ms.is_(None)
        month = datetime.fromtimestamp(now_ms() / 1000, UTC).strftime("%Y-%m")
        async with self._engine.connect() as connection:
            rows = (await connection.execute(select(organisations.c.id, organisations.c.free_monthly_nano).where(due))).all()
            seen = select(movements.c.reference).where(movements.c.kind == "grant", movements.c.reference.like(f"free:{month}:%"))
            given = set((await connection.execute(seen)).scalars())
        new = 0
        for org_id, free in rows:
            reference = f"free:{month}:{org_id}"
            if reference not in given:
                async with writing(self._engine).begin() as connection:
                    amount = min(free, await _used_since_the_last(connection, org_id, free))
                    amounts = {wallet(org_id): amount, "grants": -amount}
                    new += await move(
                        connection, Movement(kind="grant", reference=reference, org_id=org_id, amounts=amounts, actor="shoal")
                    )
        return new


async def _used_since_the_last(connection: AsyncConnection, org_id: str, free: int) -> int:
    """What the organisation used since its last grant; all of it, where there was none."""
    last = select(func.max(movements.c.id)).where(movements.c.kind == "grant", movements.c.org_id == org_id)
    number = (await connection.execute(last)).scalar()
    if number is None:
        return free
    used = select(func.coalesce(func.sum(-postings.c.amount_nano), 0)).join(movements, movements.c.id == postings.c.movement_id)
    since = (movements.c.kind == "usage", movements.c.id > number, movements.c.org_id == org_id, postings.c.account_id == wallet(org_id))
    return int((await connection.execute(used.where(*since))).scalar_one())
