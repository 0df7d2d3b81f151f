"""Streamed answers of the Messages API: read at any cut of the bytes, and written as events that a caller can follow."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.answer import (
    Answer,
    Began,
    Choice,
    CitationDelta,
    Delta,
    Ended,
    MediaDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Used,
    fold,
    split,
)
from shoal.core.conversation import Citation, Conversation, Image, Message, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.anthropic import answers
from shoal.wire.anthropic.streams import Reader
from shoal.wire.anthropic.writing import Writer

ASKED = Conversation(model="m", messages=(Message("user", (Text("hi"),)),))
WEB = {"type": "web_search_result_location", "url": "https://e.org", "title": "T", "cited_text": "c", "encrypted_index": "E"}


def event(type: str, end: str = "\n\n", **members: Any) -> bytes:
    """One event of a stream."""
    return f"event: {type}{end[: len(end) // 2]}data: {json.dumps({'type': type, **members})}{end}".encode()


def start(index: int, **block: Any) -> bytes:
    """A block begins."""
    return event("content_block_start", index=index, content_block=block)


def piece(index: int, **delta: Any) -> bytes:
    """More of a block."""
    return event("content_block_delta", index=index, delta=delta)


def stop(index: int) -> bytes:
    """A block ends."""
    return event("content_block_stop", index=index)


BEGIN = event(
    "message_start",
    message={"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}},
)
END = event("message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 9}) + event("message_stop")
STREAM = b"".join(
    (
        BEGIN,
        event("ping", end="\r\n\r\n"),
        b": a comment\n\n",
        start(0, type="thinking", thinking="", signature=""),
        piece(0, type="thinking_delta", thinking="hm"),
        piece(0, type="thinking_delta", thinking="m"),
        piece(0, type="signature_delta", signature="s"),
        stop(0),
        start(1, type="redacted_thinking", data="r"),
        stop(1),
        start(2, type="text", text=""),
        piece(2, type="text_delta", text="grün"),
        piece(2, type="citations_delta", citation=WEB),
        piece(2, type="text_delta", text="!"),
        stop(2),
        start(3, type="server_tool_use", id="srv", name="web_search", input={}),
        piece(3, type="input_json_delta", partial_json='{"query": 1}'),
        stop(3),
        start(4, type="web_search_tool_result", tool_use_id="srv", content=[]),
        stop(4),
        start(5, type="tool_use", id="c", name="f", input={}),
        piece(5, type="input_json_delta", partial_json=""),
        piece(5, type="input_json_delta", partial_json='{"a"'),
        piece(5, type="input_json_delta", partial_json=": 1}"),
        stop(5),
        start(6, type="tool_use", id="d", name="g", input={}),
        stop(6),
        start(7, type="tool_use", id="e", name="h", input={"whole": True}),
        stop(7),
        event("never_seen", index=0),
        piece(5, type="never_seen"),
        END,
    )
)


def heard(data: bytes, *cuts: int) -> list[Delta]:
    """What a reader makes of these bytes, cut at these places."""
    reader, out, at = Reader(), [], 0
    for cut in sorted(cuts):
        out += reader.feed(data[at:cut])
        at = cut
    return [*out, *reader.feed(data[at:]), *reader.close()]


WHOLE = heard(STREAM)


def test_every_event() -> None:
    answer = fold(WHOLE)
    choice = answer.choices[0]
    assert (answer.id, answer.model, choice.finish) == ("msg_1", "claude-x", "tool_calls")
    assert answer.usage == Usage(10, 9, 3)
    thought, redacted, text, *calls = choice.parts
    assert thought == Reasoning("hmm", signature="s", origin="anthropic")
    assert redacted == Reasoning(redacted="r", origin="anthropic")
    assert isinstance(text, Text)
    assert (text.text, [(one.url, one.start, one.end) for one in text.citations]) == ("grün!", [("https://e.org", 0, 5)])
    assert calls == [ToolCall("c", "f", '{"a": 1}'), ToolCall("d", "g", "{}"), ToolCall("e", "h", '{"whole": true}')]
    assert isinstance(WHOLE[0], Began)


def test_an_answer_that_was_made_in_advance() -> None:
    content = [{"type": "text", "text": "so"}, {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}]
    first = event("message_start", message={"id": "msg_1", "model": "claude-x", "content": content, "stop_reason": "tool_use"})
    answer = fold(heard(first + event("message_stop")))
    assert answer.choices[0] == Choice((Text("so"), ToolCall("c", "f", '{"a": 1}')), "tool_calls")
    more = start(2, type="text", text="!") + stop(2)
    assert fold(heard(first + more + END)).choices[0].parts == (*answer.choices[0].parts, Text("!"))


def test_two_answers_in_a_stream() -> None:
    block = start(0, type="text", text="so") + stop(0)
    other = BEGIN.replace(b"msg_1", b"msg_2")
    assert fold(heard(BEGIN + BEGIN + block + END)).choices[0].parts == (Text("so"),)
    assert fold(heard(BEGIN + block + END + other + block + END)).choices[0].parts == (Text("so"),)
    with pytest.raises(Fault) as caught:
        heard(BEGIN + block + other + block + END)
    assert caught.value.kind == "upstream_garbled"


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_the_bytes_may_be_cut_anywhere(cuts: list[int]) -> None:
    assert heard(STREAM, *cuts) == WHOLE


def test_bytes_one_by_one_and_other_line_ends() -> None:
    assert heard(STREAM, *range(len(STREAM))) == WHOLE
    assert heard(STREAM.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")) == WHOLE
    assert heard(STREAM.rstrip()) == WHOLE


def test_a_stream_says_what_the_whole_answer_says() -> None:
    content = [
        {"type": "thinking", "thinking": "hmm", "signature": "s"},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "grün!", "citations": [WEB]},
        {"type": "tool_use", "id": "d", "name": "g", "input": {}},
    ]
    body = {
        "id": "msg_1",
        "model": "claude-x",
        "content": content,
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 7, "output_tokens": 9},
    }
    whole = answers.read(json.dumps(body).encode(), ASKED)
    told = (
        BEGIN.replace(b'"cache_read_input_tokens": 3, ', b"") + STREAM[STREAM.index(start(0, type="thinking", thinking="", signature="")) :]
    )
    streamed = fold(heard(told.replace(start(5, type="tool_use", id="c", name="f", input={}), start(5, type="else"))))
    assert streamed.choices[0].parts[:3] == whole.choices[0].parts[:3]
    assert streamed.usage == whole.usage


def test_a_refusal_says_why() -> None:
    end = event(
        "message_delta",
        delta={"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "no"}},
        usage={"output_tokens": 1},
    )
    answer = fold(heard(BEGIN + end))
    assert answer.choices[0].parts == (Refusal("no"),)
    assert answer.choices[0].finish == "content_filter"


def test_what_imitators_leave_out() -> None:
    told = start(0, type="text", text="a") + event("message_stop") + b"data: [DONE]\n\n"
    assert fold(heard(told)).choices[0].parts == (Text("a"),)
    stopped = event("message_delta", delta={"stop_reason": "stop_sequence", "stop_sequence": "x"})
    assert fold(heard(BEGIN + stopped)).choices[0].stop_sequence == "x"


@pytest.mark.parametrize(
    ("type", "kind", "status"),
    [
        ("overloaded_error", "upstream_error", 529),
        ("rate_limit_error", "upstream_busy", 429),
        ("api_error", "upstream_error", 500),
        ("invalid_request_error", "upstream_rejected", 400),
        ("authentication_error", "upstream_auth", 401),
        ("timeout_error", "upstream_timeout", 504),
        ("never_seen", "upstream_error", 500),
    ],
)
def test_an_error_event_is_its_kind(type: str, kind: str, status: int) -> None:
    reader = Reader()
    reader.feed(BEGIN)
    with pytest.raises(Fault) as caught:
        reader.feed(event("error", error={"type": type, "message": "x"}))
    assert (caught.value.kind, caught.value.upstream_status) == (kind, status)


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b'data: {"type": 3}\n\n', b'data: {"type": "\xff"}\n\n'])
def test_what_is_no_event_is_garbled(data: bytes) -> None:
    with pytest.raises(Fault) as caught:
        Reader().feed(data)
    assert caught.value.kind == "upstream_garbled"


@given(st.integers(0, STREAM.index(b"event: message_delta")))
def test_a_stream_that_ends_early_was_cut(length: int) -> None:
    reader = Reader()
    with pytest.raises(Fault) as caught:
        reader.feed(STREAM[:length])
        reader.close()
    assert caught.value.kind in ("upstream_cut", "upstream_garbled")


def told(*deltas: Delta, each: bool = True, cost: str | None = "0.5") -> list[dict[str, Any]]:
    """The events that a writer makes of these deltas, checked for their order."""
    writer = Writer(ASKED)
    out = b"".join(writer.feed([delta]) for delta in deltas) if each else writer.feed(deltas)
    out += writer.close(cost, b'{"id":"r"}')
    events = []
    for raw in out.decode().removesuffix("\n\n").split("\n\n"):
        name, data = raw.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    check_order(events)
    return events


def check_order(events: list[dict[str, Any]]) -> None:
    """Blocks are numbered from 0, and one ends before the next begins."""
    assert [one["type"] for one in (events[0], *events[-2:])] == ["message_start", "message_delta", "message_stop"]
    opened, index = False, -1
    for one in events[1:-2]:
        match one["type"]:
            case "content_block_start":
                assert not opened
                opened, index = True, index + 1
            case "content_block_stop":
                assert opened
                opened = False
            case _:
                assert opened
                assert one["type"] == "content_block_delta"
        assert one["index"] == index
    assert not opened


def again(events: list[dict[str, Any]]) -> Answer:
    """The answer that those events tell a reader."""
    return fold(heard(b"".join(event(one.pop("type"), **one) for one in events)))


def test_a_stream_is_written_as_it_was_read() -> None:
    assert again(told(*WHOLE)) == fold(WHOLE)
    assert again(told(*WHOLE, each=False)) == fold(WHOLE)


def test_the_beginning_tells_what_is_known_and_the_end_the_rest() -> None:
    events = told(Began("i", "n"), TextDelta("a"), Ended("stop"), Used(Usage(10, 2, 4)))
    assert events[0]["message"]["usage"]["input_tokens"] == 0
    assert (events[0]["message"]["id"], events[0]["message"]["model"], events[0]["message"]["content"]) == ("i", "n", [])
    assert events[-2]["usage"] == {
        "input_tokens": 6,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": 4,
        "output_tokens": 2,
        "cost": 0.5,
    }
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2]["shoal"] == {"id": "r"}
    early = told(Began("i", "n"), Used(Usage(10, 1)), TextDelta("a"), Ended("stop"), each=False, cost=None)
    assert early[0]["message"]["usage"]["input_tokens"] == 10
    assert early[-2]["usage"]["cost"] is None


def test_a_stream_of_nothing_is_still_one() -> None:
    assert [one["type"] for one in told()] == ["message_start", "message_delta", "message_stop"]


def test_calls_that_overlap_are_told_one_after_another() -> None:
    events = told(
        Began(),
        ToolCallDelta(0, "a", "f", '{"x":'),
        ToolCallDelta(1, "b", "g"),
        ToolCallDelta(1, arguments="{"),
        ToolCallDelta(0, arguments="1}"),
        ToolCallDelta(2, "c", "h"),
        ToolCallDelta(1, arguments="}"),
        Ended("tool_calls"),
        Used(Usage(1, 1)),
    )
    assert again(events).choices[0].parts == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}"), ToolCall("c", "h", "{}"))


@given(st.permutations([0, 0, 0, 1, 1, 1, 2, 2, 2]))
def test_calls_may_come_in_any_order(order: list[int]) -> None:
    pieces = {
        index: iter(
            (ToolCallDelta(index, f"c{index}", "f", "{"), ToolCallDelta(index, arguments='"a":'), ToolCallDelta(index, arguments="1}"))
        )
        for index in range(3)
    }
    deltas = [next(pieces[index]) for index in order]
    expected = {ToolCall(f"c{index}", "f", '{"a":1}') for index in range(3)}
    assert set(again(told(Began(), *deltas, Ended("tool_calls"), Used(Usage(1, 1)))).choices[0].parts) == expected


def test_other_parts_and_other_choices() -> None:
    events = told(
        Began(),
        CitationDelta(Citation("https://e.org")),
        TextDelta("a"),
        TextDelta("unheard", choice=1),
        RefusalDelta("no"),
        MediaDelta(Image(data="QQ==", media_type="image/png")),
        ReasoningDelta("t", signature="g", origin="gemini"),
        ReasoningDelta("u", block=1),
        Ended("stop"),
        Ended("length", choice=1),
    )
    blocks = [one["content_block"]["type"] for one in events if one["type"] == "content_block_start"]
    assert blocks == ["text", "text", "image", "thinking", "thinking"]
    assert events[-2]["delta"]["stop_reason"] == "refusal"
    signatures = [one["delta"]["signature"] for one in events if one.get("delta", {}).get("type") == "signature_delta"]
    assert signatures == ["shoal:gemini:s::g"]


_PARTS = st.lists(
    st.one_of(
        st.builds(Text, st.text(min_size=1)),
        st.builds(
            lambda text, signature: Reasoning(text, signature=signature, origin="anthropic"), st.text(min_size=1), st.text(min_size=1)
        ),
        st.builds(lambda data: Reasoning(redacted=data, origin="anthropic"), st.text(min_size=1)),
        st.builds(lambda id, key: ToolCall(id, "f", json.dumps({key: 1})), st.text(min_size=1), st.text()),
    ),
    max_size=6,
)


@given(_PARTS)
def test_whatever_is_written_is_read_again(parts: list[Any]) -> None:
    whole = Answer(id="i", model="n", usage=Usage(2, 1))
    deltas = [delta for delta in split(whole) if not isinstance(delta, Used)]
    deltas += [delta for delta in split(Answer(choices=(Choice(tuple(parts), "length"),))) if not isinstance(delta, Began | Used)]
    assert again(told(*deltas, Used(whole.usage))) == fold([*deltas, Used(whole.usage)])
