"""Whole answers: an upstream's read whatever it is made of, a caller's as the official client checks it."""

import json
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from shoal.core.answer import Answer, Choice
from shoal.core.conversation import Citation, Image, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.openai_chat.answers import read, write

RECEIPT = b'{"id":"req_1"}'


def answer_of(message: dict[str, Any], finish: str | None = "stop", **more: Any) -> Answer:
    """An upstream's answer of one choice, read."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return read(json.dumps({"id": "i", "model": "m", "created": 1, "choices": [choice], **more}).encode())


def parts_of(message: dict[str, Any], **more: Any) -> tuple[Any, ...]:
    """Its parts."""
    return answer_of(message, **more).choices[0].parts


def shown(answer: Answer, cost: str | None = "0.01") -> dict[str, Any]:
    """An answer as a caller gets it; it passes the official client's own checks."""
    body = json.loads(write(answer, cost, RECEIPT))
    ChatCompletion.model_validate(body)
    return body


def call(id: str | None = "c", **more: Any) -> dict[str, Any]:
    """A call of `f`."""
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}, **more}


def test_an_answer_is_read() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    answer = answer_of({"content": "hi", "refusal": None, "annotations": []}, usage=usage, service_tier="default", system_fingerprint=None)
    assert answer == Answer(
        id="i",
        model="m",
        created=1,
        choices=(Choice((Text("hi"),)),),
        usage=Usage(3, 2),
        extra={"service_tier": msgspec.Raw(b'"default"')},
    )


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ({"content": None, "refusal": "no"}, (Refusal("no"),)),
        ({"content": "a", "reasoning_content": "t"}, (Reasoning("t"), Text("a"))),
        ({"content": "a", "reasoning": "t", "reasoning_details": []}, (Reasoning("t"), Text("a"))),
        (
            {
                "content": "a",
                "reasoning": "t",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
                    {"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1", "index": 1},
                ],
            },
            (Reasoning("t", "s", origin="anthropic"), Reasoning(redacted="x", origin="anthropic"), Text("a")),
        ),
        (
            {
                "content": "a",
                "reasoning": "t",
                "reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "id": "c", "format": "google-gemini-v1"}],
            },
            (Reasoning("t"), Reasoning(redacted="x", origin="gemini", id="c"), Text("a")),
        ),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]},
            (Reasoning("t"), Text("a")),
        ),
        ({"content": [{"type": "thinking", "thinking": "t"}, {"type": "reference", "reference_ids": [1]}]}, (Reasoning("t"),)),
        (
            {
                "content": "a",
                "annotations": [
                    {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "content": "c", "start_index": 0, "end_index": 1}},
                    {"type": "file"},
                ],
            },
            (Text("a", citations=(Citation("u", "t", "c", 0, 1),)),),
        ),
        ({"content": "", "tool_calls": [call()]}, (ToolCall("c", "f", '{"a":1}'),)),
        ({"tool_calls": [call(None), call("")]}, (ToolCall("call_i_0_0", "f", '{"a":1}'), ToolCall("call_i_0_1", "f", '{"a":1}'))),
        ({"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]}, (ToolCall("c", "f", '{"a":1}'),)),
        ({"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": ""}}]}, (ToolCall("c", "f", "{}"),)),
        ({"tool_calls": [call(extra_content={"google": {"thought_signature": "s"}})]}, (ToolCall("c", "f", '{"a":1}', "s"),)),
        ({"function_call": {"name": "f", "arguments": "{}"}}, (ToolCall("call_i_0_0", "f", "{}"),)),
        (
            {"content": "a", "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            (Text("a"), Image(data="AAAA", media_type="image/png")),
        ),
    ],
)
def test_every_way_of_saying_it_is_understood(message: dict[str, Any], parts: tuple[Any, ...]) -> None:
    assert parts_of(message) == parts


def test_sources_of_the_whole_answer_are_its_citations() -> None:
    results = [{"title": "t", "url": "u", "date": "2025-01-01"}]
    assert parts_of({"content": "a"}, citations=["u"], search_results=results) == (Text("a", citations=(Citation("u", "t"),)),)
    assert parts_of({"content": "a"}, citations=["u"]) == (Text("a", citations=(Citation("u"),)),)


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("content_filter", "content_filter"),
        ("sensitive", "content_filter"),
        ("function_call", "tool_calls"),
        ("never heard of", None),
        (None, None),
    ],
)
def test_reasons_to_stop(said: str | None, finish: str | None) -> None:
    assert answer_of({"content": "a"}, said).choices[0].finish == finish


