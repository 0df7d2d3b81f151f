"""A caller's chat completion request becomes a conversation, or a fault that names the parameter."""

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
from shoal.wire.openai_chat.requests import read

HI = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PNG = "data:image/png;base64,iVBORw0K"


def ask(*messages: Any, **fields: Any) -> Conversation:
    """A request with these messages, read."""
    return read(json.dumps({"model": "m", "messages": list(messages) or [HI], **fields}).encode())


def user(*parts: Any) -> dict[str, Any]:
    """A user's message of parts."""
    return {"role": "user", "content": list(parts)}


def parts_of(*messages: Any) -> tuple[Any, ...]:
    """The parts of the last message."""
    return ask(*messages).messages[-1].parts


def test_every_role_has_its_turn() -> None:
    said = ask(
        {"role": "system", "content": "s"},
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": "u", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "r"},
        {"role": "assistant", "content": "a", "refusal": "no"},
    )
    assert said.messages == (
        Message("system", (Text("s"),)),
        Message("developer", (Text("d"),)),
        Message("user", (Text("u"),), "ann"),
        Message("assistant", (ToolCall("c1", "f", "{}"),)),
        Message("tool", (ToolResult("c1", (Text("r"),)),)),
        Message("assistant", (Text("a"), Refusal("no"))),
    )


