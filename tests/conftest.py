"""What every test may use: property tests that repeat, and real servers, started once."""

import socket
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import settings

from installation import Installation
from shoal.mini.processor import spare
from upstream import CERTIFICATES, Upstream, certified

pytest_plugins = ["desk", "polyglot", "scripted_server"]

# the same examples in every run; no deadline, because the machine may be busy with something else
settings.register_profile("shoal", derandomize=True, deadline=None, database=None)
settings.load_profile("shoal")

spare(threads=1)  # tests run engines with one thread, which some processors must be told before OpenVINO looks at them

BODY_BYTES = 2 * 1024 * 1024
TIMES = "connect_s = 5.0, first_byte_s = 1.5, idle_s = 1.5, total_s = 20.0"


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """A scripted upstream that all tests share; each plays models of its own."""
    server = Upstream()
    yield server
    server.close()


def config(upstream: Upstream, more: str = "", times: str = TIMES, *, trains: bool = False, **server: float) -> str:
    """A configuration with that upstream as `up`, impatient towards callers and upstreams; `server` are settings of [server].

    Only a server that `trains` has a trainer.
    """
    impatient = {
        "max_body_bytes": BODY_BYTES,
        "header_timeout_s": 2.0,
        "body_timeout_s": 3.0,
        "keep_alive_s": 4.0,
        "refusals_per_s": 100_000,
        "drain_s": 0.3,
    }
    lines = "".join(f"{name} = {value}\n" for name, value in (impatient | server).items())
    return f"""
[server]
{lines}
[providers.up]
base_url = "http://127.0.0.1:{upstream.port}/v1"
api_key = "sk-upstream-secret"
discover = false
timeouts = {{ {times} }}
{"" if trains else "[distil]" + chr(10) + "enabled = false"}
{more}
"""


class Neighbours(NamedTuple):
    """Other upstreams of the shared server."""

    trusted: Upstream
    stranger: Upstream
    misnamed: Upstream
    tunnel: Upstream
    closed_port: int


@pytest.fixture(scope="session")
def neighbours() -> Iterator[Neighbours]:
    """Upstreams with TLS, a proxy that opens tunnels, and a port on which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused, and nobody else gets it
        three = [Upstream(certified(name)) for name in ("trusted", "stranger", "misnamed")]
        tunnel = Upstream(certified("trusted"), proxy=True)
        yield Neighbours(*three, tunnel, reserved.getsockname()[1])
        for server in (*three, tunnel):
            server.close()


@pytest.fixture(scope="session")
def shoal(upstream: Upstream, neighbours: Neighbours, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server that all tests share. What it logs as an error of its own fails the session."""
    urls = {
        "refused": f"http://127.0.0.1:{neighbours.closed_port}/v1",
        "nowhere": "http://nowhere.invalid/v1",
        "trusted": f"https://127.0.0.1:{neighbours.trusted.port}/v1",
        "stranger": f"https://127.0.0.1:{neighbours.stranger.port}/v1",
        "misnamed": f"https://127.0.0.1:{neighbours.misnamed.port}/v1",
        "not-tls": f"https://127.0.0.1:{upstream.port}/v1",
        "proxied": "http://plain.test:8080/base/v1/",
        "tunnelled": "https://secure.test/v1",
        "no-tunnel": "https://refused.test/v1",
    }
    more = "".join(f'[providers.{name}]\nbase_url = "{url}"\ndiscover = false\ntimeouts = {{ {TIMES} }}\n' for name, url in urls.items())
    more += f"""
[providers.keyless]
base_url = "http://127.0.0.1:{upstream.port}/v1"
api_key_env = "SHOAL_TEST_KEY_THAT_IS_NOT_SET"
discover = false

[providers.odd]
base_url = "http://127.0.0.1:{upstream.port}/v1"
discover = false
quirks = {{ drop = ["seed"] }}

[routes.pair]
policy = "ordered"
models = ["up/pair-1", "up/pair-2"]

[routes.refused-first]
policy = "ordered"
models = ["refused/x", "up/x"]

[models.priced]
deployments = [{{ provider = "up", price = {{ input = 1.0, output = 2.0 }} }}]
"""
    env = {
        "SSL_CERT_FILE": str(CERTIFICATES / "authority.pem"),
        "HTTP_PROXY": f"http://user:p%40ss@127.0.0.1:{upstream.port}",
        "HTTPS_PROXY": f"http://127.0.0.1:{neighbours.tunnel.port}",
        "NO_PROXY": "nowhere.invalid",
    }
    server = Installation(tmp_path_factory.mktemp("shoal"), config(upstream, more=more), env).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
