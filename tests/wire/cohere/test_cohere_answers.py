"""Cohere's answers, whole and streamed, and its errors."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.answer import Began, Delta, TextDelta, fold
from shoal.core.conversation import Citation, Conversation, Reasoning, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.cohere.dialect import UPSTREAM

CONVERSATION = Conversation(model="m", messages=())
USAGE = {
    "billed_units": {"input_tokens": 35.0, "output_tokens": 22.0},
    "tokens": {"input_tokens": 1453, "output_tokens": 33},
    "cached_tokens": 1424,
}
CITED = {
    "start": 0, "end": 2, "text": "so", "content_index": 0, "type": "TEXT_CONTENT",
    "sources": [
        {"type": "document", "id": "d1", "document": {"id": "d1", "title": "T", "snippet": "says so", "url": "https://a.example/"}},
        {"type": "tool", "id": "f:0", "tool_output": {"content": "5"}},
    ],
}  # fmt: skip


def body(message: Any, reason: str | None = "COMPLETE", **more: Any) -> bytes:
    return json.dumps({"id": "i", "finish_reason": reason, "message": {"role": "assistant"} | message} | more).encode()


def test_a_whole_answer_with_a_plan() -> None:
    calls = [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}, {"id": "t2", "function": {"name": "g"}}]
    answer = UPSTREAM.answer(body({"tool_plan": "I will.", "tool_calls": calls}, "TOOL_CALL", usage=USAGE), CONVERSATION)
    assert (answer.id, answer.choices[0].finish) == ("i", "tool_calls")
    assert answer.choices[0].parts == (
        Reasoning("I will.", origin="cohere", id="tool_plan"),
        ToolCall("t1", "f", '{"a":1}'),
        ToolCall("t2", "g", "{}"),
    )
    assert answer.usage == Usage(input=1453, output=33, cache_read=1424, billed_input=35, billed_output=22)


def test_thought_words_and_their_sources() -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}, {"type": "text", "text": "on"}]
    cited = [CITED | {"content_index": 2}, CITED | {"content_index": None, "sources": None}, CITED | {"type": "PLAN", "content_index": 1}]
    thought, first, second = UPSTREAM.answer(body({"content": content, "citations": cited}), CONVERSATION).choices[0].parts
    assert thought == Reasoning("hm", origin="cohere")
    assert isinstance(first, Text)
    assert [(one.title, one.start, one.end) for one in first.citations] == [(None, 0, 2)]
    assert isinstance(second, Text)
    assert [(one.url, one.title, one.cited) for one in second.citations] == [("https://a.example/", "T", "says so"), (None, "f:0", "5")]
    assert json.loads(bytes(second.citations[0].raw or b""))["sources"] == CITED["sources"]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("ERROR_TOXIC", "content_filter"),
        ("ERROR_LIMIT", "length"),
        ("OF_A_LATER_DAY", "stop"),
        (None, None),
    ],
)
def test_why_it_ended(reason: str | None, finish: str | None) -> None:
    assert UPSTREAM.answer(body({"content": [{"type": "text", "text": "x"}]}, reason), CONVERSATION).choices[0].finish == finish


@pytest.mark.parametrize(("reason", "kind"), [("ERROR", "upstream_error"), ("TIMEOUT", "upstream_timeout")])
def test_an_answer_that_broke_off_is_none(reason: str, kind: str) -> None:
    with pytest.raises(Fault) as caught:
        UPSTREAM.answer(body({"content": [{"type": "text", "text": "x"}]}, reason), CONVERSATION)
    assert caught.value.kind == kind
    with pytest.raises(Fault) as caught:
        read(event("message-start", id="i"), event("message-end", delta={"finish_reason": reason}))
    assert caught.value.kind == kind


def test_what_is_not_reported_is_unknown() -> None:
    assert UPSTREAM.answer(body({"content": None}), CONVERSATION).usage == Usage()
    only_billed = UPSTREAM.answer(body({}, usage={"billed_units": {"input_tokens": 3}}), CONVERSATION).usage
    assert only_billed == Usage(input=3, billed_input=3)


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b'{"message":{"content":[5]}}', b"\xff", body({"citations": [5]})])
def test_what_is_no_answer_is_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        UPSTREAM.answer(bad, CONVERSATION)
    assert caught.value.kind == "upstream_garbled"


def event(type: str, **members: Any) -> bytes:
    return f"event: {type}\ndata: {json.dumps({'type': type} | members)}\n\n".encode()


def message(type: str, index: int = 0, **members: Any) -> bytes:
    return event(type, index=index, delta={"message": members})


def words(text: str, index: int = 0) -> bytes:
    return message("content-delta", index, content={"text": text})


def read(*events: bytes) -> list[Delta]:
    reader = UPSTREAM.stream(CONVERSATION)
    return [*reader.feed(b"".join(events)), *reader.close()]


START = event(
    "message-start", id="i", delta={"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
)
END = event("message-end", id="i", delta={"finish_reason": "COMPLETE", "usage": USAGE})
STREAM = b"".join(
    (
        START,
        message("tool-plan-delta", tool_plan="I "),
        message("tool-plan-delta", tool_plan="will."),
        b": keep-alive\n\n",
        message("content-start", 0, content={"type": "thinking", "thinking": ""}),
        message("content-delta", 0, content={"thinking": "hm"}),
        event("content-end", index=0),
        message("content-start", 1, content={"type": "text", "text": "S"}),
        words("ö ", 1).replace(b"\n", b"\r\n"),
        words("on", 1),
        message("citation-start", citations=CITED),
        event("citation-end", index=0),
        event("content-end", index=1),
        message("tool-call-start", 0, tool_calls={"id": "t1", "type": "function", "function": {"name": "f", "arguments": ""}}),
        message("tool-call-delta", 0, tool_calls={"function": {"arguments": '{"a":'}}),
        message("tool-call-delta", 0, tool_calls={"function": {"arguments": "1}"}}),
        event("tool-call-end", index=0),
        message("tool-call-start", 1, tool_calls={"id": "t2", "function": {"name": "g"}}),
        event("tool-call-end", index=1),
        event("debug", prompt="..."),
        event("message-end", id="i", delta={"finish_reason": "TOOL_CALL", "usage": USAGE}),
    )
)


def test_a_stream_of_everything() -> None:
    deltas = read(STREAM)
    assert deltas[0] == Began("i", "m")
    answer = fold(deltas)
    plan, thought, text, *calls = answer.choices[0].parts
    assert (plan, thought) == (Reasoning("I will.", origin="cohere", id="tool_plan"), Reasoning("hm", origin="cohere"))
    assert isinstance(text, Text)
    assert (text.text, len(text.citations)) == ("Sö on", 2)
    assert isinstance(text.citations[0], Citation)
    assert calls == [ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "g", "{}")]
    assert answer.choices[0].finish == "tool_calls"
    assert answer.usage == Usage(input=1453, output=33, cache_read=1424, billed_input=35, billed_output=22)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_cut_gives_the_same_deltas(cuts: list[int]) -> None:
    reader, deltas = UPSTREAM.stream(CONVERSATION), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(STREAM)], strict=True):
        deltas += reader.feed(STREAM[start:end])
    assert [*deltas, *reader.close()] == read(STREAM)


@given(st.integers(0, STREAM.rindex(b"data:") + 6))
def test_a_stream_cut_before_its_end_is_no_answer(length: int) -> None:
    reader = UPSTREAM.stream(CONVERSATION)
    reader.feed(STREAM[:length])
    with pytest.raises(Fault) as caught:
        reader.close()
    assert caught.value.kind in ("upstream_cut", "upstream_garbled")


def test_the_last_blank_line_may_be_missing() -> None:
    assert fold(read(START, words("x"), END.rstrip(b"\n"))).choices[0].finish == "stop"


def test_a_call_that_never_ends_has_arguments_all_the_same() -> None:
    deltas = read(START, message("tool-call-start", 3, tool_calls=[{"id": "t", "function": {"name": "f"}}]), END, b"data: [DONE]\n\n")
    assert fold(deltas).choices[0].parts == (ToolCall("t", "f", "{}"),)
    assert fold(deltas).choices[0].finish == "tool_calls"


def test_citations_may_be_a_list_or_none() -> None:
    deltas = read(START, words("so"), message("citation-start", citations=[CITED, CITED]), message("citation-start", citations=None), END)
    (part,) = fold(deltas).choices[0].parts
    assert isinstance(part, Text)
    assert len(part.citations) == 4


def test_what_was_said_before_an_error_is_given_first() -> None:
    reader = UPSTREAM.stream(CONVERSATION)
    deltas = reader.feed(START + words("x") + event("message-end", delta={"error": "boom", "finish_reason": "COMPLETE"}))
    assert deltas[-1] == TextDelta("x")
    with pytest.raises(Fault) as caught:
        reader.close()
    assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize("bad", [b"data: [\n\n", b"data: 5\n\n", event("content-delta", index="x")])
def test_what_cannot_be_read_is_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        read(bad)
    assert caught.value.kind == "upstream_garbled"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "upstream_rejected"),
        (401, "upstream_auth"),
        (402, "upstream_auth"),
        (403, "upstream_auth"),
        (404, "upstream_not_found"),
        (422, "upstream_rejected"),
        (429, "upstream_busy"),
        (498, "upstream_rejected"),
        (499, "upstream_error"),
        (500, "upstream_error"),
        (503, "upstream_error"),
    ],
)
def test_errors_by_status(status: int, kind: str) -> None:
    fault = UPSTREAM.fault(status, {}, b'{"id":"x","message":"invalid request: no"}')
    assert fault.kind == kind
    if kind == "upstream_rejected":
        assert (fault.status, fault.message) == (status, "invalid request: no")
