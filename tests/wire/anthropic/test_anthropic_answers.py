"""Whole answers of the Messages API, read from an upstream and written for a caller."""

import json
from typing import Any

import msgspec
import pytest

from shoal.core.answer import Answer, Choice, fold, split
from shoal.core.conversation import Citation, Conversation, Image, Message, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.anthropic.answers import read, write
from shoal.wire.anthropic.requests import read as read_request

ASKED = Conversation(model="m", messages=(Message("user", (Text("hi"),)),))
USAGE = {"input_tokens": 10, "output_tokens": 5}
WEB = {"type": "web_search_result_location", "url": "https://e.org", "title": "T", "cited_text": "c", "encrypted_index": "E"}
PAGE = {
    "type": "page_location",
    "document_title": "D",
    "cited_text": "p",
    "document_index": 0,
    "start_page_number": 1,
    "end_page_number": 2,
}


def message(*content: Any, stop: str | None = "end_turn", **more: Any) -> bytes:
    """An answer as the upstream sends it."""
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": content, "stop_reason": stop}
    return json.dumps({**whole, "stop_sequence": None, "usage": USAGE, **more}).encode()


def parts(*content: Any) -> tuple[Any, ...]:
    """What those blocks become."""
    return read(message(*content), ASKED).choices[0].parts


def shown(*content: Any, **more: Any) -> dict[str, Any]:
    """An answer as a caller reads it."""
    decoded: dict[str, Any] = json.loads(write(Answer(choices=(Choice(content, **more),)), None, b"null"))
    return decoded


def test_every_block() -> None:
    cited = {"type": "text", "text": "abc", "citations": [WEB, PAGE]}
    content = [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "12345", "citations": None},
        cited,
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srv", "content": [{"type": "web_search_result", "url": "u"}]},
        {"type": "never_seen", "text": {"not": "text"}} | {"text": None},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1]}},
        {"type": "tool_use", "id": "d", "name": "g"},
    ]
    seen = parts(*content)
    assert seen[:3] == (Reasoning("t", signature="s", origin="anthropic"), Reasoning(redacted="r", origin="anthropic"), Text("12345"))
    web, page = seen[3].citations
    assert (web.url, web.title, web.cited, web.start, web.end) == ("https://e.org", "T", "c", 5, 8)
    assert (page.url, page.title, page.cited) == (None, "D", "p")
    assert seen[4:] == (ToolCall("c", "f", '{"a": [1]}'), ToolCall("d", "g", "{}"))
    assert shown(seen[3])["content"] == [cited]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "stop"),
        ("refusal", "content_filter"),
        ("never_seen", "stop"),
        (None, None),
    ],
)
def test_why_it_stopped(reason: str | None, finish: str | None) -> None:
    assert read(message(stop=reason), ASKED).choices[0].finish == finish


def test_an_answer_with_calls_stops_for_them() -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    assert read(message(call, stop="end_turn"), ASKED).choices[0].finish == "tool_calls"
    assert read(message(call, stop="tool_use"), ASKED).choices[0].finish == "tool_calls"
    assert read(message(call, stop="max_tokens"), ASKED).choices[0].finish == "length"


