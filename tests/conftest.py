"""What every test may use: property tests that repeat, and real servers, started once."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from installation import Installation
from upstream import Upstream

# the same examples in every run; no deadline, because the machine may be busy with something else
settings.register_profile("shoal", derandomize=True, deadline=None, database=None)
settings.load_profile("shoal")

BODY_BYTES = 2 * 1024 * 1024
TIMES = "connect_s = 5.0, first_byte_s = 1.5, idle_s = 1.5, total_s = 20.0"


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """A scripted upstream that all tests share; each plays models of its own."""
    server = Upstream()
    yield server
    server.close()


def config(upstream: Upstream, server: str = "", more: str = "") -> str:
    """A configuration with that upstream as `up`, impatient towards callers and upstreams."""
    return f"""
[server]
max_body_bytes = {BODY_BYTES}
header_timeout_s = 2.0
body_timeout_s = 3.0
keep_alive_s = 4.0
refusals_per_s = 100000
drain_s = 0.3
{server}

[providers.up]
base_url = "http://127.0.0.1:{upstream.port}/v1"
api_key = "sk-upstream-secret"
discover = false
timeouts = {{ {TIMES} }}
{more}
"""


@pytest.fixture(scope="session")
def shoal(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server that all tests share. What it logs as an error of its own fails the session."""
    pair = """
[models.pair]
deployments = [{ provider = "up", model = "pair-1" }, { provider = "up", model = "pair-2" }]

[models.priced]
deployments = [{ provider = "up", price = { input = 1.0, output = 2.0 } }]
"""
    server = Installation(tmp_path_factory.mktemp("shoal"), config(upstream, more=pair)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
