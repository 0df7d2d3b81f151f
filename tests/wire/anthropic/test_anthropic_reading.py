"""What a caller of the Messages API asks: every block as a part, and what is wrong named by its place."""

import json
from typing import Any

import pytest

from shoal.core.conversation import (
    Conversation,
    File,
    Format,
    Image,
    Message,
    Reasoning,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.wire.anthropic.requests import read, write

HI = {"role": "user", "content": "hi"}


def ask(*messages: Any, **more: Any) -> Conversation:
    """A request, read."""
    return read(json.dumps({"model": "m", "max_tokens": 9, "messages": messages or (HI,), **more}).encode())


def refusal(*messages: Any, **more: Any) -> tuple[str, str | None]:
    """Why a request is refused."""
    with pytest.raises(Fault) as caught:
        ask(*messages, **more)
    return caught.value.kind, caught.value.param


def test_a_plain_question() -> None:
    assert ask() == Conversation(model="m", messages=(Message("user", (Text("hi"),)),), max_tokens=9)


def test_every_member() -> None:
    asked = ask(
        system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        stream=True,
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        stop_sequences=["x"],
        tools=[
            {"name": "f", "description": "d", "input_schema": {"type": "object"}, "strict": True, "cache_control": {"type": "ephemeral"}}
        ],
        tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        metadata={"user_id": "u"},
        service_tier="standard_only",
        output_config={"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        thinking={"type": "adaptive", "display": "omitted"},
        provider={"order": ["p"]},
        models=["n"],
        cache_control={"type": "ephemeral"},
        unknown=[1.50],
    )
    assert asked.messages[0] == Message("system", (Text("s", cache="1h"),))
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.top_k, asked.sampling.stop) == (0.5, 0.9, 3, ("x",))
    tool = asked.tools[0]
    assert (tool.name, tool.description, tool.strict, tool.cache, bytes(tool.parameters or b"")) == (
        "f",
        "d",
        True,
        "5m",
        b'{"type": "object"}',
    )
    assert asked.tool_choice == ToolChoice("named", "f")
    assert asked.parallel_tools is False
    assert (asked.user, asked.service_tier, asked.stream) == ("u", "default", True)
    assert isinstance(asked.format, Format)
    assert asked.thinking == Thinking(effort="max", shown=False)
    assert {name: bytes(raw) for name, raw in asked.extra.items()} == {"cache_control": b'{"type": "ephemeral"}', "unknown": b"[1.5]"}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"type": "enabled", "budget_tokens": 2000}, Thinking(budget=2000)),
        ({"type": "enabled", "budget_tokens": 2000, "display": "summarized"}, Thinking(budget=2000, shown=True)),
        ({"type": "disabled"}, Thinking(effort="none")),
        ({"type": "between_tools"}, Thinking(effort="none")),
        ({"type": "adaptive"}, Thinking("auto")),
        (None, None),
    ],
)
def test_thinking(asked: Any, expected: Thinking | None) -> None:
    assert ask(thinking=asked).thinking == expected


def test_blocks_of_a_user() -> None:
    asked = ask(
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": "ok", "is_error": True, "cache_control": {"type": "ephemeral"}},
                {
                    "type": "tool_result",
                    "tool_use_id": "v",
                    "content": [{"type": "image", "source": {"type": "url", "url": "https://e.org/a"}}],
                },
                {"type": "tool_result", "tool_use_id": "w"},
                {"type": "text", "text": "and"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
                {"type": "image", "source": {"type": "file", "file_id": "f"}},
                {"type": "document", "title": "d", "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words"}},
                {"type": "document", "source": {"type": "url", "url": "https://e.org/a.pdf"}, "citations": {"enabled": True}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x"}]}, "context": "c"},
            ],
        }
    )
    results, words = asked.messages
    assert results == Message(
        "tool",
        (
            ToolResult("t", (Text("ok"),), is_error=True, cache="5m"),
            ToolResult("v", (Image(url="https://e.org/a"),)),
            ToolResult("w"),
        ),
    )
    assert words.parts == (
        Text("and"),
        Image(data="QQ==", media_type="image/png"),
        File(id="f", media_type="image/*"),
        File(data="QQ==", media_type="application/pdf", name="d"),
        File(text="words", media_type="text/plain"),
        File(url="https://e.org/a.pdf", media_type="application/pdf"),
        File(text="x"),
    )
    assert asked.extra.keys() == {"citations", "context"}


