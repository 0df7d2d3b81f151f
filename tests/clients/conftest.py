"""One server for every client, with an upstream of every dialect behind it."""

from collections.abc import Iterator

import polyglot
import pytest

from installation import Installation


@pytest.fixture(scope="session")
def upstreams() -> Iterator[polyglot.Polyglot]:
    """All upstreams in one."""
    server = polyglot.Polyglot()
    yield server
    server.close()


@pytest.fixture(scope="session")
def everyone(upstreams: polyglot.Polyglot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The server. What it logs as an error of its own fails the session."""
    server = Installation(tmp_path_factory.mktemp("everyone"), polyglot.config(upstreams.port)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
