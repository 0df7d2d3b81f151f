"""Keys of the store and of the environment through a real server: which counts, how several take turns, and how long one rests."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from caller import Answer, Caller, chat
from conftest import config
from installation import PATIENCE_S, Installation
from upstream import Upstream, default, says, whole

MORE = """
[providers.groq]
base_url = "http://127.0.0.1:{port}/v1"
discover = false
[providers.mistral]
base_url = "http://127.0.0.1:{port}/v1"
discover = false
"""
BUSY = {"error": {"message": "busy"}}


def store(server: Installation, provider: str, key: str, *more: str) -> None:
    """A key put into the store, as an operator does it."""
    argv = [sys.executable, "-m", "shoal", "providers", "set-key", provider, *more]
    subprocess.run(argv, input=key, env=server.env, check=True, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def keyed(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    environment = {"MISTRAL_API_KEY": "sk-environment"}
    server = Installation(tmp_path_factory.mktemp("keyed"), config(upstream, more=MORE.format(port=upstream.port)), environment)
    store(server, "groq", "sk-stored-one")
    store(server, "groq", "sk-stored-two", "--add")
    store(server, "mistral", "sk-stored-three")
    yield server.start()
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
    assert "sk-stored" not in server.log() + "".join(server.said)


def ask(server: Installation, model: str) -> Answer:
    with Caller(server.port, server.key) as caller:
        return caller.ask(chat(model))


def keys(upstream: Upstream, model: str) -> list[bytes]:
    """The keys that the requests for a model came with."""
    return [one.headers[b"authorization"].removeprefix(b"Bearer ") for one in upstream.received(model)]


def test_stored_keys_take_turns(keyed: Installation, upstream: Upstream) -> None:
    assert [ask(keyed, "groq/turns").status for _ in range(4)] == [200] * 4
    assert sorted(keys(upstream, "turns")) == sorted([b"sk-stored-one", b"sk-stored-two"] * 2)
    assert keys(upstream, "turns")[0] != keys(upstream, "turns")[1]


def test_the_environment_counts_before_the_store(keyed: Installation, upstream: Upstream) -> None:
    assert ask(keyed, "mistral/from-environment").status == 200
    assert keys(upstream, "from-environment") == [b"sk-environment"]


def test_a_key_rests_until_its_limit_is_reset(keyed: Installation, upstream: Upstream) -> None:
    headers = "x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 1h\r\n"  # Groq's, which say no retry-after here
    upstream.play("resting", says(whole(BUSY, 429, headers)), default)
    assert [ask(keyed, "groq/resting").status for _ in range(4)] == [200] * 4
    first, *others = keys(upstream, "resting")
    assert len(others) == 4
    assert first not in others


def test_no_key_is_in_the_database_as_it_is(keyed: Installation) -> None:
    files = [one for one in Path(keyed.home).rglob("*") if one.is_file()]
    assert any(one.name.startswith("shoal.db") for one in files)
    assert not [one.name for one in files if b"sk-stored" in one.read_bytes()]
