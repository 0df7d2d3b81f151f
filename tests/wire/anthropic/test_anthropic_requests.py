"""What an upstream of the Messages API is asked: every noun of a conversation in its words, refused by name, or listed as left out."""

import base64
import json
from typing import Any

import msgspec
import pytest

from shoal.core.conversation import (
    Conversation,
    File,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire.anthropic import counting
from shoal.wire.anthropic.requests import write

HI = Message("user", (Text("hi"),))
OLD, MIDDLE, NEW, ALWAYS, BETWEEN = "claude-haiku-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-opus-5-5", "claude-sonnet-5-5"


def deployment(model: str = OLD, longest: int | None = None) -> Deployment:
    """A deployment of this model."""
    return Deployment(id="d", model=model, provider="p", upstream_model=model, max_output_tokens=longest)


def call(*messages: Message, model: str = OLD, longest: int | None = None, **more: Any) -> HttpCall:
    """The call that asks this."""
    return write(Conversation(model="m", messages=messages or (HI,), **more), deployment(model, longest))


def body(*messages: Message, **more: Any) -> dict[str, Any]:
    """The body of that call."""
    decoded: dict[str, Any] = json.loads(call(*messages, **more).body)
    return decoded


def raw(value: Any) -> msgspec.Raw:
    """A member as it came."""
    return msgspec.Raw(json.dumps(value).encode())


def content(*parts: Part) -> Any:
    """The blocks of one message of a user."""
    return body(Message("user", parts))["messages"][0]["content"]


def test_a_plain_question() -> None:
    asked = call()
    assert asked.path == "/messages"
    assert dict(asked.headers) == {"anthropic-version": "2023-06-01"}
    assert asked.dropped == ()
    assert json.loads(asked.body) == {
        "model": OLD,
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stream": False,
    }


@pytest.mark.parametrize(
    ("model", "longest", "asked", "expected"),
    [
        ("claude-3-opus-20240229", None, None, 4096),
        ("claude-3-5-sonnet-20241022", None, None, 8192),
        ("claude-opus-4-20250514", None, None, 32_000),
        ("some-other-model", None, None, 8192),
        (OLD, 64_000, None, 64_000),
        (OLD, 64_000, 7, 7),
        (OLD, None, 0, 0),
    ],
)
def test_an_answer_has_a_limit(model: str, longest: int | None, asked: int | None, expected: int) -> None:
    assert body(model=model, longest=longest, max_tokens=asked)["max_tokens"] == expected


def test_what_the_system_says_is_hoisted_from_everywhere() -> None:
    one = body(Message("system", (Text("be kind"),)), HI)
    assert one["system"] == "be kind"
    several = body(Message("system", (Text("a", cache="1h"),)), HI, Message("developer", (Text("b", cache="5m"),)), HI)
    assert several["system"] == [
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
    ]
    assert [message["role"] for message in several["messages"]] == ["user", "user"]


def test_results_share_a_turn_with_what_the_user_says_to_them() -> None:
    turns = body(
        HI,
        HI,
        Message("assistant", (ToolCall("a", "f"), ToolCall("b", "f", '{"x": 1}'))),
        Message("tool", (ToolResult("a", (Text("1"),)),)),
        Message("tool", (ToolResult("b", (Text("2"), Image(data="QQ==", media_type="image/png")), is_error=True, cache="5m"),)),
        Message("user", (Text("and?"),)),
        HI,
    )["messages"]
    assert [turn["role"] for turn in turns] == ["user", "user", "assistant", "user", "user"]
    assert [block["input"] for block in turns[2]["content"]] == [{}, {"x": 1}]
    assert turns[3]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
        {
            "type": "tool_result",
            "tool_use_id": "b",
            "content": [
                {"type": "text", "text": "2"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
            ],
            "is_error": True,
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "text", "text": "and?"},
    ]


def test_calls_get_ids_and_arguments_that_are_taken() -> None:
    turns = body(
        HI,
        Message("assistant", (ToolCall("functions.f:0", "f", "{broken"), ToolCall("c", "f", "[1]"))),
        Message("tool", (ToolResult("functions.f:0"),)),
    )["messages"]
    first, second = turns[1]["content"]
    assert first["id"] == turns[2]["content"][0]["tool_use_id"] == "functions_f_0"
    assert first["input"] == {"INVALID_JSON": "{broken"}
    assert second["input"] == {"INVALID_JSON": "[1]"}
    assert "content" not in turns[2]["content"][0]


def test_empty_words_are_not_sent_and_an_answer_to_go_on_from_ends_in_a_word() -> None:
    turns = body(Message("user", (Text(""), Text("go"))), Message("assistant", (Text(" "),)), Message("assistant", (Text("Well, "),)))[
        "messages"
    ]
    assert [turn["content"] for turn in turns] == [[{"type": "text", "text": "go"}], [{"type": "text", "text": "Well,"}]]
    with pytest.raises(Fault) as caught:
        call(Message("system", (Text("a"),)))
    assert caught.value.param == "messages"


def test_only_thought_that_anthropic_signed_goes_back() -> None:
    parts = (
        Reasoning("own", signature="s", origin="anthropic"),
        Reasoning(redacted="r", origin="anthropic"),
        Reasoning("unsigned", origin="anthropic"),
        Reasoning("gemini's", signature="g", origin="gemini"),
        Reasoning("nobody's"),
        Refusal("no"),
    )
    asked = call(HI, Message("assistant", parts))
    assert asked.dropped == ("reasoning_content",)
    assert call(HI, Message("assistant", parts[:2])).dropped == ()
    assert json.loads(asked.body)["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "own", "signature": "s"},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "no"},
    ]


def test_images_and_files() -> None:
    assert content(
        Image(url="https://example.org/a.png", cache="5m"),
        File(data="JVBERg==", media_type="application/pdf", name="a.pdf"),
        File(url="https://example.org/a.pdf"),
        File(text="plain", name="t"),
        File(data=base64.b64encode("ü".encode()).decode(), media_type="text/markdown"),
        File(data="QQ==", media_type="image/webp"),
        File(id="file_1"),
        File(id="file_2", media_type="image/*"),
    ) == [
        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}, "cache_control": {"type": "ephemeral"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}, "title": "t"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ü"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "QQ=="}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_2"}},
    ]


