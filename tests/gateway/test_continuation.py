"""Streams that break off: another deployment takes up the text so far; the caller reads one answer, no word repeated or missing."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from caller import CHAT, Answer, Caller, chat
from conftest import config
from installation import Installation
from upstream import DONE, EVENTS, LAST, STREAM_HEAD, Line, Received, Script, Upstream, chunked, delta, event, says, stream

MORE = """
[providers.vllm]
base_url = "http://127.0.0.1:{port}/v1"
discover = false
"""
USAGE_WANTED = {"stream": True, "stream_options": {"include_usage": True}}
WORDS = ("Once", " upon", " a", " time ")
REST = stream([delta(" "), delta("there was"), delta(" a fox."), delta(None, "stop"), LAST, DONE])


@pytest.fixture(scope="module")
def going_on(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    more = MORE.format(port=upstream.port)
    server = Installation(tmp_path_factory.mktemp("going-on"), config(upstream, more=more)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def cut(data: bytes) -> Script:
    def play(line: Line, request: Received) -> None:
        line.send(data)
        line.close()

    return play


def open_stream(*events: bytes) -> bytes:
    """A stream that has not ended."""
    return STREAM_HEAD + chunked(events).removesuffix(b"0\r\n\r\n")


_numbers = itertools.count()


def pair(upstream: Upstream, first: Script, second: Script) -> tuple[str, dict[str, Any]]:
    """Two models that nobody else asks, the second to go on with the first: its name, and the members of a request that say so."""
    name = f"continued-{next(_numbers)}"
    upstream.play(f"{name}-a", first)
    upstream.play(f"{name}-b", second)
    return f"{name}-b", {"model": f"up/{name}-a", "models": [f"vllm/{name}-b"]}


def ask(server: Installation, body: Any, path: str = CHAT) -> Answer:
    with Caller(server.port, server.key) as caller:
        return caller.ask(body, path)


def text_of(answer: Answer) -> str:
    chunks = [json.loads(data) for data in answer.events if data != b"[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))


@pytest.mark.parametrize("said", range(1, len(WORDS) + 1))
def test_a_text_goes_on_where_it_broke_off(going_on: Installation, upstream: Upstream, said: int) -> None:
    other, models = pair(upstream, cut(open_stream(*map(delta, WORDS[:said]))), says(REST))
    answer = ask(going_on, chat(**models, max_tokens=100, **USAGE_WANTED))
    beginning = "".join(WORDS[:said])
    assert text_of(answer) == beginning.rstrip() + " there was a fox."
    (asked,) = [one.json for one in upstream.received(other)]
    assert asked["messages"][-1] == {"role": "assistant", "content": beginning.rstrip()}
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert 0 < asked["max_tokens"] < 100
    *chunks, last = answer.events
    assert last == b"[DONE]"
    read = [json.loads(data) for data in chunks]
    assert {(one["id"], one["model"]) for one in read} == {("c", "upstream")}
    assert [choice["finish_reason"] for one in read for choice in one["choices"] if choice["finish_reason"]] == ["stop"]
    first, second = read[-1]["shoal"]["attempts"]
    assert (first["error"], second["continued"]) == ("upstream_connection_lost", True)


def test_words_that_come_with_the_error_are_not_repeated(going_on: Installation, upstream: Upstream) -> None:
    broken = delta("Once") + delta(" upon") + event({"error": {"message": "x", "code": 500}})
    _, models = pair(upstream, says(STREAM_HEAD + chunked([broken])), says(REST))
    assert text_of(ask(going_on, chat(**models, stream=True))) == "Once upon there was a fox."


def test_an_answer_that_was_whole_ends_without_another_try(going_on: Installation, upstream: Upstream) -> None:
    other, models = pair(upstream, cut(open_stream(*EVENTS[:3])), says(REST))
    answer = ask(going_on, chat(**models, stream=True))
    assert (text_of(answer), answer.events[-1]) == ("Hello.", b"[DONE]")
    assert upstream.received(other) == []


def test_a_continuation_that_breaks_too_is_one_typed_error(going_on: Installation, upstream: Upstream) -> None:
    _, models = pair(upstream, cut(open_stream(delta("Once"))), cut(open_stream(delta(" upon"))))
    answer = ask(going_on, chat(**models, stream=True))
    assert text_of(answer) == "Once upon"
    errors = [json.loads(data)["error"] for data in answer.events if b'"error"' in data and b'"choices"' not in data]
    assert [one["code"] for one in errors] == ["upstream_connection_lost"]


@pytest.mark.parametrize("more", [{"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}}])
def test_what_is_no_plain_text_is_not_gone_on_with(going_on: Installation, upstream: Upstream, more: dict[str, Any]) -> None:
    other, models = pair(upstream, cut(open_stream(delta("Once"))), says(REST))
    answer = ask(going_on, chat(**models, stream=True, **more))
    assert json.loads(answer.events[-1])["error"]["code"] == "upstream_connection_lost"
    assert upstream.received(other) == []


@pytest.mark.parametrize(
    ("path", "body", "end"),
    [
        (
            "/v1/messages",
            {"max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "hi"}]},
            b"message_stop",
        ),
        ("/v1/responses", {"input": "hi", "stream": True, "store": False}, b"response.completed"),
        ("/v1beta/models/MODEL:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "hi"}]}]}, b'"finishReason":"STOP"'),
    ],
)
def test_callers_of_every_dialect_read_one_answer(
    going_on: Installation, upstream: Upstream, path: str, body: dict[str, Any], end: bytes
) -> None:
    _, models = pair(upstream, cut(open_stream(delta("Once"), delta(" upon"))), says(REST))
    answer = ask(going_on, models | body, path.replace("MODEL", models["model"].replace("/", "%2F")))
    assert answer.status == 200, answer.body
    assert answer.body.count(b"Once upon") <= 4 and b"a fox." in answer.body  # a response repeats its text when it is done
    assert end in answer.body
    assert b"event: error" not in answer.body
