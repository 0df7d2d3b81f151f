"""Payments that others tell us of: each event counts once, however often it is sent."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.core.terms import MOST_NANO
from shoal.storage.audit import record
from shoal.storage.database import writing
from shoal.storage.identifiers import now_ms
from shoal.storage.ledger import Movement, lock_wallet, move, no_wallet, wallet

_NEW = text(
    "INSERT INTO webhook_events (source, event_id, at_ms, org_id, amount_nano) VALUES (:source, :event_id, :at_ms, :org_id, :amount_nano) "
    "ON CONFLICT DO NOTHING"
)


class Payments:
    """Payments from webhooks. Every method is one transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def take(self, source: str, event_id: str, org_id: str, amount_nano: int, *, payment: str = "") -> bool:
        """Put a payment into a wallet, unless this event, or another of the same `payment`, has been here: then False. Errors: Fault."""
        if not 0 < amount_nano <= MOST_NANO:
            raise Fault("invalid_value", "A payment must be positive, and not more than there is.", param="amount")
        row = {"source": source, "event_id": event_id, "at_ms": now_ms(), "org_id": org_id, "amount_nano": amount_nano}
        async with writing(self._engine).begin() as connection:
            if await lock_wallet(connection, wallet(org_id)) is None:
                raise no_wallet(org_id)
            if not (await connection.execute(_NEW, row)).rowcount:
                return False
            amounts = {wallet(org_id): amount_nano, f"funding/{source}": -amount_nano}
            reference = f"{source}:{payment or event_id}"
            made = await move(connection, Movement(kind="topup", reference=reference, org_id=org_id, amounts=amounts, actor=source))
            if made:
                await record(connection, source, "payment", org_id, reference, {"amount_nano": amount_nano})
            return made

    async def ignore(self, source: str, event_id: str) -> bool:
        """Remember an event that moves no money. False: it has been here."""
        row = {"source": source, "event_id": event_id, "at_ms": now_ms(), "org_id": None, "amount_nano": None}
        async with writing(self._engine).begin() as connection:
            return bool((await connection.execute(_NEW, row)).rowcount)
