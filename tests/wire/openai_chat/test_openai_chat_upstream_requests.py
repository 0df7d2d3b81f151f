"""A conversation becomes a chat completion request, in its provider's manner; what must not be left out is refused by name."""

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
    Role,
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
from shoal.wire.openai_chat.requests import read, write

HI = Message("user", (Text("hi"),))


def call_for(provider: str, *messages: Message, **fields: Any) -> HttpCall:
    """The call that asks `provider` this."""
    conversation = Conversation(model="m", messages=messages or (HI,), **fields)
    return write(conversation, Deployment("d", "m", provider, "up"))


def body_for(provider: str, *messages: Message, **fields: Any) -> dict[str, Any]:
    """Its body."""
    return json.loads(call_for(provider, *messages, **fields).body)


def said(provider: str, role: Role, *parts: Part) -> dict[str, Any]:
    """The one message that a turn becomes."""
    (message,) = body_for(provider, Message(role, parts))["messages"]
    return message


def test_the_least_is_the_model_and_the_messages() -> None:
    call = call_for("openai")
    assert (call.path, call.headers, call.dropped) == ("/chat/completions", (), ())
    assert json.loads(call.body) == {"model": "up", "messages": [{"role": "user", "content": "hi"}]}


def test_a_request_of_the_same_dialect_comes_out_as_it_went_in() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    asked = {
        "model": "m",
        "messages": [
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://e.com/a"}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}]},
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
        "temperature": 0.5,
        "logit_bias": {"1": 2.0},
        "logprobs": True,
        "top_logprobs": 2,
        "stop": ["x"],
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "verbosity": "low",
        "user": "u",
        "stream": True,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }
    call = write(read(json.dumps(asked).encode()), Deployment("d", "m", "openai", "m"))
    assert json.loads(call.body) == asked
    assert call.dropped == ()


def test_a_stream_is_always_asked_for_its_usage() -> None:
    assert body_for("groq", stream=True)["stream_options"] == {"include_usage": True}
    options = msgspec.Raw(b'{"include_usage":false,"include_obfuscation":true}')
    asked = body_for("groq", stream=True, extra={"stream_options": options})["stream_options"]
    assert asked == {"include_usage": True, "include_obfuscation": True}


def test_the_limit_of_tokens_has_two_names() -> None:
    assert body_for("openai", max_tokens=5)["max_completion_tokens"] == 5
    assert body_for("azure", max_tokens=5)["max_completion_tokens"] == 5
    assert body_for("mistral", max_tokens=5)["max_tokens"] == 5


def test_developers_are_the_system_to_those_who_know_none() -> None:
    developer = Message("developer", (Text("d"),))
    assert body_for("openai", developer)["messages"][0]["role"] == "developer"
    assert body_for("groq", developer)["messages"][0]["role"] == "system"


def test_several_texts_are_one_to_those_who_take_no_more() -> None:
    assert said("deepseek", "system", Text("a"), Text("b"))["content"] == "a\n\nb"
    assert call_for("deepseek", Message("system", (Text("a", "5m"), Text("b")))).dropped == ("cache_control",)
    assert said("openai", "system", Text("a"), Text("b"))["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


SIGNED = Reasoning("t", "s", origin="anthropic")


@pytest.mark.parametrize("provider", ["openai", "groq", "together", "xai"])
def test_earlier_thought_is_left_out_where_nobody_wants_it(provider: str) -> None:
    call = call_for(provider, Message("assistant", (SIGNED, Text("a"))))
    assert json.loads(call.body)["messages"] == [{"role": "assistant", "content": "a"}]
    assert call.dropped == ()


@pytest.mark.parametrize("provider", ["deepseek", "moonshot", "zai", "dashscope"])
def test_earlier_thought_goes_back_to_those_who_want_it(provider: str) -> None:
    assert said(provider, "assistant", SIGNED, Text("a")) == {"role": "assistant", "content": "a", "reasoning_content": "t"}


def test_openrouter_gets_signatures_back() -> None:
    message = said("openrouter", "assistant", SIGNED, Reasoning(redacted="x", origin="gemini", id="i"), Text("a"))
    assert message["reasoning_details"] == [
        {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0},
        {"type": "reasoning.encrypted", "data": "x", "format": "google-gemini-v1", "index": 1, "id": "i"},
    ]


def test_mistral_gets_thought_as_a_part_and_ids_of_nine_characters() -> None:
    message = said("mistral", "assistant", Reasoning("t"), Text("a"))
    assert message["content"] == [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}]
    turns = (
        Message("assistant", (ToolCall("toolu_0123456789", "f"), ToolCall("abcdefghi", "f"))),
        Message("tool", (ToolResult("toolu_0123456789"),)),
    )
    call, result = body_for("mistral", *turns)["messages"]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"]
    assert len(result["tool_call_id"]) == 9
    assert call["tool_calls"][1]["id"] == "abcdefghi"


def test_signatures_of_calls_go_to_google_alone() -> None:
    call = ToolCall("c", "f", "{}", "sig")
    assert said("gemini", "assistant", call)["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert "extra_content" not in said("openai", "assistant", call)["tool_calls"][0]


def test_refusals_are_words_to_those_who_know_none() -> None:
    assert said("openai", "assistant", Refusal("no")) == {"role": "assistant", "content": None, "refusal": "no"}
    assert said("groq", "assistant", Refusal("no")) == {"role": "assistant", "content": "no"}


def test_pictures_that_tools_returned_follow_the_last_answer_of_a_tool() -> None:
    picture = Image(data="AAAA", media_type="image/jpeg")
    turns = (Message("tool", (ToolResult("a", (picture,)), ToolResult("b", (Text("x"), picture)))), HI)
    first, second, shown, user = body_for("openai", *turns)["messages"]
    assert [first["role"], second["role"], shown["role"], user["role"]] == ["tool", "tool", "user", "user"]
    assert first["content"]
    assert second["content"] == "x"
    pictures = [part for part in shown["content"] if part["type"] == "image_url"]
    assert pictures == [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}}] * 2
    assert "call a " in shown["content"][0]["text"]


