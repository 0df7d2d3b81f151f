"""The connection to the database and how it is set up, in one place.

SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk when it returns, so a journal segment may go once it is folded.
Transactions opened through `writing` take the write lock at once; nobody reads, decides and then finds the lock taken.
"""

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, exc
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shoal.core.errors import Fault

BUSY_TIMEOUT_MS = 15_000
_PRAGMAS = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 4000",  # pages, 16 MB: the indices' pages are rewritten less often
    "PRAGMA temp_store = MEMORY",  # or every statement keeps the pages it may have to give back in a file: 5 us a row
    "PRAGMA journal_size_limit = 67108864",
)


def parse_address(address: str | Path) -> URL:
    """The URL of `[storage] url`, or of a path to an SQLite file, with the driver filled in. Raises Fault when it cannot be used."""
    if isinstance(address, Path):
        return URL.create("sqlite+aiosqlite", database=str(address))
    try:
        url = make_url(address)
    except (exc.ArgumentError, ValueError) as error:
        raise _misconfigured("is not a database URL; write sqlite:////absolute/path/to/shoal.db") from error
    if url.get_backend_name() != "sqlite":
        raise _misconfigured(f"names {url.get_backend_name()}, which this release does not support; use sqlite:///path/to/shoal.db")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise _misconfigured("must name a file, because several processes share it; write sqlite:////absolute/path/to/shoal.db")
    return url.set(drivername="sqlite+aiosqlite")


def find_file(url: URL) -> Path:
    """The SQLite file behind `url`."""
    return Path(str(url.database))


def open_engine(url: URL) -> AsyncEngine:
    """An engine for `url`, the file made readable by its owner alone. Raises Fault when the file cannot be opened."""
    _create_file(find_file(url))
    engine = create_async_engine(url, pool_size=2, max_overflow=2, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _prepare_connection)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def writing(engine: AsyncEngine) -> AsyncEngine:
    """The same engine and pool, whose transactions hold the write lock from their beginning."""
    return engine.execution_options(writes=True)


def _create_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise Fault("internal", f"The database {path} cannot be opened ({error.strerror}): check the path and its permissions.") from error


def _prepare_connection(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin or commit by itself: `_begin` does
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _misconfigured(what: str) -> Fault:
    return Fault("invalid_value", f"The storage url {what}.", param="storage.url")
