"""Second tries beside a late one: the first that has something wins, the other is cancelled and listed, whatever else happens."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from caller import Answer, Caller, chat, request
from conftest import config
from installation import Installation, wait_for
from upstream import Line, Received, Script, Upstream, default, whole

MORE = """
[routes.hedged]
policy = "hedged"
after_s = 0.1
inner = { policy = "ordered", retries = 0 }
models = ["up/hedge-a", "up/hedge-b"]
"""


@pytest.fixture(scope="module")
def hedging(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    server = Installation(tmp_path_factory.mktemp("hedging"), config(upstream, more=MORE)).start()
    upstream.play("hedge-earn", default)
    with Caller(server.port, server.key) as caller:
        for _ in range(200):  # one second try for every 20 requests: the budget is full
            caller.ask(chat("up/hedge-earn"))
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def ask(server: Installation, **more: Any) -> Answer:
    with Caller(server.port, server.key) as caller:
        return caller.ask(chat("hedged", **more))


class Silent:
    """Says nothing, and notes when the gateway hung up."""

    def __init__(self) -> None:
        self.gone = threading.Event()
        self.gone_at = 0.0

    def __call__(self, line: Line, request: Received) -> None:
        self.gone_at = line.wait_gone()
        self.gone.set()
        line.close()


def failing(status: int, after_s: float = 0.0) -> Script:
    def play(line: Line, request: Received) -> None:
        threading.Event().wait(after_s)
        line.send(whole({"error": {"message": "no"}}, status))

    return play


@pytest.mark.parametrize("streaming", [False, True])
def test_the_late_one_is_cancelled_and_listed(hedging: Installation, upstream: Upstream, streaming: bool) -> None:
    silent = Silent()
    upstream.play("hedge-a", silent)
    upstream.play("hedge-b", default)
    started = time.monotonic()
    answer = ask(hedging, stream=streaming)
    answered_at = time.monotonic()
    assert (answer.status, answer.headers["x-shoal-attempts"]) == (200, "2")
    assert 0.1 <= answered_at - started < 1.4
    assert silent.gone.wait(5)
    assert silent.gone_at - answered_at < 0.1
    if not streaming:
        first, second = answer.json["shoal"]["attempts"]
        assert (first["error"], second.get("error")) == ("superseded", None)


def test_nobody_is_asked_beside_one_that_is_in_time(hedging: Installation, upstream: Upstream) -> None:
    upstream.play("hedge-a", default)
    assert ask(hedging).headers["x-shoal-attempts"] == "1"


def test_the_first_may_fail_while_the_second_runs(hedging: Installation, upstream: Upstream) -> None:
    def slow(line: Line, request: Received) -> None:
        threading.Event().wait(0.3)
        default(line, request)

    upstream.play("hedge-a", failing(500, 0.2))
    upstream.play("hedge-b", slow)
    answer = ask(hedging)
    assert [one.get("error") for one in answer.json["shoal"]["attempts"]] == ["upstream_error", None]


def test_both_may_fail(hedging: Installation, upstream: Upstream) -> None:
    upstream.play("hedge-a", failing(500, 0.2))
    upstream.play("hedge-b", failing(500))
    answer = ask(hedging)
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert len(answer.json["shoal"]["attempts"]) == 2


def test_a_caller_who_leaves_ends_both(hedging: Installation, upstream: Upstream) -> None:
    first, second = Silent(), Silent()
    upstream.play("hedge-a", first)
    upstream.play("hedge-b", second)
    before = len(upstream.received("hedge-b"))
    with Caller(hedging.port) as caller:
        caller.send(request(hedging.key, chat("hedged")))
        wait_for(lambda: len(upstream.received("hedge-b")) > before, "the second try")
    assert first.gone.wait(1) and second.gone.wait(1)
