"""Typed events, both ways: whatever the bytes are cut into, and whatever an upstream leaves out, the answer is the same."""

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.answer import (
    Began,
    CitationDelta,
    Delta,
    Ended,
    LogprobsDelta,
    MediaDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Used,
    fold,
    split,
)
from shoal.core.conversation import Citation, Conversation, File, Image, Message, Part, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire import sse
from shoal.wire.openai_responses import answers, reasoning
from shoal.wire.openai_responses.streams import Reader, Writer

ASKED = Conversation(model="gpt", messages=(Message("user", (Text("hi"),)),))
USAGE = Usage(input=10, output=7, cache_read=2, cache_write=0, reasoning=3)


def event(kind: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps({"type": kind, **members}).encode())


def response(status: str = "completed", **members: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "created_at": 17, "model": "gpt-x", "status": status, "output": [], **members}


def read(*pieces: bytes) -> list[Delta]:
    reader = Reader()
    return [delta for piece in pieces for delta in reader.feed(piece)] + reader.close()


def write(deltas: list[Delta], conversation: Conversation = ASKED) -> bytes:
    writer = Writer(conversation, response_id="resp_ab12", created=17)
    return b"".join(writer.feed([delta]) for delta in deltas) + writer.close("0.25", b'{"id":"req_1"}')


def events(body: bytes) -> list[dict[str, Any]]:
    splitter = sse.Splitter()
    found = [(piece, json.loads(sse.data_of(piece) or b"")) for piece in splitter.split(body)]
    assert splitter.rest == b""
    assert all(piece.startswith(f"event: {one['type']}\n".encode()) for piece, one in found)
    return [one for _, one in found]