def test_a_summary_on_the_way_is_counted_too() -> None:
    iterations = [
        {"type": "compaction", "input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 0},
        {"type": "message", "input_tokens": 7, "output_tokens": 3},
        {"type": "advisor_message", "input_tokens": 50, "output_tokens": 40},
    ]
    used = {"input_tokens": 7, "output_tokens": 3, "iterations": iterations}
    assert read(message(usage=used), ASKED).usage == Usage(112, 23, 5, 0)
    assert read(message(usage=used | {"iterations": None}), ASKED).usage == Usage(7, 3)


def test_a_refusal_says_why() -> None:
    answer = read(message(stop="refusal", stop_details={"type": "refusal", "category": "bio", "explanation": "no"}), ASKED)
    assert answer.choices[0] == Choice((Refusal("no"),), "content_filter")
    assert read(message(stop="refusal", stop_details=None), ASKED).choices[0].parts == ()


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, Usage(10, 5)),
        (
            {
                "input_tokens": 1,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 300,
                "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
                "output_tokens": 5,
                "output_tokens_details": {"thinking_tokens": 4},
                "server_tool_use": {"web_search_requests": 1},
            },
            Usage(321, 5, 20, 300, 4, cache_write_1h=200, web_searches=1),
        ),
        ({"input_tokens": None, "output_tokens": 5, "cache_read_input_tokens": None}, Usage(None, 5)),
        ({"input_tokens": "many"}, Usage()),
        (None, Usage()),
    ],
)
def test_usage_is_read(usage: Any, expected: Usage) -> None:
    assert read(message(usage=usage), ASKED).usage == expected


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"content": "x"}', b'{"content": [{"type": "text", "citations": 3}]}', b"\xff"]
)
def test_what_is_no_message_is_garbled(body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        read(body, ASKED)
    assert caught.value.kind == "upstream_garbled"


def test_an_error_in_a_success_is_one() -> None:
    with pytest.raises(Fault) as caught:
        read(b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}', ASKED)
    assert (caught.value.kind, caught.value.upstream_status) == ("upstream_error", 529)


def test_a_whole_answer_is_the_fold_of_its_parts() -> None:
    answer = read(message({"type": "text", "text": "a"}, {"type": "tool_use", "id": "c", "name": "f", "input": {}}), ASKED)
    assert fold(split(answer)) == answer


def test_cost_and_receipt_stand_at_the_ends() -> None:
    used = Usage(321, 5, 20, 300, 4, cache_write_1h=200)
    out = write(Answer(id="i", model="n", choices=(Choice((Text("a"),)),), usage=used), "0.0012", b'{"id":"r"}')
    assert out.endswith(b',"cost":0.0012},"shoal":{"id":"r"}}')
    seen = json.loads(out)
    assert (seen["id"], seen["type"], seen["role"], seen["model"]) == ("i", "message", "assistant", "n")
    assert seen["usage"] == {
        "input_tokens": 1,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 20,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 4},
        "cost": 0.0012,
    }
    assert read(out, ASKED).usage == used
    assert json.loads(write(Answer(), None, b"null"))["usage"]["cost"] is None


def test_why_it_stopped_is_told() -> None:
    assert shown(Text("a"), finish="stop")["stop_reason"] == "end_turn"
    assert shown(Text("a"), finish="length")["stop_reason"] == "max_tokens"
    assert shown(ToolCall("c", "f"), finish="tool_calls")["stop_reason"] == "tool_use"
    assert shown(finish="content_filter")["stop_reason"] == "refusal"
    assert shown(Refusal("no"), finish="stop")["stop_reason"] == "refusal"
    assert shown(Text("a"), finish=None)["stop_reason"] == "end_turn"
    stopped = shown(Text("a"), finish="stop", stop_sequence="x")
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", "x")


def test_parts_of_others_are_told_too() -> None:
    citation = Citation("https://e.org", "T", raw=msgspec.Raw(b'{"type":"url_citation"}'))
    blocks = shown(
        Text("a", citations=(citation,)), Refusal("no"), Image(data="QQ==", media_type="image/png"), ToolCall("c", "f", "{oops")
    )["content"]
    assert blocks == [
        {"type": "text", "text": "a", "citations": [{**WEB, "cited_text": "", "encrypted_index": ""}]},
        {"type": "text", "text": "no"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"INVALID_JSON": "{oops"}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Reasoning("t", signature="s", origin="anthropic"),
        Reasoning(redacted="r", origin="anthropic"),
        Reasoning("t", signature="s=", origin="gemini"),
        Reasoning("t", redacted="r:r", origin="openai_responses", id="rs:1"),
        Reasoning("nobody's"),
        ToolCall("functions.f:0", "f", '{"a": 1}', signature="proof"),
    ],
)
def test_proofs_of_everybody_survive_a_caller_who_sends_them_back(part: Any) -> None:
    content = shown(part)["content"]
    back = {"model": "m", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": content}]}
    assert read_request(json.dumps(back).encode()).messages[1].parts == (part,)