def test_breakpoints_of_caches_are_kept_or_listed() -> None:
    fields: dict[str, Any] = {"tools": (Tool("f", cache="1h"),)}
    turn = Message("user", (Text("x", "5m"),))
    kept = call_for("openrouter", turn, **fields)
    body = json.loads(kept.body)
    assert body["messages"][0]["content"] == [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert kept.dropped == ()
    assert call_for("openai", turn).dropped == ("cache_control",)
    assert call_for("openai", HI, **fields).dropped == ("cache_control",)


def test_what_cannot_be_said_is_listed() -> None:
    extra = {"made_up": msgspec.Raw(b"1"), "prompt_cache_key": msgspec.Raw(b'"k"')}
    call = call_for("openai", sampling=Sampling(top_k=3, temperature=0.0), extra=extra)
    assert call.dropped == ("made_up", "top_k")
    assert json.loads(call.body) == {
        "model": "up",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.0,
        "prompt_cache_key": "k",
    }
    assert body_for("vllm", sampling=Sampling(top_k=3))["top_k"] == 3
    assert call_for("openai", Message("tool", (ToolResult("c", (Text("x"),), is_error=True),))).dropped == ("is_error",)


@pytest.mark.parametrize(
    ("turn", "param"),
    [
        (Message("user", (File(url="https://e.com/a.pdf", media_type="application/pdf"),)), "file"),
        (Message("assistant", (Image(url="https://e.com/a.png"),)), "messages"),
        (Message("user", (ToolCall("c", "f"),)), "messages"),
    ],
)
def test_what_must_not_be_left_out_is_refused(turn: Message, param: str) -> None:
    with pytest.raises(Fault) as caught:
        call_for("openai", turn)
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", param)


def test_files_go_as_they_can() -> None:
    assert said("openrouter", "user", File(url="https://e.com/a"))["content"] == [
        {"type": "file", "file": {"file_data": "https://e.com/a"}}
    ]
    assert said("openai", "user", File(id="f"))["content"] == [{"type": "file", "file": {"file_id": "f"}}]
    assert said("openai", "user", File(text="words"))["content"] == [{"type": "text", "text": "words"}]


@pytest.mark.parametrize(
    ("provider", "thinking", "members"),
    [
        ("openai", Thinking("high"), {"reasoning_effort": "high"}),
        ("openai", Thinking(None, 1024), {"reasoning_effort": "low"}),
        ("openai", Thinking(None, 50_000), {"reasoning_effort": "high"}),
        ("openai", Thinking(shown=False), {}),
        ("openrouter", Thinking("high", shown=False), {"reasoning": {"effort": "high", "exclude": True}}),
        ("openrouter", Thinking(None, 900), {"reasoning": {"max_tokens": 900}}),
        ("deepseek", Thinking("high"), {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("deepseek", Thinking("none"), {"thinking": {"type": "disabled"}}),
        ("zai", Thinking(None, 9000), {"thinking": {"type": "enabled"}}),
        ("openai", Thinking("auto"), {}),
        ("openrouter", Thinking("auto"), {"reasoning": {"enabled": True}}),
        ("deepseek", Thinking("auto"), {"thinking": {"type": "enabled"}}),
        ("dashscope", Thinking("auto"), {"enable_thinking": True}),
        ("dashscope", Thinking(None, 900), {"enable_thinking": True, "thinking_budget": 900}),
        ("dashscope", Thinking("none"), {"enable_thinking": False}),
    ],
)
def test_how_much_to_think_in_each_providers_words(provider: str, thinking: Thinking, members: dict[str, Any]) -> None:
    body = body_for(provider, thinking=thinking)
    assert {name: value for name, value in body.items() if name not in ("model", "messages")} == members


def test_choices_and_formats() -> None:
    tools = (Tool("f", parameters=msgspec.Raw(b'{"type":"object"}')),)
    assert body_for("groq", tools=tools, tool_choice=ToolChoice("required"))["tool_choice"] == "required"
    assert body_for("groq", tools=tools)["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert body_for("groq", format=Format())["response_format"] == {"type": "json_object"}
    wanted = body_for("groq", format=Format(msgspec.Raw(b"{}"), description="d"))["response_format"]
    assert wanted == {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}, "description": "d"}}