def test_files_by_id_need_a_beta() -> None:
    for parts in ((File(id="f"),), (ToolResult("t", (File(id="f"),)),)):
        assert dict(call(Message("user", parts)).headers)["anthropic-beta"] == "files-api-2025-04-14"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (Message("user", (File(data="QQ==", media_type="audio/wav"),)), "messages[1].content"),
        (Message("user", (File(data="QQ==", media_type="application/zip"),)), "messages[1].content"),
        (Message("user", (File(name="empty"),)), "messages[1].content"),
        (Message("user", (File(data="/w==", media_type="text/plain"),)), "messages[1].content"),
        (Message("user", (Image(),)), "messages[1].content"),
        (Message("assistant", (Image(url="https://example.org/a.png"),)), "messages[1].content"),
    ],
)
def test_what_no_block_can_hold_is_refused_by_its_place(message: Message, param: str) -> None:
    with pytest.raises(Fault) as caught:
        call(HI, message)
    assert caught.value.param == param
    assert caught.value.status == 400


def test_tools() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"type": {"type": "string"}}}}}
    tools = (
        Tool("f", "does f", raw(schema), strict=True, cache="1h"),
        Tool("g"),
        Tool("h", parameters=raw({"properties": {}}), strict=False),
    )
    inner = {"type": "object", "properties": {"type": {"type": "string"}}, "additionalProperties": False}
    expected = [
        {
            "name": "f",
            "description": "does f",
            "input_schema": {"type": "object", "properties": {"a": inner}, "additionalProperties": False},
            "strict": True,
            "cache_control": {"type": "ephemeral", "ttl": "1h"},
        },
        {"name": "g", "input_schema": {"type": "object", "properties": {}}},
        {"name": "h", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert body(tools=tools)["tools"] == expected
    older = call(tools=tools, model="claude-sonnet-4-0")
    assert older.dropped == ("tools.strict",)
    assert json.loads(older.body)["tools"][0]["input_schema"] == schema
    with pytest.raises(Fault) as caught:
        call(tools=(Tool("f", parameters=raw([1])),))
    assert caught.value.param == "tools[0].parameters"


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice("auto"), None, {"type": "auto"}),
        (ToolChoice("none"), False, {"type": "none"}),
        (ToolChoice("required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice("named", "f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_among_tools(choice: ToolChoice | None, parallel: bool | None, expected: Any) -> None:
    assert body(tools=(Tool("f"),), tool_choice=choice, parallel_tools=parallel).get("tool_choice") == expected


def test_a_schema_becomes_the_format_closed() -> None:
    schema = {"type": "object", "properties": {"a": {"anyOf": [{"type": "object"}, {"type": "null"}]}, "b": {"enum": [{"type": "object"}]}}}
    assert body(format=Format(raw(schema)))["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {
                    "a": {"anyOf": [{"type": "object", "additionalProperties": False}, {"type": "null"}]},
                    "b": {"enum": [{"type": "object"}]},
                },
                "additionalProperties": False,
            },
        }
    }
    with pytest.raises(Fault) as caught:
        call(format=Format(raw(schema)), model="claude-sonnet-4-0")
    assert caught.value.param == "response_format"