SPOKEN = [
    event("response.created", response=response("in_progress")),
    event("response.in_progress", response=response("in_progress")),
    event(
        "response.output_item.added", output_index=0, item={"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "part"}
    ),
    event("response.reasoning_summary_part.added", output_index=0, summary_index=0, part={"type": "summary_text", "text": ""}),
    event("response.reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=0, delta="One"),
    event("response.reasoning_summary_text.delta", item_id="rs_1", output_index=0, summary_index=1, delta="Two"),
    event(
        "response.output_item.done",
        output_index=0,
        item={
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
            "encrypted_content": "gAAA",
        },
    ),
    event("response.output_item.added", output_index=1, item={"type": "message", "id": "msg_1", "role": "assistant", "content": []}),
    event("response.content_part.added", output_index=1, content_index=0, part={"type": "output_text", "text": "", "annotations": []}),
    event("response.output_text.delta", output_index=1, content_index=0, delta="Sée ", obfuscation="xyz", logprobs=[{"token": "S"}]),
    event("response.output_text.delta", output_index=1, content_index=0, delta="this", logprobs=[]),
    event(
        "response.output_text.annotation.added",
        output_index=1,
        content_index=0,
        annotation_index=0,
        annotation={"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 3},
    ),
    event("response.output_text.done", output_index=1, content_index=0, text="Sée this", logprobs=[]),
    event("response.content_part.added", output_index=1, content_index=1, part={"type": "refusal", "refusal": ""}),
    event("response.refusal.delta", output_index=1, content_index=1, delta="No."),
    event("response.web_search_call.searching", output_index=9, delta={"odd": 1}),
    event(
        "response.output_item.added",
        output_index=2,
        item={"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": ""},
    ),
    event("response.function_call_arguments.delta", output_index=2, delta='{"a":'),
    event("response.function_call_arguments.delta", output_index=2, delta="1}"),
    event("response.function_call_arguments.done", output_index=2, arguments='{"a":1}'),
    event("response.output_item.added", output_index=3, item={"type": "function_call", "call_id": "call_2", "name": "g", "arguments": ""}),
    event(
        "response.completed",
        response=response(
            output=[
                {"type": "reasoning", "id": "rs_1", "summary": [{"text": "One"}, {"text": "Two"}], "encrypted_content": "gAAA"},
                {
                    "type": "message",
                    "id": "msg_1",
                    "content": [
                        {"type": "output_text", "text": "Sée this", "annotations": [{"type": "url_citation", "url": "https://a.example"}]},
                        {"type": "refusal", "refusal": "No."},
                    ],
                },
                {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
                {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{}"},
                {"type": "web_search_call", "id": "ws_1", "content": 7},
            ],
            usage={
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 2},
                "output_tokens": 7,
                "output_tokens_details": {"reasoning_tokens": 3},
                "total_tokens": 17,
            },
        ),
    ),
]


def test_a_stream_is_read() -> None:
    answer = fold(read(*SPOKEN))
    assert (answer.id, answer.model, answer.created) == ("resp_1", "gpt-x", 17)
    assert answer.usage == Usage(input=10, output=7, cache_read=2, reasoning=3)
    (choice,) = answer.choices
    thought, text, refusal, first, second = choice.parts
    assert thought == Reasoning("One\n\nTwo", redacted="gAAA", origin="openai_responses", id="rs_1")
    assert isinstance(text, Text)
    assert (text.text, text.citations[0].url, len(text.citations)) == ("Sée this", "https://a.example", 1)
    assert (refusal, first, second) == (Refusal("No."), ToolCall("call_1", "f", '{"a":1}'), ToolCall("call_2", "g", "{}"))
    assert choice.finish == "tool_calls"
    assert json.loads(bytes(choice.logprobs or b"")) == {"refusal": None, "content": [{"token": "S"}]}


@given(st.lists(st.integers(0, len(b"".join(SPOKEN))), max_size=6), st.booleans())
def test_bytes_may_be_cut_anywhere(cuts: list[int], crlf: bool) -> None:
    body = b": keep-alive\n\n" + b"".join(SPOKEN) + b"data: [DONE]\n\n"
    body = body.replace(b"\n", b"\r\n") if crlf else body
    places = [0, *sorted(cuts), len(body)]
    pieces = [body[start:end] for start, end in pairwise(places)]
    assert fold(read(*pieces)) == fold(read(*SPOKEN))


@given(st.sets(st.sampled_from([i for i in range(2, len(SPOKEN) - 1) if b"refusal" not in SPOKEN[i]])))
def test_what_no_event_told_is_told_by_a_later_one(missing: set[int]) -> None:
    """A whole item, or the last event, makes good for any event that did not come; nothing is said twice."""
    answer = fold(read(*(piece for index, piece in enumerate(SPOKEN) if index not in missing)))
    said = {kind: "".join(part.text for part in answer.choices[0].parts if isinstance(part, kind)) for kind in (Text, Refusal)}
    calls = {(part.name, part.arguments) for part in answer.choices[0].parts if isinstance(part, ToolCall)}
    assert len(calls) == 2
    if not missing & {4, 5, 9, 10, 17, 18}:
        assert said == {Text: "Sée this", Refusal: "No."}
        assert calls == {("f", '{"a":1}'), ("g", "{}")}


def test_a_last_event_may_tell_everything() -> None:
    assert (
        fold(read(SPOKEN[-1])).choices[0].parts
        == answers.read(json.dumps(json.loads(sse.data_of(SPOKEN[-1]) or b"")["response"]).encode()).choices[0].parts
    )


@pytest.mark.parametrize(
    ("members", "finish"),
    [
        ({}, "stop"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "incomplete", "incomplete_details": None}, "length"),
    ],
)
def test_how_it_ended(members: dict[str, Any], finish: Any) -> None:
    kind = f"response.{members.get('status', 'completed')}"
    assert Ended(finish) in read(event(kind, response=response() | members))


@pytest.mark.parametrize(
    ("piece", "kind"),
    [
        (event("error", code="rate_limit_exceeded", message="x", param=None), "upstream_busy"),
        (event("error", code=None, message="x", param=None), "upstream_error"),
        (event("error", error={"type": "insufficient_quota", "code": "insufficient_quota", "message": "x"}), "upstream_busy"),
        (event("error", error={"type": "invalid_request_error", "code": None, "message": "x"}), "upstream_rejected"),
        (event("error", code="context_length_exceeded", message="x"), "context_length"),
        (b'data: {"error":{"message":"x","code":529}}\n\n', "upstream_error"),
        (event("response.failed", response=response("failed", error={"code": "server_error", "message": "x"})), "upstream_error"),
        (event("response.failed", response=response("failed", error={"code": "invalid_image_url", "message": "x"})), "upstream_rejected"),
        (event("response.failed", response=response("failed", error={"code": "new", "message": "x"})), "upstream_error"),
        (event("response.failed", response=response("failed", error=None)), "upstream_error"),
        (event("response.output_text.delta", delta=7), "upstream_garbled"),
        (event("response.completed"), "upstream_garbled"),
        (b"data: {\n\n", "upstream_garbled"),
    ],
)
def test_an_error_in_a_stream_is_an_error(piece: bytes, kind: str) -> None:
    reader = Reader()
    reader.feed(SPOKEN[0])
    with pytest.raises(Fault) as caught:
        reader.feed(piece)
    assert caught.value.kind == kind


def test_a_stream_may_begin_with_words_and_end_without_repeating_them() -> None:
    said = event("response.output_text.delta", output_index=0, content_index=0, delta="Hi")
    ended = event("response.completed", response={"id": "resp_1", "status": "completed", "output": None, "usage": None})
    assert read(said, ended) == [Began(), TextDelta("Hi"), Ended("stop")]


@pytest.mark.parametrize("count", range(len(SPOKEN)))
def test_a_stream_that_is_cut_is_not_whole(count: int) -> None:
    with pytest.raises(Fault) as caught:
        read(*SPOKEN[:count])
    assert caught.value.kind == "upstream_cut"


def test_a_last_blank_line_may_be_missing() -> None:
    assert fold(read(b"".join(SPOKEN).rstrip())) == fold(read(*SPOKEN))


def test_a_stream_is_written() -> None:
    said: list[Delta] = [
        Began("up_1", "gpt-y", 3),
        ReasoningDelta("Hm", origin="anthropic"),
        ReasoningDelta(signature="sig", origin="anthropic"),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallDelta(0, "call_1", "f"),
        ToolCallDelta(0, arguments='{"a":1}'),
        Ended("tool_calls"),
        Used(USAGE),
    ]
    found = events(write(said))
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    assert [one["type"].removeprefix("response.") for one in found] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    last = found[-1]["response"]
    assert [item["type"] for item in last["output"]] == ["reasoning", "message", "function_call"]
    assert [item["id"] for item in last["output"]] == ["rs_ab1200", "msg_ab1201", "fc_ab1202"]
    assert {one["item_id"] for one in found if "item_id" in one} == {item["id"] for item in last["output"]}
    assert last["output"][1]["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    assert (last["status"], last["model"], last["created_at"], last["id"]) == ("completed", "gpt-y", 17, "resp_ab12")
    assert list(last)[-1] == "shoal"
    assert list(last["usage"].items())[-1] == ("cost", 0.25)
    assert last["usage"]["output_tokens_details"] == {"reasoning_tokens": 3}
    assert "usage" in found[0]["response"] and found[0]["response"]["usage"] is None


def test_calls_streamed_at_once_keep_their_arguments() -> None:
    said: list[Delta] = [
        ToolCallDelta(0, "a", "f", '{"x"'),
        ToolCallDelta(1, "b", "g", "{"),
        ToolCallDelta(0, arguments=":1}"),
        ToolCallDelta(1, arguments="}"),
        ToolCallDelta(2, "c", "h"),
        Ended("tool_calls"),
    ]
    output = events(write(said))[-1]["response"]["output"]
    assert [(item["call_id"], item["arguments"], item["status"]) for item in output] == [
        ("a", '{"x":1}', "completed"),
        ("b", "{}", "completed"),
        ("c", "{}", "completed"),
    ]


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_ends_too_early_says_so(finish: Any, reason: str) -> None:
    last = events(write([TextDelta("Hel"), Ended(finish)]))[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["status"] == last["response"]["output"][0]["status"] == "incomplete"
    assert last["response"]["incomplete_details"] == {"reason": reason}
    assert last["response"]["usage"] is None


def test_an_end_that_nobody_told_of_is_an_end() -> None:
    assert events(write([TextDelta("Hello")]))[-1]["response"]["output"][0]["status"] == "completed"
    assert events(write([]))[-1]["response"]["output"] == []


def test_chances_of_tokens_go_with_their_text() -> None:
    told = msgspec.Raw(b'{"content":[{"token":"a","logprob":-1,"bytes":null,"top_logprobs":[{"token":"b","logprob":-2}]}],"refusal":null}')
    wanted = {"token": "a", "logprob": -1, "bytes": [], "top_logprobs": [{"token": "b", "logprob": -2, "bytes": []}]}
    writer = Writer(ASKED, response_id="resp_1", created=1)
    found = events(
        writer.feed([TextDelta("a"), LogprobsDelta(told), TextDelta("b")]) + writer.feed([LogprobsDelta(told)]) + writer.close(None, b"{}")
    )
    assert [one["logprobs"] for one in found if one["type"] == "response.output_text.delta"] == [[wanted], []]
    assert found[-1]["response"]["output"][0]["content"][0]["logprobs"] == [wanted, wanted]


def test_sources_and_pictures() -> None:
    said: list[Delta] = [
        TextDelta("As A says"),
        CitationDelta(Citation(url="https://a.example", title="A", start=3, end=4)),
        CitationDelta(Citation(title="Report", cited="so it is")),
        MediaDelta(Image(data="AAAA", media_type="image/png")),
        MediaDelta(File(text="more")),
    ]
    found = events(write(said))
    first, picture, second = found[-1]["response"]["output"]
    assert first["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 3, "end_index": 4},
        {"type": "file_citation", "file_id": "", "filename": "Report", "index": 0, "cited_text": "so it is"},
    ]
    assert [one["annotation_index"] for one in found if one["type"] == "response.output_text.annotation.added"] == [0, 1]
    assert (picture["type"], picture["result"], second["content"][0]["text"]) == ("image_generation_call", "AAAA", "more")
    with pytest.raises(Fault, match="file"):
        write([MediaDelta(File(data="AAAA", media_type="audio/wav"))])


def test_proofs_of_thought_are_sealed_for_whoever_signed_them() -> None:
    said: list[Delta] = [
        ReasoningDelta("own", redacted="gAAA", origin="openai_responses", id="rs_up"),
        ReasoningDelta("hers", signature="sig", origin="anthropic", block=1),
        ToolCallDelta(0, "call_1", "f", "{}", signature="gem"),
    ]
    output = events(write(said))[-1]["response"]["output"]
    own, hers, proof, call = output
    assert (own["id"], own["encrypted_content"]) == ("rs_up", "gAAA")
    raws = [msgspec.Raw(json.dumps(item).encode()) for item in output]
    assert reasoning.read(raws[1], "x") == Reasoning("hers", "sig", None, "anthropic", None)
    assert reasoning.read(raws[2], "x") == reasoning.CallProof("call_1", "gem")
    assert reasoning.is_sealed(hers["encrypted_content"]) and reasoning.is_sealed(proof["encrypted_content"])
    assert call["call_id"] == "call_1"


words = st.text(min_size=1, max_size=20)
PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, words),
    st.builds(Refusal, words),
    st.builds(ToolCall, words, words, st.dictionaries(words, words).map(json.dumps)),
    st.builds(Reasoning, words, redacted=st.just("gAAA"), origin=st.just("openai_responses")),
)


def cut(delta: Delta) -> Iterator[Delta]:
    match delta:
        case TextDelta(text=text) | RefusalDelta(text=text):
            yield from (type(delta)(one) for one in text)
        case ToolCallDelta():
            yield ToolCallDelta(delta.index, delta.id, delta.name)
            yield from (ToolCallDelta(delta.index, arguments=one) for one in delta.arguments)
        case _:
            yield delta


@given(st.lists(PARTS, max_size=6), st.booleans())
def test_what_is_written_is_read_again(parts: list[Part], streamed: bool) -> None:
    """Deltas to bytes to deltas is the same answer, whole or streamed."""
    answer = fold([*(delta for part in parts for delta in split_part(part, parts)), Ended("tool_calls"), Used(USAGE)])
    calls = any(isinstance(part, ToolCall) for part in parts)
    if streamed:
        again = fold(read(write([piece for delta in split(answer) for piece in cut(delta)])))
    else:
        again = answers.read(answers.write(answer, None, b"{}", conversation=ASKED, response_id="resp_ab12", created=17))
    wanted = answer.choices[0].parts
    found = again.choices[0].parts
    assert [msgspec.structs.replace(p, id=None) if isinstance(p, Reasoning) else p for p in found] == list(wanted)
    assert again.usage == USAGE
    assert again.choices[0].finish == ("tool_calls" if calls else "stop")


def split_part(part: Part, parts: list[Part]) -> Iterator[Delta]:
    """One part's deltas, with numbers of its own."""
    number = next(index for index, one in enumerate(parts) if one is part)
    match part:
        case Text(text=text):
            yield TextDelta(text)
        case Refusal(text=text):
            yield RefusalDelta(text)
        case ToolCall():
            yield ToolCallDelta(number, part.id, part.name, part.arguments)
        case Reasoning():
            yield ReasoningDelta(part.text, redacted=part.redacted, origin=part.origin, block=number)
