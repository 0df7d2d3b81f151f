"""Streams of a Gemini, cut anywhere, and streams for callers who speak Gemini, as events and as one JSON array."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.answer import (
    Answer,
    Began,
    Choice,
    Delta,
    Ended,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Used,
    fold,
    split,
)
from shoal.core.conversation import Citation, Conversation, Image, Reasoning, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.gemini.answers import read
from shoal.wire.gemini.dialect import CALLER_OF_ARRAYS
from shoal.wire.gemini.streams import Reader, Writer

NOBODY = Conversation(model="m", messages=())


def event(*parts: dict[str, Any], reason: str | None = None, usage: dict[str, int] | None = None, index: int | None = None) -> bytes:
    """One event, as Google sends it."""
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}}
    candidate |= {"finishReason": reason} if reason else {}
    candidate |= {} if index is None else {"index": index}
    body = {"candidates": [candidate], "usageMetadata": usage or {"promptTokenCount": 9}, "modelVersion": "m1", "responseId": "r1"}
    return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"


def told(data: bytes, cuts: Sequence[int] = ()) -> list[Delta]:
    """The deltas of a stream that arrives in pieces."""
    reader = Reader()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    out = [delta for a, b in itertools.pairwise(edges) for delta in reader.feed(data[a:b])]
    return out + reader.close()


END = {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 2, "totalTokenCount": 15}
STREAM = b"".join(
    [
        b": ping\r\n\r\n",
        event({"text": "hm", "thought": True}),
        event({"text": " well", "thought": True}),
        event({"text": "Hü"}),
        event({"text": "llo"}, {"functionCall": {"name": "f", "args": {"a": "ü"}}, "thoughtSignature": "s"}),
        event({"functionCall": {"id": "own", "name": "g"}}),
        event({"text": ""}, reason="STOP", usage=END),
    ]
)


def test_a_stream_tells_what_the_whole_answer_would() -> None:
    assert fold(told(STREAM)) == Answer(
        id="r1",
        model="m1",
        choices=(
            Choice(
                (
                    Reasoning("hm well", origin="gemini"),
                    Text("Hüllo"),
                    ToolCall("call_r1_0_0", "f", '{"a":"\\u00fc"}', "s"),
                    ToolCall("own", "g", "{}"),
                ),
                "tool_calls",
            ),
        ),
        usage=Usage(9, 6, reasoning=2),
    )


@given(st.lists(st.integers(0, 10_000), max_size=60), st.sampled_from([b"\r\n", b"\n"]))
def test_any_cut_tells_the_same(cuts: list[int], end: bytes) -> None:
    assert told(STREAM.replace(b"\r\n", end), cuts) == told(STREAM)


def test_every_byte_alone_tells_the_same() -> None:
    assert told(STREAM, range(len(STREAM))) == told(STREAM)


def test_it_begins_once_and_ends_once_though_google_says_stop_in_every_event() -> None:
    deltas = told(event({"text": "a"}, reason="STOP") + event({"text": "b"}, reason="STOP") + event({"text": "c"}, reason="MAX_TOKENS"))
    assert [delta for delta in deltas if isinstance(delta, Began | Ended)] == [Began("r1", "m1"), Ended("length")]


def test_candidates_are_kept_apart() -> None:
    data = event({"text": "a"}, index=0) + event({"text": "b"}, index=1) + event(reason="STOP", index=1) + event(reason="SAFETY", index=0)
    assert fold(told(data)).choices == (Choice((Text("a"),), "content_filter", 0), Choice((Text("b"),), "stop", 1))


def test_thoughts_between_words_are_other_thoughts() -> None:
    parts = [
        {"text": "a", "thought": True, "thoughtSignature": "s1"},
        {"text": "b", "thought": True},
        {"text": "x"},
        {"text": "c", "thought": True},
    ]
    choice = fold(told(b"".join(event(part) for part in parts) + event(reason="STOP"))).choices[0]
    thoughts = Reasoning("a", "s1", origin="gemini"), Reasoning("b", origin="gemini"), Text("x"), Reasoning("c", origin="gemini")
    assert choice.parts == thoughts


def test_the_last_event_may_lack_its_blank_line() -> None:
    assert fold(told(STREAM.rstrip())) == fold(told(STREAM))


@pytest.mark.parametrize("length", range(0, len(STREAM) - len(event({"text": ""}, reason="STOP", usage=END)), 37))
def test_a_stream_that_breaks_off_is_a_fault(length: int) -> None:
    reader = Reader()
    with pytest.raises(Fault) as caught:
        [*reader.feed(STREAM[:length]), *reader.close()]
    assert caught.value.kind in ("upstream_cut", "upstream_garbled")


ERROR = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}


@pytest.mark.parametrize(
    "broken",
    [
        b"data: " + json.dumps(ERROR).encode() + b"\r\n\r\n",
        json.dumps(ERROR, indent=2).encode(),
        json.dumps([ERROR], indent=2).encode() + b"\r\n\r\n",
    ],
)
def test_an_error_in_a_stream_is_an_error(broken: bytes) -> None:
    reader = Reader()
    assert reader.feed(event({"text": "a"}))
    with pytest.raises(Fault) as caught:
        [*reader.feed(broken), *reader.close()]
    assert caught.value.kind in ("upstream_error", "upstream_garbled")


def test_a_blocked_question_is_a_whole_stream() -> None:
    data = b'data: {"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}\r\n\r\n'
    assert fold(told(data)).choices == (Choice((), "content_filter"),)


def test_what_is_no_event_is_garbled() -> None:
    for data in (b"data: {]\r\n\r\n", b"data: 1\r\n\r\n", b'data: {"candidates":[{"content":{"parts":[{"text":1}]}}]}\r\n\r\n'):
        with pytest.raises(Fault) as caught:
            Reader().feed(data)
        assert caught.value.kind == "upstream_garbled"


ANSWER = Answer(
    id="r1",
    model="m1",
    choices=(
        Choice(
            (
                Reasoning("hm", "s", origin="gemini"),
                Text("Hi ü", citations=(Citation("https://a.example", "A", start=3, end=4),)),
                ToolCall("a", "f", '{"x":1}', "s1"),
                ToolCall("b", "g", "{}", "s2"),
                Image(data="AA==", media_type="image/png"),
            ),
            "tool_calls",
        ),
        Choice((Text("other"),), "length", 1),
    ),
    usage=Usage(10, 7, 2, reasoning=3),
)


def sent(answer: Answer, sizes: list[int], array: bool) -> bytes:
    """An answer as a stream for a caller, fed in runs of deltas."""
    writer = Writer(array=array)
    deltas = list(split(answer))
    out = b""
    for size in [*sizes, len(deltas)]:
        out += writer.feed(deltas[:size])
        deltas = deltas[size:]
    return out + writer.close("0.25", b'{"attempts":1}')


@given(st.lists(st.integers(0, 4), max_size=20))
def test_what_is_written_can_be_read(sizes: list[int]) -> None:
    assert fold(told(sent(ANSWER, sizes, array=False))) == ANSWER


@given(st.lists(st.integers(0, 4), max_size=20))
def test_an_array_holds_the_same_answers(sizes: list[int]) -> None:
    elements = json.loads(sent(ANSWER, sizes, array=True))
    events = b"".join(b"data: " + json.dumps(element).encode() + b"\r\n\r\n" for element in elements)
    assert fold(told(events)) == ANSWER


@pytest.mark.parametrize("array", [False, True])
def test_the_last_event_alone_tells_cost_and_receipt(array: bool) -> None:
    data = sent(ANSWER, [1] * 20, array)
    elements = json.loads(data) if array else [json.loads(one[6:]) for one in data.decode().strip().split("\r\n\r\n")]
    assert [("shoal" in one, "usageMetadata" in one) for one in elements] == [(False, False)] * (len(elements) - 1) + [(True, True)]
    assert elements[-1]["shoal"] == {"attempts": 1}
    assert list(elements[-1])[-1] == "shoal" and list(elements[-1]["usageMetadata"].items())[-1] == ("cost", 0.25)
    assert [one["finishReason"] for one in elements[-1]["candidates"]] == ["STOP", "MAX_TOKENS"]


def test_a_call_is_sent_when_its_arguments_are_whole() -> None:
    writer = Writer()
    assert writer.feed([Began("r1", "m1"), ToolCallDelta(0, "a", "f"), ToolCallDelta(0, arguments='{"x"')]) == b""
    assert writer.feed([ToolCallDelta(0, arguments=":1}")]) == b""
    first = json.loads(writer.feed([ToolCallDelta(1, "b", "g")])[6:])
    assert first["candidates"][0]["content"]["parts"][0]["functionCall"] == {"id": "a", "name": "f", "args": {"x": 1}}
    second = json.loads(writer.feed([Ended("tool_calls")])[6:])
    assert second["candidates"][0]["content"]["parts"] == [{"functionCall": {"id": "b", "name": "g", "args": {}}}]


def test_words_of_one_read_go_in_one_part() -> None:
    deltas: list[Delta] = [Began("r1", "m1"), ReasoningDelta("a"), ReasoningDelta("b"), TextDelta("c"), TextDelta("d"), RefusalDelta("e")]
    body = json.loads(Writer().feed(deltas)[6:])
    assert body["candidates"][0]["content"]["parts"] == [{"text": "ab", "thought": True}, {"text": "cde"}]


def test_usage_that_comes_last_counts() -> None:
    writer = Writer()
    writer.feed([Began(), TextDelta("a"), Used(Usage(1)), Ended(), Used(Usage(5, 6))])
    last = json.loads(writer.close(None, b"null")[6:])
    assert last["usageMetadata"] == {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 11, "cost": None}
    assert last["candidates"][0]["content"]["parts"] == [{"text": ""}]


def test_an_array_that_breaks_is_still_an_array() -> None:
    writer = CALLER_OF_ARRAYS.stream(NOBODY)
    data = writer.feed([Began("r1", "m1")]) + CALLER_OF_ARRAYS.error_event(Fault("upstream_cut", "It broke."), b'{"attempts":2}')
    first, last = json.loads(data)
    assert first["responseId"] == "r1"
    assert (last["error"]["status"], last["shoal"]) == ("UNAVAILABLE", {"attempts": 2})


def test_whole_and_streamed_answers_agree() -> None:
    (only,) = (json.loads(one[6:]) for one in STREAM.decode().split("\r\n\r\n") if "finishReason" in one)
    assert read(json.dumps(only).encode(), NOBODY).usage == fold(told(STREAM)).usage


def piece(path: str, *, more: bool = False, **value: Any) -> dict[str, Any]:
    """A part of a call's arguments; within, `more` of the same is to come."""
    return {"jsonPath": path, **value, **({"willContinue": True} if more else {})}