@pytest.mark.parametrize(
    ("part", "noun"),
    [
        ({"type": "text", "text": "x"}, Text("x")),
        ({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, Text("x", "5m")),
        ({"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, Text("x", "1h")),
        ({"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}, Text("x", "5m")),
        ({"type": "image_url", "image_url": {"url": "https://e.com/a.png", "detail": "low"}}, Image("https://e.com/a.png", detail="low")),
        ({"type": "image_url", "image_url": {"url": PNG}}, Image(data="iVBORw0K", media_type="image/png")),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, File(data="AAAA", media_type="audio/mpeg")),
        ({"type": "video_url", "video_url": {"url": "https://e.com/v"}}, File(url="https://e.com/v", media_type="video/mp4")),
        ({"type": "file", "file": {"file_id": "f1"}}, File(id="f1")),
        (
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
            File(data="AAAA", media_type="application/pdf", name="a.pdf"),
        ),
        ({"type": "file", "file": {"filename": "a.csv", "file_data": "AAAA"}}, File(data="AAAA", media_type="text/csv", name="a.csv")),
        ({"type": "file", "file": {"file_data": "https://e.com/a.pdf"}}, File(url="https://e.com/a.pdf")),
    ],
)
def test_a_part_is_its_noun(part: Any, noun: Any) -> None:
    assert parts_of(user(part)) == (noun,)


def test_a_tools_answer_may_be_parts() -> None:
    result = parts_of({"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
    assert result == (ToolResult("c", (Text("a"), Text("b"))),)


def test_functions_called_the_old_way_have_an_id_that_their_answers_share() -> None:
    said = ask(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        functions=[{"name": "f", "parameters": {"type": "object"}}],
        function_call={"name": "f"},
    )
    call, result = said.messages[0].parts[0], said.messages[1].parts[0]
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert call.id == result.id
    assert said.messages[1].role == "tool"
    assert [tool.name for tool in said.tools] == ["f"]
    assert said.tool_choice == ToolChoice("named", "f")


@pytest.mark.parametrize(
    ("members", "thoughts"),
    [
        ({"reasoning_content": "t"}, (Reasoning("t"),)),
        ({"reasoning": "t"}, (Reasoning("t"),)),
        (
            {
                "reasoning_content": "t",
                "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1"}],
            },
            (Reasoning("t", "s", origin="anthropic"),),
        ),
        (
            {
                "reasoning_details": [
                    {"type": "reasoning.summary", "summary": "t", "id": "r1", "index": 0, "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "x", "id": "r1", "index": 0, "format": "openai-responses-v1"},
                    {"type": "reasoning.encrypted", "data": "y", "index": 1},
                ]
            },
            (Reasoning("t", redacted="x", origin="openai_responses", id="r1"), Reasoning(redacted="y")),
        ),
    ],
)
def test_earlier_thought_keeps_its_signatures(members: Any, thoughts: Any) -> None:
    assert parts_of({"role": "assistant", "content": "a", **members}) == (*thoughts, Text("a"))


def test_thought_among_the_parts_is_thought() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}
    assert parts_of({"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]}) == (Reasoning("t"), Text("a"))


def test_a_calls_signature_survives() -> None:
    call = {**CALL, "extra_content": {"google": {"thought_signature": "sig"}}}
    assert parts_of({"role": "assistant", "tool_calls": [call]}) == (ToolCall("c1", "f", "{}", "sig"),)


def test_tools_keep_their_schema_as_written() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","strict":true,'
    said = read(body + b'"description":"d","parameters":{"b":1.0, "a":[]}},"cache_control":{"type":"ephemeral"}}]}')
    (tool,) = said.tools
    assert (tool.name, tool.description, tool.strict, tool.cache) == ("f", "d", True, "5m")
    assert tool.parameters is not None
    assert bytes(tool.parameters) == b'{"b":1.0, "a":[]}'


@pytest.mark.parametrize(
    ("choice", "noun"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", "f")),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [TOOL, {**TOOL, "function": {"name": "g"}}]}},
            ToolChoice("auto"),
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [TOOL]}}, ToolChoice("named", "f")),
    ],
)
def test_choices_of_tools(choice: Any, noun: ToolChoice) -> None:
    assert ask(tools=[TOOL, {"type": "function", "function": {"name": "g"}}], tool_choice=choice).tool_choice == noun


def test_only_what_is_allowed_is_offered() -> None:
    allowed = {"mode": "required", "tools": [{**TOOL, "function": {"name": name}} for name in ("g", "h")]}
    offered = [TOOL, *({"type": "function", "function": {"name": name}} for name in ("g", "h"))]
    asked = ask(tools=offered, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert (asked.tool_choice, [tool.name for tool in asked.tools]) == (ToolChoice("required"), ["g", "h"])


def test_formats() -> None:
    schema = {"name": "n", "description": "d", "strict": True, "schema": {"type": "object"}}
    wanted = ask(response_format={"type": "json_schema", "json_schema": schema}).format
    assert wanted is not None
    assert (wanted.name, wanted.description, wanted.strict) == ("n", "d", True)
    assert wanted.schema is not None
    assert json.loads(bytes(wanted.schema)) == {"type": "object"}
    assert ask(response_format={"type": "json_object"}).format == Format()
    assert ask(response_format={"type": "text"}).format is None


def test_sampling_limits_and_the_rest() -> None:
    numbers = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "seed": 7,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"5": -100},
    }
    said = ask(**numbers, stop="x", max_tokens=5, max_completion_tokens=6, stream=True, user="u", service_tier="flex")
    assert said.sampling == Sampling(**numbers, stop=("x",))
    assert (said.max_tokens, said.stream, said.user, said.service_tier) == (6, True, "u", "flex")
    assert ask(stop=["a", "b"], max_tokens=5).sampling.stop == ("a", "b")
    assert ask(max_tokens=5).max_tokens == 5


@pytest.mark.parametrize(
    ("fields", "noun"),
    [
        ({}, None),
        ({"reasoning_effort": "low"}, Thinking("low")),
        ({"reasoning": {"max_tokens": 99, "exclude": True}}, Thinking(None, 99, False)),
        ({"reasoning": {"enabled": True}}, Thinking("medium")),
        ({"reasoning": {"enabled": False}}, Thinking("none")),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Thinking(None, 2000)),
        ({"thinking": {"type": "disabled"}}, Thinking("none")),
        ({"thinking": {"type": "adaptive"}}, Thinking("auto")),
        ({"thinking": {"type": "adaptive", "display": "summarized"}, "reasoning_effort": "max"}, Thinking("max", None, True)),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Thinking("auto", None, False)),
        ({"thinking": {"type": "enabled"}, "reasoning_effort": "high"}, Thinking("high")),
    ],
)
def test_how_much_to_think_may_be_said_in_every_way(fields: Any, noun: Thinking | None) -> None:
    assert ask(**fields).thinking == noun


def test_what_has_no_noun_stays_raw_and_what_is_the_gateways_stays_here() -> None:
    ours = {"models": ["a"], "provider": {}, "route": "r", "session_id": "s", "store": True, "metadata": {}}
    said = ask(verbosity="low", made_up=[1], nothing=None, stream_options={"include_usage": True}, **ours)
    assert {name: json.loads(bytes(raw)) for name, raw in said.extra.items()} == {
        "verbosity": "low",
        "made_up": [1],
        "stream_options": {"include_usage": True},
    }


