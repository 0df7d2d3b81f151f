"""Whom the gateway asks next, through the real server and in several dialects: waits, keys, mistakes of callers, configurations."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from caller import Answer, Caller, chat
from conftest import config
from installation import PATIENCE_S, Installation
from upstream import Upstream, completion, default, says, whole

MORE = """
[providers.keys]
base_url = "http://127.0.0.1:{port}/v1"
api_keys = ["sk-one", "sk-two"]
discover = false
[routes.two]
policy = "ordered"
models = ["up/two-a", "up/two-b"]
"""


@pytest.fixture(scope="module")
def failing(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    server = Installation(tmp_path_factory.mktemp("failover"), config(upstream, more=MORE.format(port=upstream.port))).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def ask(server: Installation, model: str) -> Answer:
    with Caller(server.port, server.key) as caller:
        return caller.ask(chat(model))


def test_another_key_is_used_when_one_meets_a_limit(failing: Installation, upstream: Upstream) -> None:
    upstream.play("keyed", says(whole({"error": {"message": "busy"}}, 429, "retry-after: 60\r\n")), default)
    assert (ask(failing, "keys/keyed").status, ask(failing, "keys/keyed").status) == (200, 200)
    assert [one.headers[b"authorization"] for one in upstream.received("keyed")] == [b"Bearer sk-one", b"Bearer sk-two", b"Bearer sk-two"]


def test_a_retry_after_is_waited_for_as_a_date_and_in_milliseconds(failing: Installation, upstream: Upstream) -> None:
    dated = "date: Tue, 03 Mar 2026 10:00:00 GMT\r\nretry-after: Tue, 03 Mar 2026 10:00:01 GMT\r\n"
    for name, headers, least_s in (("dated", dated, 0.95), ("fine", "retry-after-ms: 400\r\n", 0.38)):
        upstream.play(name, says(whole({"error": {"message": "busy"}}, 429, headers)), default)
        assert ask(failing, f"up/{name}").status == 200
        first, second = upstream.received(name)
        assert least_s < second.at - first.at < 5


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_callers_mistake_does_not_hurt_the_deployment(failing: Installation, upstream: Upstream, status: int) -> None:
    upstream.play("two-a", *[says(whole({"error": {"message": "wrong"}}, status))] * 6, says(whole(completion("from a"))))
    assert [ask(failing, "two").status for _ in range(6)] == [status] * 6
    assert ask(failing, "two").json["choices"][0]["message"]["content"] == "from a"
    assert upstream.received("two-b") == []


def test_a_route_to_nobody_is_found_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "shoal.toml"
    file.write_text('[routes.x]\npolicy = "ordered"\nmodels = ["nobody/model"]\n')
    argv = [sys.executable, "-m", "shoal", "serve", "--config", str(file), "--port", "0", "--no-mini"]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=PATIENCE_S, env={"SHOAL_HOME": str(tmp_path), "PATH": ""}, check=False
    )
    assert done.returncode != 0
    assert f"{file}:3: routes.x.models" in done.stderr and "'nobody'" in done.stderr
