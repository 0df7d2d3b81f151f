"""Gemini to Gemini: every byte stays, but for what is the gateway's and the two insertions."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.conversation import Reasoning
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.gemini.forward import Stream, complete, encode
from shoal.wire.gemini.signatures import seal


class Asked(msgspec.Struct):
    """A request as the gateway knows it."""

    body: bytes
    model: str = "m"
    stream: bool = False


class Book:
    """Settles, once, and remembers for what."""

    def __init__(self) -> None:
        self.settled: list[Usage | None] = []

    def __call__(self, usage: Usage | None) -> tuple[str | None, bytes]:
        self.settled.append(usage)
        return "0.25", b'{"attempts":1}'


PRO = Deployment("d", "m", "gemini", "gemini-2.5-pro")


def test_a_body_stays_as_it_is() -> None:
    body = b'{ "contents" : [{"parts":[{"text":"a"}]}], "unknown": 1.50 }'
    call = encode(Asked(body), PRO)
    assert (call.path, call.body) == ("/models/gemini-2.5-pro:generateContent", body)
    assert encode(Asked(body, stream=True), PRO).path == "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"


def test_what_is_the_gateways_stays_here() -> None:
    body = b'{"provider":{"order":["a"]},"contents":[{"parts":[{"text":"\\"models\\""}]}],"session_id":"s","x":1.50,"metadata":{}}'
    assert encode(Asked(body), PRO).body == b'{"contents":[{"parts":[{"text":"\\"models\\""}]}],"x":1.50}'
    inside = b'{"contents":[{"parts":[{"functionCall":{"args":{"models":1}}}]}]}'
    assert encode(Asked(inside), PRO).body == inside


def test_a_body_that_is_no_object_is_refused() -> None:
    with pytest.raises(Fault) as caught:
        encode(Asked(b'["models"]'), PRO)
    assert caught.value.kind == "invalid_json"


def test_a_proof_of_anothers_thought_does_not_reach_google() -> None:
    sealed = seal(Reasoning("hm", "s", origin="anthropic"))
    parts = [{"text": "hm", "thought": True, "thoughtSignature": sealed}, {"text": "b"}]
    turns = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": parts}]
    call = encode(Asked(json.dumps({"contents": turns}).encode()), PRO)
    assert json.loads(call.body)["contents"][1]["parts"] == [{"text": "b"}]
    assert call.dropped == ("reasoning_content",)


PRETTY = {
    "candidates": [{"content": {"parts": [{"text": 'say "usageMetadata": {"promptTokenCount": 1}'}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]},
    "modelVersion": "m1",
}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_whole_answer_gets_two_insertions(indent: int | None) -> None:
    body, book = json.dumps(PRETTY, indent=indent).encode(), Book()
    out = complete(body + b"\n", book)
    assert book.settled == [Usage(9, 4)]
    found = json.loads(out)
    assert list(found.items())[-1] == ("shoal", {"attempts": 1}) and list(found["usageMetadata"].items())[-1] == ("cost", 0.25)
    del found["shoal"], found["usageMetadata"]["cost"]
    assert found == PRETTY
    assert out.startswith(body[: body.index(b'"modality"')])


@pytest.mark.parametrize("usage", [None, {}])
def test_an_answer_without_usage(usage: dict[str, int] | None) -> None:
    body = json.dumps({"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage}).encode()
    book = Book()
    found = json.loads(complete(body, book))
    assert book.settled == [None if usage is None else Usage()]
    assert found["usageMetadata"] == (None if usage is None else {"cost": 0.25})
    assert found["shoal"] == {"attempts": 1}


def test_errors_in_a_success_are_errors() -> None:
    with pytest.raises(Fault) as caught:
        complete(b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}', Book())
    assert caught.value.kind == "upstream_busy"
    with pytest.raises(Fault, match="shape"):
        complete(b"<html>", Book())


def event(text: str, reason: str | None = None, count: int = 1) -> bytes:
    """One event, as Google sends it."""
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}]}} | ({"finishReason": reason} if reason else {})
    return b"data: " + json.dumps({"candidates": [candidate], "usageMetadata": {"promptTokenCount": count}}).encode() + b"\r\n\r\n"


EVENTS = [event("ü", count=1), event("b", count=2), event("c", "STOP", 3), event("", "STOP", 4)]
LAST = EVENTS[-1].replace(b"4}}", b'4,"cost":0.25},"shoal":{"attempts":1}}')


def passed(data: bytes, cuts: Sequence[int] = (), array: bool = False) -> tuple[bytes, Book]:
    """A stream that arrives in pieces, as the caller gets it."""
    book = Book()
    stream = Stream(book, array=array)
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    out = b"".join(stream.feed(data[a:b]) for a, b in itertools.pairwise(edges)) + stream.close()
    assert stream.done
    return out, book


@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_events_stay_as_they_are_and_the_last_has_the_insertions(cuts: list[int]) -> None:
    out, book = passed(b": ping\r\n\r\n" + b"".join(EVENTS), cuts)
    assert out == b": ping\r\n\r\n" + b"".join(EVENTS[:-1]) + LAST
    assert book.settled == [Usage(4)]


@given(st.lists(st.integers(0, 10_000), max_size=40))
def test_a_caller_who_wants_an_array_gets_one(cuts: list[int]) -> None:
    out, _ = passed(b": ping\r\n\r\n" + b"".join(EVENTS), cuts, array=True)
    assert json.loads(out) == [json.loads(one[6:]) for one in [*EVENTS[:-1], LAST]]


def test_words_are_not_held_back() -> None:
    stream = Stream(Book())
    assert stream.feed(EVENTS[0]) == EVENTS[0]
    assert stream.feed(EVENTS[1] + EVENTS[2]) == EVENTS[1]


def test_data_of_several_lines_and_no_last_blank_line() -> None:
    body = json.dumps(PRETTY, indent=1).encode()
    data = b"".join(b"data: " + line + b"\n" for line in body.splitlines())
    out, book = passed(EVENTS[0] + data)
    assert out.startswith(EVENTS[0]) and book.settled == [Usage(9, 4)]
    joined = b"".join(line.removeprefix(b"data: ") for line in out[len(EVENTS[0]) :].splitlines())
    assert json.loads(joined)["shoal"] == {"attempts": 1}


def test_a_blocked_question_is_a_whole_stream() -> None:
    out, _ = passed(b'data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}\r\n\r\n')
    assert json.loads(out[6:])["shoal"] == {"attempts": 1}


def test_an_error_ends_the_stream() -> None:
    stream = Stream(Book())
    broken = b'data: {"error":{"code":503,"status":"UNAVAILABLE"}}\r\n\r\n'
    assert stream.feed(EVENTS[0] + broken + EVENTS[2]) == EVENTS[0]
    assert stream.failed is not None and stream.failed.kind == "upstream_error"
    assert stream.feed(EVENTS[3]) == b""
    with pytest.raises(Fault):
        stream.close()


def test_a_stream_that_breaks_off_is_cut() -> None:
    stream = Stream(book := Book())
    stream.feed(EVENTS[0] + EVENTS[1])
    with pytest.raises(Fault) as caught:
        stream.close()
    assert caught.value.kind == "upstream_cut" and book.settled == []