def test_what_only_anthropics_tools_can_say_is_noted() -> None:
    tool = {"name": "f", "input_schema": {"type": "object"}, "input_examples": [{}], "defer_loading": True, "allowed_callers": None}
    assert ask(tools=[tool]).extra.keys() == {"tools.input_examples", "tools.defer_loading"}


def test_thinking_may_be_told_without_being_wanted() -> None:
    assert ask(thinking={"block_binding": "strict"}).thinking is None


def test_blocks_of_an_answer() -> None:
    content = [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "thinking", "thinking": "u", "signature": ""},
        {"type": "redacted_thinking", "data": "r"},
        {"type": "text", "text": "w", "citations": None},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1.50}},
    ]
    assert ask(HI, {"role": "assistant", "content": content}).messages[1].parts == (
        Reasoning("t", signature="s", origin="anthropic"),
        Reasoning("u"),
        Reasoning(redacted="r", origin="anthropic"),
        Text("w"),
        ToolCall("c", "f", '{"a": 1.5}'),
    )


@pytest.mark.parametrize(
    ("message", "kind", "param"),
    [
        ({"role": "robot", "content": "x"}, "invalid_value", "messages[1].role"),
        ({"role": "user"}, "missing_parameter", "messages[1].content"),
        ({"role": "user", "content": 3}, "invalid_type", "messages[1].content"),
        ({"role": "user", "content": [{"text": "x"}]}, "missing_parameter", "messages[1].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "missing_parameter", "messages[1].content[0].text"),
        ({"role": "user", "content": [{"type": "text", "text": 4}]}, "invalid_type", "messages[1].content[0].text"),
        ({"role": "user", "content": [{"type": "search_result"}]}, "unsupported_parameter", "messages[1].content[0].type"),
        ({"role": "assistant", "content": [{"type": "server_tool_use"}]}, "unsupported_parameter", "messages[1].content[0].type"),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]},
            "missing_parameter",
            "messages[1].content[0].source.url",
        ),
        (
            {"role": "user", "content": [{"type": "image", "source": {"type": "x"}}]},
            "unsupported_parameter",
            "messages[1].content[0].source.type",
        ),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": 3}]},
            "invalid_type",
            "messages[1].content[0].input",
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "2h"}}]},
            "invalid_value",
            "messages[1].content[0].cache_control.ttl",
        ),
        (
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "redacted_thinking", "data": ""}]}],
            },
            "invalid_value",
            "messages[1].content[0].content",
        ),
    ],
)
def test_what_is_wrong_in_a_message_is_named_by_its_place(message: Any, kind: str, param: str) -> None:
    assert refusal(HI, message) == (kind, param)


@pytest.mark.parametrize(
    ("members", "kind", "param"),
    [
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "x"}, "invalid_type", "messages"),
        ({"model": None}, "invalid_type", "model"),
        ({"max_tokens": "many"}, "invalid_type", "max_tokens"),
        ({"max_tokens": -1}, "invalid_value", "max_tokens"),
        ({"system": [{"type": "image", "source": {"type": "url", "url": "u"}}]}, "invalid_value", "system[0].type"),
        ({"tools": [{"name": "f"}]}, "missing_parameter", "tools[0].input_schema"),
        ({"tool_choice": {"type": "maybe"}}, "invalid_value", "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "missing_parameter", "tool_choice.name"),
        ({"output_config": {"format": {"type": "json_object"}}}, "invalid_value", "output_config.format"),
        ({"mcp_servers": [{"url": "u"}]}, "unsupported_parameter", "mcp_servers"),
    ],
)
def test_what_is_wrong_elsewhere_is_named(members: dict[str, Any], kind: str, param: str) -> None:
    assert refusal(**members) == (kind, param)


def test_what_is_no_json_is_refused() -> None:
    for body in (b"", b"{", b"[]", b'{"model": "\xff"}'):
        with pytest.raises(Fault) as caught:
            read(body)
        assert caught.value.status == 400


def test_a_request_that_is_read_and_written_is_the_same() -> None:
    asked: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "max_tokens": 4096,
        "stream": True,
        "system": "s",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {"a": [1]}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "1"}, {"type": "text", "text": "so?"}]},
        ],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "array"}}}}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "metadata": {"user_id": "u"},
    }
    call = write(read(json.dumps(asked).encode()), Deployment(id="d", model="m", provider="p", upstream_model="claude-haiku-4-5"))
    assert json.loads(call.body) == asked
    assert call.dropped == ()
