"""Many rows of the request log at once, in the way that each database takes fastest; ids that are known are left out.

sqlite3 binds an int, a str or a bytearray at once and asks for an adapter of everything else, None and bool too, four times as long: so
NULL goes as a number that no column holds. PostgreSQL takes an array a column, and no text with a zero byte.
"""

from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, Boolean, Integer, LargeBinary, Text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.ledger import Entry
from shoal.storage.database import is_postgres
from shoal.storage.schema import requests

STATEMENT_ROWS = (250, 50, 10, 1)
"""Rows an INSERT: its binding keeps the interpreter's lock; a row a statement would fight for it."""

_COLUMNS = requests.columns.keys()
_STREAM, _RECEIPT, _USER = (_COLUMNS.index(name) for name in ("stream", "receipt", "user_id"))
_NOTHING = -1
_values = attrgetter(*_COLUMNS)
_NAMES = ", ".join(_COLUMNS)
_EMPTY = {"org_id": "coalesce(nullif({}, ''), 'org_operator')", "project_id": "coalesce(nullif({}, ''), 'proj_default')"}
"""What lines of older releases did not say."""

_EMPTY["user_id"] = "nullif({}, '')"
_TYPES = {Text: "text", BigInteger: "bigint", Integer: "integer", Boolean: "boolean", LargeBinary: "bytea"}
_TEXTS = [at for at, column in enumerate(requests.columns) if isinstance(column.type, Text)]


def _expression(name: str, value: str, nullable: bool) -> str:
    return _EMPTY[name].format(value) if name in _EMPTY else f"nullif({value}, {_NOTHING})" if nullable else value


_ROW = f"({', '.join(_expression(column.name, '?', bool(column.nullable)) for column in requests.columns)})"
_INSERTS = {
    rows: f"INSERT INTO requests ({_NAMES}) VALUES {', '.join([_ROW] * rows)} ON CONFLICT DO NOTHING"  # noqa: S608 - our own columns
    for rows in STATEMENT_ROWS
}
_ARRAYS = ", ".join(f"${at}::{_TYPES[type(column.type)]}[]" for at, column in enumerate(requests.columns, 1))
_FROM_ARRAYS = (
    f"INSERT INTO requests ({_NAMES}) SELECT {', '.join(_expression(name, name, False) for name in _COLUMNS)} "  # noqa: S608 - our own columns
    f"FROM unnest({_ARRAYS}) AS given ({_NAMES}) ON CONFLICT DO NOTHING"
)


async def insert(connection: AsyncConnection, entries: Sequence[Entry]) -> int:
    """Insert the rows whose id is not known; returns how many those were."""
    if is_postgres(connection):
        return await _insert_arrays(connection, entries)
    inserted = at = 0
    for size, statement in _INSERTS.items():
        while len(entries) - at >= size:
            inserted += (await connection.exec_driver_sql(statement, _flatten(entries[at : at + size]))).rowcount
            at += size
    return inserted


def _flatten(entries: Sequence[Entry]) -> tuple[object, ...]:
    """The values of these rows, one row after another, in the types that are bound fast; `_ROW` turns _NOTHING into NULL."""
    rows = chain.from_iterable(map(_values, entries))
    values = [_NOTHING if value is None else value for value in rows]
    width = len(_COLUMNS)
    values[_STREAM::width] = map(int, values[_STREAM::width])
    values[_RECEIPT::width] = map(bytearray, values[_RECEIPT::width])
    values[_USER::width] = map(storable, values[_USER::width])  # it is looked for again
    return tuple(values)


async def _insert_arrays(connection: AsyncConnection, entries: Sequence[Entry]) -> int:
    inserted = 0
    for at in range(0, len(entries), STATEMENT_ROWS[0]):
        columns: list[Any] = list(zip(*map(_values, entries[at : at + STATEMENT_ROWS[0]]), strict=True))
        columns[_RECEIPT] = [bytes(receipt) for receipt in columns[_RECEIPT]]
        for text in _TEXTS:
            columns[text] = [storable(value) for value in columns[text]]
        inserted += (await connection.exec_driver_sql(_FROM_ARRAYS, tuple(columns))).rowcount
    return inserted


def storable(value: Any) -> Any:
    """A text as every database can hold it: zero bytes become the sign for what cannot be shown."""
    return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value
