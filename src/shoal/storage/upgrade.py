"""Brings a database to the schema of this release, by whichever process comes first.

When the schema is current, which is nearly always, this costs one query and Alembic is not imported. Otherwise a lock makes the others
wait (a file beside SQLite's, a gate in PostgreSQL), and all migrations run in one transaction: a database is upgraded whole or not at all.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, exc, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.database import BUSY_TIMEOUT_MS, POSTGRES, find_file, gate, name_database, open_engine, parse_address, writing
from shoal.storage.schema import HEAD

MIGRATIONS = "shoal.storage:migrations"
_VERSIONS = "alembic_version"


async def ensure_schema(address: str | Path) -> None:
    """Create or upgrade the database at `address`. Raises Fault when it is not ours, newer than this release, or cannot be opened."""
    engine = open_engine(parse_address(address))
    try:
        await upgrade(engine)
    finally:
        await engine.dispose()


async def upgrade(engine: AsyncEngine, target: str = HEAD) -> None:
    """The same on an open engine, to a given revision ("base" is an empty database; older revisions lose what they had no place for)."""
    postgres = engine.url.get_backend_name() == POSTGRES
    try:
        async with engine.connect() as connection:
            if await connection.run_sync(read_version) == target:
                return
        await (_upgrade_postgres if postgres else _upgrade_file)(engine, target)
    except (exc.SQLAlchemyError, sqlite3.DatabaseError, OSError) as error:
        cause = getattr(error, "orig", None) or error
        what = "does it run, and may this user come in?" if postgres else "is it a Shoal database, and writable?"
        name = name_database(engine.url)
        raise Fault("internal", f"The database {name} cannot be used ({str(cause) or type(cause).__name__}): {what}") from error


async def _upgrade_file(engine: AsyncEngine, target: str) -> None:
    path = find_file(engine.url)
    async with _lock(path.with_name(path.name + ".lock")):
        await asyncio.to_thread(_switch_to_wal, path)
        async with writing(engine).begin() as connection:
            await connection.run_sync(_migrate, target)


async def _upgrade_postgres(engine: AsyncEngine, target: str) -> None:
    patient = open_engine(engine.url, patient=True)  # however long this upgrade takes, or another's before it
    try:
        async with patient.begin() as connection:
            await gate(connection, "upgrade")
            if await connection.run_sync(read_version) != target:
                await connection.run_sync(_migrate, target)
    finally:
        await patient.dispose()


def read_version(connection: Connection) -> str | None:
    """The revision a database is at; None when it has none."""
    if not inspect(connection).has_table(_VERSIONS):
        return None
    return connection.execute(text(f"SELECT version_num FROM {_VERSIONS}")).scalar()  # noqa: S608 - a constant


def migration_config(connection: Connection) -> Any:
    """Alembic's configuration for our migrations over `connection`; nothing is read from a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _migrate(connection: Connection, target: str) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory

    version = read_version(connection)
    strangers = [name for name in inspect(connection).get_table_names() if name != _VERSIONS]
    if version is None and strangers:
        raise Fault("internal", f"The database holds tables that are not Shoal's ({strangers[0]}, ...): name another in storage.url.")
    config = migration_config(connection)
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]  # newest first
    if version is not None and version not in known:
        raise Fault(
            "internal",
            f"The database was written by a newer Shoal (schema {version}, this one knows up to {known[0]}): upgrade Shoal, or name "
            "another database in storage.url.",
        )
    down = target not in known or (version in known and known.index(target) > known.index(version))
    (command.downgrade if down else command.upgrade)(config, target)


@contextlib.asynccontextmanager
async def _lock(path: Path) -> AsyncIterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        await asyncio.to_thread(fcntl.flock, file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _switch_to_wal(path: Path) -> None:
    """WAL is a property of the file. SQLite does not wait for others while it switches, hence under the lock and only here."""
    with contextlib.closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_MS / 1000)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")


def main() -> None:
    """`python -m shoal.storage.upgrade URL`: for a parent process that does not want these libraries in its own memory."""
    try:
        asyncio.run(ensure_schema(sys.argv[1]))
    except Fault as fault:
        sys.exit(fault.message)


if __name__ == "__main__":
    main()
