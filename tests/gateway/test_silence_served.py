"""An upstream falls silent, through the real server with the usual timeouts: another answers those who wait for it, and streams go on."""

import threading
import time
from collections.abc import Iterator

import pytest

from caller import Caller, chat, request
from conftest import config
from installation import Installation, wait_for
from upstream import DONE, LAST, STREAM_HEAD, Line, Received, Upstream, chunked, completion, default, delta, says, stream, whole

USUAL = "connect_s = 5.0, first_byte_s = 300.0, idle_s = 120.0, total_s = 1800.0"
MORE = """
[providers.{name}]
like = "vllm"
base_url = "http://127.0.0.1:{port}/v1"
discover = false
"""
ROUTE = """
[routes.silence]
policy = "ordered"
models = ["quiet/silence-a", "steady/silence-b"]
"""


@pytest.fixture(scope="module")
def served(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    more = "".join(MORE.format(name=name, port=upstream.port) for name in ("quiet", "steady"))
    server = Installation(tmp_path_factory.mktemp("silence"), config(upstream, more=more + ROUTE, times=USUAL)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def test_who_waits_for_a_silent_upstream_is_answered_by_another(served: Installation, upstream: Upstream) -> None:
    silenced = threading.Event()

    def speak_until_silenced(line: Line, request: Received) -> None:
        if silenced.is_set():
            line.wait_gone()
            line.close()
        elif request.json.get("stream"):
            line.send(STREAM_HEAD + chunked([delta("Once upon")]).removesuffix(b"0\r\n\r\n"))
        else:
            default(line, request)

    upstream.play("silence-a", speak_until_silenced)
    rest = stream([delta(" a time."), delta(None, "stop"), LAST, DONE])
    upstream.play("silence-b", lambda line, request: line.send(rest if request.json.get("stream") else whole(completion("from b"))))
    with Caller(served.port, served.key) as first:
        for _ in range(8):  # how long it usually takes
            assert first.ask(chat("silence")).headers["x-shoal-provider"] == "quiet"
        first.send(request(served.key, chat("silence", stream=True)))
        wait_for(lambda: len(upstream.received("silence-a")) == 9, "the stream")
        silenced.set()
        callers = [Caller(served.port, served.key) for _ in range(6)]
        started = time.monotonic()
        for caller in callers:
            caller.send(request(served.key, chat("silence")))
        answers = [caller.answer() for caller in callers]
        begun = first.answer()
        assert time.monotonic() - started < 10
        for caller in callers:
            caller.socket.close()
    for answer in answers:
        assert answer.json["choices"][0]["message"]["content"] == "from b"
        assert [(one.get("error"), one["why"]) for one in answer.json["shoal"]["attempts"]] == [
            ("upstream_timeout", "first of 2"),
            (None, "next, after upstream_timeout"),
        ]
    assert b"Once upon" in begun.body and b" a time." in begun.body and begun.events[-1] == b"[DONE]"


def test_nobody_else_has_to_wait_for_it(served: Installation, upstream: Upstream) -> None:
    upstream.play("silence-b", says(whole(completion("from b"))))
    with Caller(served.port, served.key) as caller:
        for _ in range(3):
            assert caller.ask(chat("silence")).headers["x-shoal-provider"] == "steady"
