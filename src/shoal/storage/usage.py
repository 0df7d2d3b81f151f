"""The roll-up: what each key used of each model on each day (UTC), kept as requests arrive so that no page or limit scans the log."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.ledger import Entry
from shoal.storage.schema import usage_days

DAY_MS = 86_400_000
ERROR_STATUS = 400

_KEYS = tuple(column.name for column in usage_days.primary_key)
_SUMS = tuple(column.name for column in usage_days.columns if not column.primary_key)
_SAVE = text(
    f"INSERT INTO usage_days ({', '.join(_KEYS + _SUMS)}) VALUES ({', '.join(f':{name}' for name in _KEYS + _SUMS)}) "  # noqa: S608 - our columns
    f"ON CONFLICT ({', '.join(_KEYS)}) DO UPDATE SET {', '.join(f'{name} = usage_days.{name} + excluded.{name}' for name in _SUMS)}"
)


class Tally:
    """Sums over some requests, by day, key and model."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, str, str], list[int]] = {}

    def add(self, entries: Sequence[Entry]) -> None:
        """Count these requests. What was not reported counts as 0; a cost that is not known is counted as unpriced."""
        for entry in entries:
            key = (entry.at_ms // DAY_MS, entry.key_id, entry.model)
            sums = self._sums.get(key)
            if sums is None:
                sums = self._sums[key] = [0] * len(_SUMS)
            sums[0] += 1
            if entry.status >= ERROR_STATUS:
                sums[1] += 1
            if entry.cost_nano is None:
                sums[2] += 1
            else:
                sums[8] += entry.cost_nano
            sums[3] += entry.input_tokens or 0
            sums[4] += entry.output_tokens or 0
            sums[5] += entry.cache_read_tokens or 0
            sums[6] += entry.cache_write_tokens or 0
            sums[7] += entry.reasoning_tokens or 0

    async def save(self, connection: AsyncConnection) -> None:
        """Add the sums to the table, in the caller's transaction."""
        rows = [dict(zip(_KEYS + _SUMS, (*key, *sums), strict=True)) for key, sums in self._sums.items()]
        if rows:
            await connection.execute(_SAVE, rows)
