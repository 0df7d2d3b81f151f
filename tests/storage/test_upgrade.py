"""The schema: made by whoever comes first, current for everyone after, both ways, and never by accident over something else."""

import asyncio
import os
import re
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect

from shoal.core.errors import Fault
from shoal.storage.database import find_file, open_engine, parse_address, writing
from shoal.storage.schema import HEAD, metadata
from shoal.storage.store import open_store
from shoal.storage.upgrade import ensure_schema, migration_config, read_version, upgrade

SLOW = "import asyncio, sys; from pathlib import Path; from shoal.storage.upgrade import ensure_schema; sys.stdin.read(1); "
RUN = "asyncio.run(ensure_schema(Path(sys.argv[1])))"


async def test_the_newest_migration_leaves_exactly_the_schema(address: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    await ensure_schema(address)
    engine = open_engine(parse_address(address))
    async with engine.connect() as connection:
        assert await connection.run_sync(lambda c: compare_metadata(MigrationContext.configure(c), metadata)) == []
        assert await connection.run_sync(read_version) == HEAD
        scripts = await connection.run_sync(lambda c: ScriptDirectory.from_config(migration_config(c)))
        assert scripts.get_heads() == [HEAD]
    await engine.dispose()


async def test_up_and_down_and_up(address: str) -> None:
    engine = open_engine(parse_address(address))
    for target, tables in ((HEAD, set(metadata.tables)), ("base", set()), (HEAD, set(metadata.tables))):
        await upgrade(engine, target)
        async with engine.connect() as connection:
            found = set(await connection.run_sync(lambda c: inspect(c).get_table_names()))
        assert found - {"alembic_version"} == tables
    await engine.dispose()


async def test_a_migration_that_fails_leaves_nothing_behind(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the power went")

    engine = open_engine(parse_address(address))
    monkeypatch.setattr(op, "create_index", fail)
    with pytest.raises(RuntimeError, match="the power went"):
        await upgrade(engine)
    async with engine.connect() as connection:
        assert await connection.run_sync(lambda c: inspect(c).get_table_names()) == []
    monkeypatch.undo()
    await upgrade(engine)
    await engine.dispose()


def start_upgrade(address: str) -> subprocess.Popen[bytes]:
    run = "asyncio.run(ensure_schema(sys.argv[1]))"
    return subprocess.Popen([sys.executable, "-c", SLOW + run, address], stdin=subprocess.PIPE, stderr=subprocess.PIPE)


async def test_four_processes_at_once_all_succeed(address: str) -> None:
    processes = [start_upgrade(address) for _ in range(4)]
    errors = [process.communicate(b"x", timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, b"".join(errors).decode()
    engine = open_engine(parse_address(address))
    async with engine.connect() as connection:
        assert await connection.run_sync(read_version) == HEAD
        if address.startswith("sqlite"):
            assert (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar() == "wal"
    await engine.dispose()


def test_alembic_is_not_imported_when_the_schema_is_current(tmp_path: Path) -> None:
    asyncio.run(ensure_schema(tmp_path / "shoal.db"))
    code = SLOW + RUN + "; print('alembic' in sys.modules, 'typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "shoal.db"], input=b"x", capture_output=True, timeout=60, check=True)
    assert done.stdout == b"False False\n"


def test_a_parent_may_have_it_done_by_a_child(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shoal.storage.upgrade"]
    subprocess.run([*command, f"sqlite:///{tmp_path}/shoal.db"], timeout=60, check=True)
    failed = subprocess.run([*command, "mysql://x/y"], capture_output=True, text=True, timeout=60)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert re.fullmatch(r"The storage url names mysql.*\n", failed.stderr)


async def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    await ensure_schema(tmp_path / "shoal.db")
    with closing(sqlite3.connect(tmp_path / "shoal.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Fault, match=r"newer Shoal \(schema 9999"):
        await open_store(tmp_path / "shoal.db")


async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    content = b"dear diary, " * 500
    (tmp_path / "shoal.db").write_bytes(content)
    with pytest.raises(Fault, match=r"shoal\.db cannot be used \(file is not a database\)"):
        await open_store(tmp_path / "shoal.db")
    assert (tmp_path / "shoal.db").read_bytes() == content


async def test_a_database_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "shoal.db")) as connection, connection:
        connection.execute("CREATE TABLE diary (day)")
    with pytest.raises(Fault, match=r"not Shoal's \(diary"):
        await open_store(tmp_path / "shoal.db")
    with closing(sqlite3.connect(tmp_path / "shoal.db")) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("diary",)]


async def test_only_the_owner_may_read_the_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    mask = os.umask(0)
    try:
        store = await open_store(home / "shoal.db")
        await store.keys.create("app")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
        await store.close()
    finally:
        os.umask(mask)
    assert set(modes) >= {"shoal.db", "shoal.db-wal", "shoal.db-shm"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize("url", ["sqlite:////srv/shoal.db", "sqlite+aiosqlite:////srv/shoal.db", Path("/srv/shoal.db")])
def test_addresses_of_one_file(url: str | Path) -> None:
    parsed = parse_address(url)
    assert find_file(parsed) == Path("/srv/shoal.db")
    assert parsed.drivername == "sqlite+aiosqlite"


def test_a_path_may_hold_anything() -> None:
    path = Path("/srv/a?b#c%20 d:e@f/shoal.db")
    assert find_file(parse_address(path)) == path


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("shoal.db", "not a database URL"),
        ("", "not a database URL"),
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "must name a file"),
        ("mysql://localhost/shoal", "names mysql, which Shoal does not know"),
        ("postgresql://localhost", "must name a database"),
        ("sqlite://host:nonsense/x", "not a database URL"),
    ],
)
def test_an_address_that_cannot_be_used_is_explained(url: str, message: str) -> None:
    with pytest.raises(Fault, match=message) as caught:
        parse_address(url)
    assert caught.value.param == "storage.url"


async def test_a_place_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Fault, match=r"cannot be opened \(Not a directory|cannot be opened \(File exists"):
        await open_store(tmp_path / "file" / "shoal.db")


async def test_a_failed_transaction_keeps_nothing(tmp_path: Path) -> None:
    await ensure_schema(tmp_path / "shoal.db")
    engine = open_engine(parse_address(tmp_path / "shoal.db"))
    insert = "INSERT INTO journal_offsets VALUES ('a', 1)"
    with pytest.raises(RuntimeError):
        async with writing(engine).begin() as connection:
            await connection.exec_driver_sql(insert)
            raise RuntimeError
    async with engine.connect() as connection:
        assert (await connection.exec_driver_sql("SELECT * FROM journal_offsets")).all() == []
    await engine.dispose()


async def test_the_check_of_the_books_lets_go_of_no_lock(tmp_path: Path) -> None:
    """Whoever takes itself for the last process there removes the write-ahead log, which the others would go on writing."""
    path = tmp_path / "shoal.db"
    store = await open_store(path)
    assert await store.ledger.check() == []
    look = "import sqlite3, sys; store = sqlite3.connect(sys.argv[1]); store.execute('SELECT 1 FROM requests').fetchall(); store.close()"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", look, str(path))
    assert await process.wait() == 0
    assert (tmp_path / "shoal.db-wal").exists()
    await store.close()