def test_json_without_a_schema_is_asked_for_in_words_and_named() -> None:
    asked = call(Message("system", (Text("s"),)), HI, format=Format())
    assert asked.dropped == ("response_format.type",)
    system = json.loads(asked.body)["system"]
    assert system[0]["text"] == "s"
    assert "JSON" in system[1]["text"]


@pytest.mark.parametrize(
    ("model", "thinking", "more", "expected"),
    [
        (OLD, Thinking("low"), {}, {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 34048}),
        (OLD, Thinking(budget=3000), {"max_tokens": 4096}, {"thinking": {"type": "enabled", "budget_tokens": 3000}}),
        (OLD, Thinking("high"), {"max_tokens": 4096}, {"thinking": {"type": "enabled", "budget_tokens": 4095}}),
        (OLD, Thinking("none"), {}, {"thinking": {"type": "disabled"}}),
        ("claude-3-5-haiku-latest", Thinking("none"), {}, {}),
        (MIDDLE, Thinking("minimal"), {}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        (MIDDLE, Thinking("xhigh"), {}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}),
        (MIDDLE, Thinking(budget=2000), {}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
        (
            NEW,
            Thinking("xhigh", shown=True),
            {},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
        ),
        (NEW, Thinking(shown=True), {}, {"thinking": {"type": "adaptive", "display": "summarized"}}),
        (NEW, Thinking(shown=False), {}, {}),
        (OLD, Thinking(shown=True), {}, {}),
        (NEW, Thinking("none"), {}, {"thinking": {"type": "disabled"}}),
        (BETWEEN, Thinking("none"), {}, {"thinking": {"type": "between_tools"}}),
    ],
)
def test_thought_as_the_model_takes_it(model: str, thinking: Thinking, more: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = call(model=model, thinking=thinking, **more)
    assert asked.dropped == ()
    sent = json.loads(asked.body)
    for name in ("thinking", "output_config", "max_tokens"):
        if name in expected or name != "max_tokens":
            assert sent.get(name) == expected.get(name)


@pytest.mark.parametrize(
    ("model", "thinking", "more", "expected", "dropped"),
    [
        (OLD, Thinking("high"), {"max_tokens": 1000}, {}, "reasoning_effort"),
        (OLD, Thinking(budget=100), {}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, "reasoning"),
        (OLD, Thinking("low"), {"tools": (Tool("f"),), "tool_choice": ToolChoice("required")}, {}, "reasoning_effort"),
        ("claude-3-5-haiku-latest", Thinking("low"), {}, {}, "reasoning_effort"),
        (NEW, Thinking(budget=9000), {}, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, "reasoning"),
        (ALWAYS, Thinking("none"), {}, {"output_config": {"effort": "low"}}, "reasoning_effort"),
        ("claude-fable-5", Thinking("none"), {}, {"output_config": {"effort": "low"}}, "reasoning_effort"),
        ("claude-mythos-preview", Thinking("none"), {}, {"output_config": {"effort": "low"}}, "reasoning_effort"),
    ],
)
def test_thought_that_cannot_be_had_is_named(
    model: str, thinking: Thinking, more: dict[str, Any], expected: dict[str, Any], dropped: str
) -> None:
    asked = call(model=model, thinking=thinking, **more)
    sent = json.loads(asked.body)
    assert {name: sent[name] for name in ("thinking", "output_config") if name in sent} == expected
    assert asked.dropped == (dropped,)


def test_a_turn_that_lost_its_thought_goes_on_without() -> None:
    def turn(*before: Part) -> HttpCall:
        return call(HI, Message("assistant", (*before, ToolCall("c", "f"))), Message("tool", (ToolResult("c"),)), thinking=Thinking("low"))

    assert turn().dropped == ("reasoning_effort",)
    assert turn(Reasoning("t", signature="s", origin="anthropic")).dropped == ()


def test_members_of_its_own_are_passed_on() -> None:
    asked = call(model=NEW, thinking=Thinking("low"), extra={"output_config": msgspec.Raw(b'{"effort":"max","task_budget":{"total":9}}')})
    assert json.loads(asked.body)["output_config"] == {"effort": "max", "task_budget": {"total": 9}}
    assert asked.dropped == ()
    with pytest.raises(Fault) as caught:
        call(extra={"output_config": msgspec.Raw(b"3")})
    assert (caught.value.kind, caught.value.param) == ("invalid_type", "output_config")


def test_who_decides_how_much_to_think_may_be_forced_to_call() -> None:
    asked = call(model=NEW, thinking=Thinking("auto"), tools=(Tool("f"),), tool_choice=ToolChoice("named", "f"))
    sent = json.loads(asked.body)
    assert (sent["thinking"], sent["tool_choice"]) == ({"type": "adaptive"}, {"type": "tool", "name": "f"})
    assert "output_config" not in sent
    assert asked.dropped == ()


@pytest.mark.parametrize(
    ("model", "sampling", "thinking", "expected", "dropped"),
    [
        (OLD, Sampling(temperature=0.5, top_k=5, stop=("x",)), None, {"temperature": 0.5, "top_k": 5, "stop_sequences": ["x"]}, ()),
        (OLD, Sampling(temperature=1.5), None, {"temperature": 1}, ("temperature",)),
        (OLD, Sampling(top_p=0.5), None, {"top_p": 0.5}, ()),
        (OLD, Sampling(temperature=0.5, top_p=0.5), None, {"temperature": 0.5}, ("top_p",)),
        (OLD, Sampling(temperature=0.5, top_p=1), None, {"temperature": 0.5}, ()),
        ("claude-3-haiku", Sampling(temperature=0.5, top_p=0.5), None, {"temperature": 0.5, "top_p": 0.5}, ()),
        (OLD, Sampling(temperature=1, top_p=0.97), Thinking("low"), {"top_p": 0.97}, ()),
        (OLD, Sampling(temperature=0.5, top_p=0.5, top_k=4), Thinking("low"), {}, ("temperature", "top_p", "top_k")),
        (NEW, Sampling(temperature=0, top_p=0.97, top_k=4), None, {}, ("temperature", "top_p", "top_k")),
        (NEW, Sampling(temperature=1, top_p=1), None, {}, ()),
        (OLD, Sampling(seed=0, presence_penalty=1, frequency_penalty=0, logprobs=True), None, {}, ("presence_penalty", "seed", "logprobs")),
        (OLD, Sampling(stop=("\n", "x"), n=1), None, {"stop_sequences": ["x"]}, ("stop",)),
    ],
)
def test_sampling(model: str, sampling: Sampling, thinking: Thinking | None, expected: dict[str, Any], dropped: tuple[str, ...]) -> None:
    asked = call(model=model, sampling=sampling, thinking=thinking)
    sent = json.loads(asked.body)
    names = ("temperature", "top_p", "top_k", "stop_sequences")
    assert {name: sent[name] for name in names if name in sent} == expected
    assert asked.dropped == dropped


@pytest.mark.parametrize(
    ("sampling", "param"), [(Sampling(n=2), "n"), (Sampling(top_logprobs=3), "top_logprobs"), (Sampling(logit_bias={"1": 2}), "logit_bias")]
)
def test_what_must_not_be_left_out_is_refused(sampling: Sampling, param: str) -> None:
    with pytest.raises(Fault) as caught:
        call(sampling=sampling)
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", param)


def test_the_rest() -> None:
    asked = call(
        Message("user", (Text("hi"), Image(url="https://example.org/a", detail="high")), name="ann"),
        user="u",
        service_tier="default",
        stream=True,
        extra={"cache_control": raw({"type": "ephemeral"}), "speed": raw("fast"), "verbosity": raw("low")},
    )
    sent = json.loads(asked.body)
    assert sent["metadata"] == {"user_id": "u"}
    assert sent["service_tier"] == "standard_only"
    assert sent["stream"] is True
    assert sent["cache_control"] == {"type": "ephemeral"}
    assert dict(asked.headers)["anthropic-beta"] == "fast-mode-2026-02-01"
    assert set(asked.dropped) == {"name", "detail", "verbosity"}
    assert "verbosity" not in sent
    assert body(service_tier="auto")["service_tier"] == body(service_tier="priority")["service_tier"] == "auto"
    assert call(service_tier="flex").dropped == ("service_tier",)


def test_counting_asks_the_same_without_what_is_not_counted() -> None:
    asked = counting.write(
        Conversation(model="m", messages=(HI,), max_tokens=5, stream=True, sampling=Sampling(temperature=0.1), tools=(Tool("f"),)),
        deployment(),
    )
    assert asked.path == "/messages/count_tokens"
    assert json.loads(asked.body).keys() == {"model", "messages", "tools"}
    assert counting.read(b'{"input_tokens": 14}') == 14
    assert json.loads(counting.write_count(14)) == {"input_tokens": 14}
    with pytest.raises(Fault) as caught:
        counting.read(b'{"input_tokens": "many"}')
    assert caught.value.kind == "upstream_garbled"