BAD = [
    ({"messages": [{"role": "wizard", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [{"content": "x"}]}, "missing_parameter", "messages[0].role"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": [HI, {"role": "user"}]}, "missing_parameter", "messages[1].content"),
    ({"messages": [HI, {"role": "user", "content": []}]}, "invalid_value", "messages[1].content"),
    ({"messages": [HI, {"role": "user", "content": 5}]}, "invalid_type", "messages[1].content"),
    ({"messages": [{"role": "assistant"}]}, "missing_parameter", "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "missing_parameter", "messages[0].tool_call_id"),
    ({"messages": [{"role": "tool", "tool_call_id": "c"}]}, "missing_parameter", "messages[0].content"),
    ({"messages": [{"role": "function", "content": "x"}]}, "missing_parameter", "messages[0].name"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "invalid_value", "messages[0].name"),
    ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "unsupported_parameter", "messages[0].audio"),
    ({"messages": [user({"type": "hologram"})]}, "invalid_value", "messages[0].content[0].type"),
    ({"messages": [user({"text": "x"})]}, "missing_parameter", "messages[0].content[0].type"),
    ({"messages": [user({"type": "refusal", "refusal": "x"})]}, "invalid_value", "messages[0].content[0].type"),
    ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": PNG}}]}]}, "invalid_value", None),
    ({"messages": [user({"type": "text"})]}, "missing_parameter", "messages[0].content[0].text"),
    ({"messages": [HI, HI, user({"type": "image_url", "image_url": {"url": "x"}})]}, "invalid_value", "messages[2].content[0].image_url"),
    ({"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png;base64,%"}})]}, "invalid_value", None),
    ({"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png;base64,é"}})]}, "invalid_value", None),
    ({"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png,xx"}})]}, "invalid_value", None),
    ({"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}})]}, "invalid_value", None),
    ({"messages": [user({"type": "image_url", "image_url": {"url": "data:text/plain;base64,AAAA"}})]}, "invalid_value", None),
    ({"messages": [user({"type": "image_url", "image_url": "https://e.com"})]}, "invalid_type", "messages[0].content[0].image_url"),
    ({"messages": [user({"type": "file", "file": {}})]}, "missing_parameter", "messages[0].content[0].file.file_data"),
    (
        {"messages": [user({"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}})]},
        "invalid_value",
        "messages[0].content[0].input_audio.data",
    ),
    ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "missing_parameter", None),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, "missing_parameter", "messages[0].tool_calls[0].function"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]}]},
        "unsupported_parameter",
        "messages[0].tool_calls[0].type",
    ),
    ({"tools": [TOOL, {"type": "function"}]}, "missing_parameter", "tools[1].function"),
    ({"tools": [{"type": "function", "function": {"name": ""}}]}, "invalid_value", "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "invalid_type", "tools[0].function.parameters"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "invalid_value", "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "missing_parameter", "tool_choice.function"),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    (
        {
            "tools": [TOOL],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{**TOOL, "function": {"name": "g"}}]}},
        },
        "invalid_value",
        "tool_choice",
    ),
    ({"tools": [TOOL], "tool_choice": {"type": "custom"}}, "unsupported_parameter", "tool_choice"),
    ({"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "missing_parameter", "response_format.json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "missing_parameter", "response_format.json_schema.name"),
    ({"reasoning_effort": "colossal"}, "invalid_value", "reasoning_effort"),
    ({"temperature": "hot"}, "invalid_type", "temperature"),
    ({"n": 0}, "invalid_value", "n"),
    ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    ({"stop": 1}, "invalid_type", "stop"),
]


@pytest.mark.parametrize(("fields", "kind", "param"), BAD)
def test_what_is_wrong_is_named(fields: dict[str, Any], kind: str, param: str | None) -> None:
    with pytest.raises(Fault) as caught:
        read(json.dumps({"model": "m", "messages": [HI], **fields}).encode())
    assert (caught.value.kind, caught.value.status) == (kind, 400)
    named = caught.value.param
    assert named is not None
    assert named == param or (param is None and named.startswith("messages[0]."))
    assert named.rpartition(".")[2] in caught.value.message


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"m","messages":"\xff"}', b"[" * 100_000])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        read(body)
    assert caught.value.status == 400


def test_a_tool_without_a_schema_takes_nothing() -> None:
    assert ask(tools=[{"type": "function", "function": {"name": "f"}}]).tools == (Tool("f"),)
