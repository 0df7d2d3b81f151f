"""A copy of the whole database in one file, taken while everyone goes on, and the way back from it.

Of SQLite it is a database file. Of PostgreSQL it is what pg_dump writes, where that is to be had, or a zip of ours, each table in
PostgreSQL's binary COPY format. The secret that opens the keys for providers is not in it, nor are the journals.
"""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shoal.core.errors import Fault
from shoal.storage import job_tables, kept_tables  # noqa: F401 - so that all tables are in the metadata
from shoal.storage.database import POSTGRES, find_file, open_engine, parse_address
from shoal.storage.schema import metadata
from shoal.storage.upgrade import ensure_schema, read_version, upgrade

_SQLITE, _DUMP, _ZIP = b"SQLite format 3\0", b"PGDMP", b"PK\x03\x04"
_VERSION = "version"
_NUMBERED = ("movements", "audit", "alerts")


async def back_up(address: str | Path, target: Path) -> None:
    """Copy the database at `address` into a new file, readable by its owner alone. Errors: Fault."""
    url = parse_address(address)
    draft = target.with_name(target.name + ".part")
    try:
        _create(draft, target)
        try:
            await (_back_up_postgres if url.get_backend_name() == POSTGRES else _back_up_file)(url, draft)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise Fault("internal", f"The backup {target} cannot be written: {error}.") from error


async def restore(address: str | Path, source: Path) -> None:
    """Fill a database that is empty, or not there yet, from a backup, and bring it to this release. Errors: Fault."""
    url = parse_address(address)
    postgres = url.get_backend_name() == POSTGRES
    try:
        with source.open("rb") as file:
            start = file.read(len(_SQLITE))
    except OSError as error:
        raise Fault("internal", f"The backup {source} cannot be read: {error}.") from error
    if not start.startswith((_DUMP, _ZIP) if postgres else _SQLITE):
        raise Fault("invalid_value", f"{source} is no backup of {'a PostgreSQL' if postgres else 'an SQLite'} database of Shoal's.")
    if postgres:
        await _must_be_empty(url)
        await (_restore_zip if start.startswith(_ZIP) else _restore_dump)(url, source)
    else:
        await asyncio.to_thread(_restore_file, find_file(url), source)
    await ensure_schema(address)


def _create(draft: Path, target: Path) -> None:
    if target.exists():
        raise Fault("invalid_value", f"{target} is there already: name another file for the backup.")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


async def _back_up_file(url: URL, target: Path) -> None:
    """SQLite's own way, which sees one state of the file while others write."""

    def copy() -> None:
        path = find_file(url)
        if not path.exists():
            raise Fault("not_found", f"There is no database {path}.")
        with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(target)) as copied:
            source.backup(copied, pages=-1)  # in one go: a busy database would never let it end
            copied.execute("PRAGMA journal_mode = DELETE")

    try:
        await asyncio.to_thread(copy)
    except sqlite3.Error as error:
        raise Fault("internal", f"The database {find_file(url)} cannot be copied: {error}.") from error


def _restore_file(path: Path, source: Path) -> None:
    if path.exists() and path.stat().st_size:
        raise Fault("invalid_value", f"{path} is there already: a backup is restored into a new file, which then takes its place.")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as target, source.open("rb") as backup:
        shutil.copyfileobj(backup, target)
        target.flush()
        os.fsync(target.fileno())
    wrong = _find_damage(draft)
    if wrong is not None:
        draft.unlink()
        raise Fault("invalid_value", f"The backup {source} is damaged: {wrong}.")
    draft.replace(path)


def _find_damage(path: Path) -> str | None:
    try:
        with contextlib.closing(sqlite3.connect(path)) as copied:
            found = str(copied.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else found


async def _back_up_postgres(url: URL, target: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None or await _run(program, url, "--format=custom", f"--file={target}") != 0:
        await _zip(url, target)  # also where the program is older than the server


async def _restore_dump(url: URL, source: Path) -> None:
    program = shutil.which("pg_restore")
    if program is None:
        raise Fault("invalid_value", f"{source} was written by pg_dump: install pg_restore, which reads it.")
    status = await _run(program, url, "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={url.database}", str(source))
    if status != 0:
        raise Fault("internal", f"pg_restore could not restore {source} (status {status}).")


async def _run(program: str, url: URL, *arguments: str) -> int:
    """Run a program of PostgreSQL's against this server. The password goes by its environment, which nobody else can read."""
    names = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password, "PGDATABASE": url.database}
    environment = {**os.environ, **{name: str(value) for name, value in names.items() if value is not None}}
    if "ssl" in url.query:
        environment["PGSSLMODE"] = str(url.query["ssl"])
    process = await asyncio.create_subprocess_exec(program, *arguments, env=environment, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait()


async def _zip(url: URL, target: Path) -> None:
    async with _connected(url) as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        version = await connection.run_sync(read_version)
        tables = sorted(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
        driver = await _driver(connection)
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_VERSION, str(version))
            for name in tables:
                with archive.open(name, "w", force_zip64=True) as file:
                    await driver.copy_from_table(name, output=file, format="binary")


async def _restore_zip(url: URL, source: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        version = archive.read(_VERSION).decode()
        names = set(archive.namelist())
        async with _connected(url, version) as connection:
            await connection.begin()
            driver = await _driver(connection)
            ordered = [table.name for table in metadata.sorted_tables if table.name in names]  # who is referred to comes first
            present = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            ordered += sorted(name for name in names & set(present) if name not in ordered and name != "alembic_version")
            for name in reversed(ordered):  # what the migrations put there is in the backup, too
                await connection.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER USER"))
                await connection.execute(text(f"DELETE FROM {name}"))  # noqa: S608 - our own tables
            for name in ordered:
                with archive.open(name) as file:
                    await driver.copy_to_table(name, source=file, format="binary")
                await connection.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER USER"))
            for name in _NUMBERED:
                if name in ordered:
                    next_one = f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), coalesce(max(id), 0) + 1, false) FROM {name}"  # noqa: S608
                    await connection.execute(text(next_one))
            await connection.commit()


async def _must_be_empty(url: URL) -> None:
    async with _connected(url) as connection:
        tables = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    if tables:
        raise Fault("invalid_value", f"The database holds tables already ({tables[0]}, ...): a backup is restored into an empty one.")


@contextlib.asynccontextmanager
async def _connected(url: URL, version: str | None = None) -> AsyncIterator[AsyncConnection]:
    """A connection to this PostgreSQL, its schema first brought to `version`."""
    engine = open_engine(url, patient=True)
    try:
        if version is not None:
            await upgrade(engine, version)
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def _driver(connection: AsyncConnection) -> Any:
    """asyncpg's own connection, in the transaction that this one is in."""
    await connection.execute(text("SELECT 1"))  # a transaction begins with its first statement
    return (await connection.get_raw_connection()).driver_connection