def test_calls_are_the_reason_to_stop_when_none_other_is_given() -> None:
    assert answer_of({"tool_calls": [call()]}, "stop").choices[0].finish == "tool_calls"
    assert answer_of({"tool_calls": [call()]}, "length").choices[0].finish == "length"


def test_choices_keep_apart() -> None:
    choices = [{"index": place, "message": {"content": str(place)}, "finish_reason": "stop"} for place in (1, 0)]
    answer = read(json.dumps({"choices": choices}).encode())
    assert [(one.index, one.parts) for one in answer.choices] == [(0, (Text("0"),)), (1, (Text("1"),))]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"choices":1}', b"{}", b'{"choices":[]}', b'{"id":"\xff","choices":[]}'])
def test_what_is_no_answer_is_garbled(body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        read(body)
    assert caught.value.kind == "upstream_garbled"


@pytest.mark.parametrize("finish", ["error", "insufficient_system_resource", "network_error"])
def test_an_answer_that_failed_is_an_error(finish: str) -> None:
    with pytest.raises(Fault) as caught:
        answer_of({"content": "a"}, finish)
    assert caught.value.kind == "upstream_error"


def test_an_error_in_a_200_is_an_error() -> None:
    with pytest.raises(Fault) as caught:
        read(b'{"error":{"code":429,"message":"x"}}')
    assert caught.value.kind == "upstream_busy"


def test_a_caller_gets_what_the_official_client_expects() -> None:
    body = shown(Answer(id="i", model="m", created=7, choices=(Choice((Text("hi"),)),), usage=Usage(3, 2, 1, 0, 1)))
    assert body == {
        "id": "i",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1},
            "cost": 0.01,
        },
        "shoal": {"id": "req_1"},
    }
    assert list(body["usage"])[-1] == "cost"
    assert list(body)[-1] == "shoal"


def test_a_cost_that_is_not_known_is_null_and_usage_that_is_not_is_missing() -> None:
    assert shown(Answer(choices=(Choice((Text("a"),)),), usage=Usage(1, 1)), None)["usage"]["cost"] is None
    assert "usage" not in shown(Answer(choices=(Choice((Text("a"),)),)))


def test_content_is_null_where_there_are_only_calls() -> None:
    message = shown(Answer(choices=(Choice((ToolCall("c", "f", "{}", "s"),), "tool_calls"),)))["choices"][0]["message"]
    assert message["content"] is None
    assert message["tool_calls"] == [
        {
            "id": "c",
            "type": "function",
            "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "s"}},
        }
    ]
    assert shown(Answer(choices=(Choice(()),)))["choices"][0]["message"]["content"] == ""


def test_sources_without_a_place_are_of_the_text_they_came_with() -> None:
    parts = (Text("ab"), Text("cde", citations=(Citation("u", "t", "q"), Citation(None, None, None, 0, 1))))
    annotations = shown(Answer(choices=(Choice(parts),)))["choices"][0]["message"]["annotations"]
    assert [one["url_citation"] for one in annotations] == [
        {"url": "u", "title": "t", "start_index": 2, "end_index": 5, "content": "q"},
        {"url": "", "title": "", "start_index": 0, "end_index": 1},
    ]


def test_a_tier_of_another_dialect_is_not_shown_as_openais() -> None:
    extra = {"service_tier": msgspec.Raw(b'"standard"'), "system_fingerprint": msgspec.Raw(b'"fp"')}
    body = shown(Answer(choices=(Choice(()),), extra=extra))
    assert "service_tier" not in body
    assert body["system_fingerprint"] == "fp"


def test_what_was_read_and_shown_is_read_again() -> None:
    parts = (
        Reasoning("t", "s", origin="anthropic"),
        Reasoning("u", redacted="x", origin="openai_responses", id="r"),
        Text("a", citations=(Citation("u", "t", None, 0, 1),)),
        ToolCall("c", "f", "{}", "g"),
    )
    logprobs = msgspec.Raw(b'{"refusal":null,"content":[{"token":"a","bytes":null,"logprob":-0.1,"top_logprobs":[]}]}')
    answer = Answer(id="i", model="m", created=1, choices=(Choice(parts, "tool_calls", 0, logprobs),), usage=Usage(1, 2, 0, 0, 0))
    shown(answer)
    assert read(write(answer, "1", RECEIPT)) == answer
