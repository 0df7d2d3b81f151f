"""The roll-ups: what each key, and each project, used of each model on each day (UTC), kept as requests arrive so that no page and no
limit scans the log."""

from collections.abc import Iterator, Sequence

from sqlalchemy import Table, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.ledger import Entry
from shoal.storage.bulk import storable
from shoal.storage.schema import DEFAULT_PROJECT, project_usage_days, usage_days

DAY_MS = 86_400_000
ERROR_STATUS = 400

_SUMS = tuple(column.name for column in usage_days.columns if not column.primary_key)


def _saving(table: Table) -> TextClause:
    keys = tuple(column.name for column in table.primary_key)
    names = keys + _SUMS
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in _SUMS)
    return text(
        f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)}) "  # noqa: S608 - our columns
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {sums}"
    )


_SAVE_KEYS, _SAVE_PROJECTS = _saving(usage_days), _saving(project_usage_days)


class Tally:
    """Sums over some requests, by key, project, day and model."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, int, str], list[int]] = {}

    def add(self, entries: Sequence[Entry]) -> None:
        """Count these requests. What was not reported counts as 0; a cost that is not known is counted as unpriced."""
        for entry in entries:
            key = (entry.key_id, entry.project_id, entry.at_ms // DAY_MS, entry.model)
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
            sums[9] += entry.charged_nano or 0

    async def save(self, connection: AsyncConnection) -> None:
        """Add the sums to the tables, in the caller's transaction; in order, so that two who save at once do not wait for each other."""
        by_key: dict[tuple[str, int, str], list[int]] = {}
        by_project: dict[tuple[str, int, str], list[int]] = {}
        for (key_id, project_id, day, model), sums in self._sums.items():
            _add(by_key, (storable(key_id), day, storable(model)), sums)
            _add(by_project, (storable(project_id) or DEFAULT_PROJECT, day, storable(model)), sums)
        if by_key:
            await connection.execute(_SAVE_KEYS, list(_rows("key_id", by_key)))
            await connection.execute(_SAVE_PROJECTS, list(_rows("project_id", by_project)))


def _add(totals: dict[tuple[str, int, str], list[int]], key: tuple[str, int, str], sums: list[int]) -> None:
    known = totals.get(key)
    totals[key] = sums if known is None else [one + other for one, other in zip(known, sums, strict=True)]


def _rows(owner: str, totals: dict[tuple[str, int, str], list[int]]) -> Iterator[dict[str, object]]:
    names = (owner, "day", "model", *_SUMS)
    return (dict(zip(names, (*key, *sums), strict=True)) for key, sums in sorted(totals.items()))
