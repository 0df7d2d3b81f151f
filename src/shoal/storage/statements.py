"""Statements of account: every movement of a wallet in a time, with what it held before and after, from the ledger's entries alone."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Select, cast, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.money import usd_text
from shoal.storage.database import is_postgres
from shoal.storage.ledger import wallet
from shoal.storage.schema import movements, postings
from shoal.storage.windows import DAY_MS


class Position(msgspec.Struct, frozen=True):
    """One line: a movement, or all use of one day."""

    at_ms: int
    kind: str
    reference: str
    memo: str
    amount_nano: int
    balance_nano: int


class Statement(msgspec.Struct, frozen=True):
    """What a wallet held at the beginning, what changed it, and what it held at the end."""

    org_id: str
    from_ms: int
    to_ms: int
    opening_nano: int
    positions: list[Position]
    closing_nano: int

    def csv(self) -> str:
        """The statement as CSV (RFC 4180), in USD: when, what, reference, memo, amount, balance."""
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(("at", "kind", "reference", "memo", "amount_usd", "balance_usd"))
        writer.writerow((_moment(self.from_ms), "opening", "", "", "", usd_text(self.opening_nano)))
        for one in self.positions:
            texts = (one.kind, one.reference, one.memo)
            writer.writerow((_moment(one.at_ms), *map(_harmless, texts), usd_text(one.amount_nano), usd_text(one.balance_nano)))
        writer.writerow((_moment(self.to_ms), "closing", "", "", "", usd_text(self.closing_nano)))
        return text.getvalue()


class Statements:
    """What makes statements."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def make(self, org_id: str, from_ms: int, to_ms: int) -> Statement:
        """The statement of an organisation's wallet over [from, to), milliseconds since 1970. Use is summed up by UTC day."""
        inside = (movements.c.at_ms >= from_ms, movements.c.at_ms < to_ms)
        day = movements.c.at_ms - movements.c.at_ms % DAY_MS
        usage = _posted(org_id, day, _total()).where(movements.c.kind == "usage", *inside).group_by(day)
        columns = (movements.c.at_ms, movements.c.kind, movements.c.reference, movements.c.memo, postings.c.amount_nano)
        others = _posted(org_id, *columns).where(movements.c.kind != "usage", *inside)
        opening = _posted(org_id, func.coalesce(_total(), 0)).where(movements.c.at_ms < from_ms)
        async with self._engine.connect() as connection:
            if is_postgres(connection):
                await connection.execution_options(isolation_level="REPEATABLE READ")
            balance = start = int((await connection.execute(opening)).scalar_one())
            lines = [(row[0], "usage", "", "", int(row[1])) for row in await connection.execute(usage)]
            lines += [(row[0], row[1], row[2], row[3], int(row[4])) for row in await connection.execute(others)]
        positions = []
        for at_ms, kind, reference, memo, amount in sorted(lines):
            balance += amount
            positions.append(Position(at_ms, kind, reference, memo, amount, balance))
        return Statement(org_id, from_ms, to_ms, start, positions, balance)


def _posted(org_id: str, *columns: Any) -> Select[Any]:
    joined = select(*columns).select_from(movements).join(postings, postings.c.movement_id == movements.c.id)
    return joined.where(movements.c.org_id == org_id, postings.c.account_id == wallet(org_id))


def _total() -> Any:
    return cast(func.sum(postings.c.amount_nano), BigInteger)


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _harmless(text: str) -> str:
    """A text that a spreadsheet does not take for a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