def going_on(*pieces: dict[str, Any], last: bool = False) -> dict[str, Any]:
    """A later part of a call that comes in pieces."""
    return {"functionCall": {"partialArgs": list(pieces), **({} if last else {"willContinue": True})}}


BEGUN = {"functionCall": {"name": "f", "id": "c1", "willContinue": True}, "thoughtSignature": "s"}
CLOSED: dict[str, Any] = {"functionCall": {}}
WORDS = [going_on(piece("$.a", stringValue="x", more=True)), going_on(piece("$.a", stringValue="y"))]


@pytest.mark.parametrize(
    ("parts", "arguments"),
    [
        ([BEGUN, *WORDS, CLOSED], {"a": "xy"}),
        ([BEGUN, *WORDS, going_on(piece("$.b", numberValue=3), last=True)], {"a": "xy", "b": 3}),
        ([BEGUN, *WORDS], {"a": "xy"}),
        ([BEGUN, CLOSED], {}),
        ([BEGUN], {}),
        ([BEGUN, going_on(piece("$.l[0].n", boolValue=False), piece("$.l[0].m", stringValue="")), CLOSED], {"l": [{"n": False, "m": ""}]}),
        ([BEGUN, going_on(piece("$.l[0]", nullValue=None), piece("$.l[1]", numberValue=1.5)), CLOSED], {"l": [None, 1.5]}),
        ([BEGUN, going_on(piece("$['odd name']['it\\'s']", stringValue="x")), CLOSED], {"odd name": {"it's": "x"}}),
        (
            [{"functionCall": {"name": "f", "id": "c1", "partialArgs": [piece("$.a", stringValue="x")]}, "thoughtSignature": "s"}],
            {"a": "x"},
        ),
    ],
)
def test_a_call_that_comes_in_pieces_is_told_whole(parts: list[dict[str, Any]], arguments: Any) -> None:
    for stream in ([event(part) for part in parts], [event(*parts)]):
        answer = fold(told(b"".join(stream) + event(CLOSED, {"text": "so"}, reason="STOP")))
        call, words = answer.choices[0].parts
        assert isinstance(call, ToolCall)
        assert (call.id, call.name, call.signature, json.loads(call.arguments)) == ("c1", "f", "s", arguments)
        assert (words, answer.choices[0].finish) == (Text("so"), "tool_calls")


def test_two_calls_in_pieces_stay_apart() -> None:
    second = {"functionCall": {"name": "g", "id": "c2", "willContinue": True}}
    answer = fold(told(event(BEGUN) + event(*WORDS) + event(second) + event(CLOSED) + event(reason="STOP")))
    assert [(call.name, call.arguments) for call in answer.choices[0].parts if isinstance(call, ToolCall)] == [
        ("f", '{"a":"xy"}'),
        ("g", "{}"),
    ]


@pytest.mark.parametrize("path", ["", "$", "a", "$.a[7]", "$.a.b", "$.a[0]", "$.", "$.a[99999999999]", "$" + ".x" * 200])
def test_a_piece_without_a_place_is_garbled(path: str) -> None:
    with pytest.raises(Fault) as caught:
        told(event(BEGUN) + event(going_on(piece("$.a", stringValue="x"), piece(path, numberValue=1))) + event(reason="STOP"))
    assert caught.value.kind == "upstream_garbled"
