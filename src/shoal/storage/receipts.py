"""One request, found again by its id."""

import msgspec
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.ledger import Entry
from shoal.storage.schema import requests


class Receipts:
    """The request log by id."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def find(self, request_id: str) -> Entry | None:
        """The folded entry of this request, its `receipt` as written; None when there is none (yet: the journal may still hold it)."""
        async with self._engine.connect() as connection:
            row = (await connection.execute(select(requests).where(requests.c.request_id == request_id))).mappings().first()
        if row is None:
            return None
        return Entry(**{**row, "receipt": msgspec.Raw(row["receipt"]), "user_id": row["user_id"] or ""})
