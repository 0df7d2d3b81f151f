"""A store of its own for every test, on each kind of database, and entries to put into it.

A machine without PostgreSQL leaves its tests out, unless CI is set: then they fail.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from postgres import Cluster, find_programs

from shoal.core.ledger import Entry
from shoal.storage.store import Store, open_store
from shoal.storage.upgrade import ensure_schema


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A running PostgreSQL for all tests."""
    programs = find_programs()
    if programs is None:
        assert not os.environ.get("CI"), "CI must test PostgreSQL: its server's programs are not installed"
        pytest.skip("PostgreSQL is not installed (Debian: apt install postgresql)")
    directory = Path(tempfile.mkdtemp(prefix="shoal-postgres-"))  # not pytest's own, which its unprivileged user may not enter
    try:
        cluster = Cluster(programs, directory)
        yield cluster
        cluster.stop()
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with its schema, to be copied: making it anew for every test would take most of their time."""
    path = tmp_path_factory.mktemp("template") / "shoal.db"
    asyncio.run(ensure_schema(path))
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Cluster) -> str:
    """The same in PostgreSQL: a database's name."""
    url = postgres.new_database()
    asyncio.run(ensure_schema(url))
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database, one of each kind: empty, unless the test takes a store in it, too."""
    filled = "store" in request.fixturenames
    if request.param == "sqlite":
        if filled:
            shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "shoal.db")
        yield f"sqlite:///{tmp_path}/shoal.db"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    url = cluster.new_database(request.getfixturevalue("postgres_template") if filled else "template1")
    yield url
    cluster.drop(url)


@pytest.fixture
async def store(address: str) -> AsyncIterator[Store]:
    """A store in a database of each kind."""
    store = await open_store(address)
    yield store
    await store.close()


@pytest.fixture(scope="session")
def make_entry() -> Callable[..., Entry]:
    def make(number: int, **fields: Any) -> Entry:
        values: dict[str, Any] = {
            "request_id": f"req_{number:09d}",
            "at_ms": 1_700_000_000_000 + number,
            "key_id": "key_a",
            "endpoint": "chat",
            "requested_model": "gpt",
            "model": "openai/gpt",
            "provider": "openai",
            "deployment": "openai/gpt",
            "status": 200,
            "stream": False,
            "input_tokens": 10,
            "output_tokens": 3,
            "cost_nano": 7,
            "attempts": 1,
            "org_id": "org_operator",
            "project_id": "proj_default",
            "receipt": msgspec.Raw(b'{"id":"req","model":"openai/gpt"}'),
        }
        return Entry(**(values | fields))

    return make
