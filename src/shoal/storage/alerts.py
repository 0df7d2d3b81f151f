"""Alerts: an organisation's wallet is low. One for as long as it is, and another when it is so again."""

import msgspec
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.database import writing
from shoal.storage.identifiers import now_ms
from shoal.storage.pages import cut
from shoal.storage.schema import accounts, alerts, organisations

LOW_BALANCE = "low_balance"
_NEW = text(
    "INSERT INTO alerts (at_ms, org_id, kind, detail) VALUES (:at_ms, :org_id, :kind, :detail) "
    "ON CONFLICT (org_id, kind) WHERE ended_at_ms IS NULL DO NOTHING"
)


class Alert(msgspec.Struct, frozen=True):
    """One alert: seen by somebody or not, over or not (`ended_at_ms`)."""

    id: int
    at_ms: int
    org_id: str
    kind: str
    detail: dict[str, int]
    seen_at_ms: int | None
    ended_at_ms: int | None


class Alerts:
    """The alerts of organisations."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def refresh(self) -> int:
        """Raise the alerts that are due and end those that are over; how many are new."""
        low = (organisations.c.low_balance_nano.is_not(None)) & (accounts.c.balance_nano < organisations.c.low_balance_nano)
        query = select(organisations.c.id, accounts.c.balance_nano, organisations.c.low_balance_nano)
        query = query.join(accounts, (accounts.c.org_id == organisations.c.id) & accounts.c.id.like("wallet/%"))
        query = query.where(low, organisations.c.prepaid, organisations.c.closed_at_ms.is_(None))
        now, new = now_ms(), 0
        async with writing(self._engine).begin() as connection:
            due = (await connection.execute(query)).all()
            over = (alerts.c.kind == LOW_BALANCE) & alerts.c.ended_at_ms.is_(None) & alerts.c.org_id.not_in([row.id for row in due])
            await connection.execute(update(alerts).where(over).values(ended_at_ms=now))
            for row in due:
                detail = msgspec.json.encode({"balance_nano": row.balance_nano, "low_balance_nano": row.low_balance_nano}).decode()
                made = await connection.execute(_NEW, {"at_ms": now, "org_id": row.id, "kind": LOW_BALANCE, "detail": detail})
                new += max(0, made.rowcount)
        return new

    async def list_of(self, org_id: str, *, before: int | None = None, limit: int = 100) -> list[Alert]:
        """An organisation's alerts, newest first, those before the alert `before`."""
        after = None if before is None else (before,)
        query = cut(select(alerts).where(alerts.c.org_id == org_id), (alerts.c.id,), after, limit, newest_first=True)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings()
            return [Alert(**{**row, "detail": msgspec.json.decode(row["detail"])}) for row in rows]

    async def see(self, org_id: str, alert_id: int) -> None:
        """Somebody has seen an alert. Errors: Fault not_found."""
        where = (alerts.c.org_id == org_id) & (alerts.c.id == alert_id)
        async with writing(self._engine).begin() as connection:
            if not (await connection.execute(update(alerts).where(where).values(seen_at_ms=now_ms()))).rowcount:
                raise Fault("not_found", f"There is no alert {alert_id}.", param="alert")
