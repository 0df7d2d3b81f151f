"""A store of its own for every test, on each kind of database, and entries to put into it.

A machine without PostgreSQL leaves its tests out, unless CI is set: then they fail.
"""

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


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, one of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/shoal.db"
    return str(request.getfixturevalue("postgres").new_database())


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
