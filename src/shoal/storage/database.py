"""The connection to the database and how it is set up, in one place: SQLite, one file for one machine, or PostgreSQL, one for many.

SQLite runs in WAL mode with synchronous=FULL: a commit is on the disk when it returns, so a journal segment may go once it is folded.
Transactions opened through `writing` take SQLite's write lock at once; nobody reads, decides and then finds the lock taken. PostgreSQL
has no such lock: who reads and decides there locks the rows (`with_for_update`, which SQLite leaves out), or the table's `gate`.
"""

import contextlib
import errno
import importlib.util
import os
import zlib
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, event, exc, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shoal.core.errors import Fault

BUSY_TIMEOUT_MS = 15_000
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0
"""After so long a PostgreSQL that does not answer counts as away: a connection that was cut in silence says nothing."""

POSTGRES = "postgresql"
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
    if url.get_backend_name() in (POSTGRES, "postgres"):
        return _parse_postgres(url)
    if url.get_backend_name() != "sqlite":
        raise _misconfigured(f"names {url.get_backend_name()}, which Shoal does not know; use sqlite:///path/to/shoal.db or postgresql://")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise _misconfigured("must name a file, because several processes share it; write sqlite:////absolute/path/to/shoal.db")
    return url.set(drivername="sqlite+aiosqlite")


def _parse_postgres(url: URL) -> URL:
    if not url.database:
        raise _misconfigured("must name a database: postgresql://user:password@host/shoal")
    if importlib.util.find_spec("asyncpg") is None:
        raise _misconfigured("needs a driver that is not installed: pip install 'shoal[postgres]'")
    query = {name: value for name, value in url.query.items() if name != "sslmode"}
    if "sslmode" in url.query:  # libpq's word for what asyncpg calls ssl
        query["ssl"] = url.query["sslmode"]
    return url.set(drivername="postgresql+asyncpg", query=query)


def find_file(url: URL) -> Path:
    """The SQLite file behind `url`."""
    return Path(str(url.database))


def name_database(url: URL) -> str:
    """What an error calls the database: its file, or its URL without the password."""
    return url.render_as_string(hide_password=True) if url.get_backend_name() == POSTGRES else str(find_file(url))


def is_postgres(connection: AsyncConnection | Connection) -> bool:
    """Whether this is PostgreSQL, and not SQLite."""
    return connection.dialect.name == POSTGRES


def open_engine(url: URL, *, patient: bool = False) -> AsyncEngine:
    """An engine for `url`, an SQLite file made readable by its owner alone. Raises Fault when the file cannot be opened.

    `patient`: a statement may take as long as it takes, as those over whole tables do.
    """
    if url.get_backend_name() == POSTGRES:
        return _open_postgres(url, patient)
    _create_file(find_file(url))
    engine = create_async_engine(url, pool_size=2, max_overflow=2, hide_parameters=True)
    event.listen(engine.sync_engine, "connect", _prepare_connection)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def writing(engine: AsyncEngine, *, durable: bool = True) -> AsyncEngine:
    """The same engine and pool, whose transactions hold SQLite's write lock from their beginning.

    What is not `durable` is committed, but may be lost with the machine's power: what only matters while its processes live.
    """
    return engine.execution_options(writes=True, durable=durable)


async def gate(connection: AsyncConnection, name: str) -> None:
    """Let one transaction at a time pass, until its end; on SQLite `writing` has done that already."""
    if is_postgres(connection):
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": gate_number(name)})


def gate_number(name: str) -> int:
    """The number that PostgreSQL knows a gate by."""
    return zlib.crc32(f"shoal/{name}".encode())


def _open_postgres(url: URL, patient: bool) -> AsyncEngine:
    arguments: dict[str, Any] = {"timeout": CONNECT_TIMEOUT_S, "async_creator_fn": _connect_postgres}
    settings = {"application_name": "shoal", "timezone": "UTC"}
    if not patient:
        arguments["command_timeout"] = COMMAND_TIMEOUT_S
        settings |= {"idle_in_transaction_session_timeout": "30s", "lock_timeout": "8s"}
    engine = create_async_engine(
        url,
        pool_size=4,
        max_overflow=4,
        pool_timeout=CONNECT_TIMEOUT_S,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args=arguments | {"server_settings": settings},
    )
    event.listen(engine.sync_engine, "begin", _begin_postgres)
    return engine


async def _connect_postgres(*arguments: Any, **options: Any) -> Any:
    """A connection. Whatever keeps it from coming about is an OSError: the driver's own errors are wrapped only once it is there."""
    import asyncpg

    try:
        return await asyncpg.connect(*arguments, **options)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConnectionError(f"PostgreSQL refuses: {error}") from error


def _create_file(path: Path) -> None:
    """Make the file, if it is not there. One that is there is not opened: to close it would let go of all locks that this process has
    on it (https://www.sqlite.org/howtocorrupt.html), and others would take themselves for the last and remove the write-ahead log."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise Fault("internal", f"The database {path} cannot be opened ({error.strerror}): check the path and its permissions.") from error


def _prepare_connection(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin or commit by itself: `_begin` does
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("writes"):
        connection.exec_driver_sql("BEGIN")
        return
    mode = "FULL" if options.get("durable", True) else "NORMAL"
    if connection.info.get("synchronous", "FULL") != mode:
        connection.exec_driver_sql(f"PRAGMA synchronous = {mode}")
        connection.info["synchronous"] = mode
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_postgres(connection: Connection) -> None:
    if not connection.get_execution_options().get("durable", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def _misconfigured(what: str) -> Fault:
    return Fault("invalid_value", f"The storage url {what}.", param="storage.url")
