"""Requests, both ways: every item a caller may send, every noun an upstream is told, and what is wrong named by its place."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from shoal.core.models import Capabilities, Deployment
from shoal.wire.openai_responses import requests

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
THINKER = Deployment("d", "gpt-5", "openai", "gpt-5-mini", dialect="openai_responses")
ANSWERER = Deployment("d", "gpt-4o", "openai", "gpt-4o", dialect="openai_responses")


def read(**members: Any) -> Conversation:
    return requests.read(json.dumps({"model": "m", "input": "hi", **members}).encode())


def ask(*messages: Message, **members: Any) -> Conversation:
    return Conversation(model="m", messages=messages or (Message("user", (Text("hi"),)),), **members)


def sent(conversation: Conversation, deployment: Deployment = ANSWERER) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(requests.write(conversation, deployment).body)
    return found


def test_a_text_is_a_message_of_the_user_after_the_instructions() -> None:
    assert read(instructions="Be kind.").messages == (Message("system", (Text("Be kind."),)), Message("user", (Text("hi"),)))


def test_items_become_messages() -> None:
    items = [
        {"role": "developer", "content": "d"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "gAAA"},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
            {"type": "output_text", "text": "a", "annotations": [{"type": "url_citation", "url": "https://a.example"}], "logprobs": []},
            {"type": "refusal", "refusal": "no"},
        ]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"x":1}', "status": "completed"},
        {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "r1"},
        {"type": "function_call_output", "call_id": "c2", "output": [
            {"type": "input_text", "text": "r2"}, {"type": "input_image", "image_url": "https://b.example/i.png", "detail": "low"},
        ]},
        {"role": "user", "content": "u2"},
        {"role": "user", "content": "u3"},
    ]  # fmt: skip
    found = read(input=items).messages
    assert [message.role for message in found] == ["developer", "user", "assistant", "tool", "user", "user"]
    thought, text, refusal, first, second = found[2].parts
    assert thought == Reasoning("t", redacted="gAAA", origin="openai_responses", id="rs_1")
    assert isinstance(text, Text) and (text.text, text.citations[0].url) == ("a", "https://a.example")
    assert (refusal, first, second) == (Refusal("no"), ToolCall("c1", "f", '{"x":1}'), ToolCall("c2", "g", "{}"))
    image = Image(url="https://b.example/i.png", detail="low")
    assert found[3].parts == (ToolResult("c1", (Text("r1"),)), ToolResult("c2", (Text("r2"), image)))


def test_pictures_and_files() -> None:
    content = [
        {"type": "input_image", "image_url": "data:image/webp;base64,AAAA", "detail": "high"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "filename": "a.csv", "file_data": "AAAA"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,BBBB"},
        {"type": "input_file", "file_url": "https://a.example/a.pdf"},
        {"type": "input_file", "file_id": "file_2"},
        {"type": "input_audio", "input_audio": {"data": "CCCC", "format": "wav"}},
        {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]
    (message,) = read(input=[{"role": "user", "content": content}]).messages
    assert message.parts == (
        Image(data="AAAA", media_type="image/webp", detail="high"),
        File(id="file_1"),
        File(data="AAAA", media_type="text/csv", name="a.csv"),
        File(data="BBBB", media_type="application/pdf", name="a.pdf"),
        File(url="https://a.example/a.pdf"),
        File(id="file_2"),
        File(data="CCCC", media_type="audio/wav"),
        Text("x", cache="5m"),
    )


def test_every_option_has_its_noun() -> None:
    found = read(
        tools=[FUNCTION],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        max_output_tokens=50,
        temperature=0.3,
        top_p=0.9,
        top_logprobs=2,
        include=["message.output_text.logprobs"],
        user="u",
        service_tier="flex",
        stream=True,
        store=False,
        metadata={"a": "b"},
        truncation="auto",
        prompt_cache_key="k",
        models=["x"],
        x_new=[1],
    )
    (tool,) = found.tools
    assert (tool.name, tool.description, tool.strict, json.loads(bytes(tool.parameters or b""))) == ("f", "d", True, {"type": "object"})
    assert (found.tool_choice, found.parallel_tools) == (ToolChoice("named", "f"), False)
    assert found.format is not None and (found.format.name, found.format.strict) == ("n", True)
    assert found.sampling == Sampling(temperature=0.3, top_p=0.9, logprobs=True, top_logprobs=2)
    assert found.thinking == Thinking("high", shown=True)
    assert (found.max_tokens, found.user, found.service_tier, found.stream) == (50, "u", "flex", True)
    assert {name: json.loads(bytes(raw)) for name, raw in found.extra.items()} == {
        "verbosity": "low",
        "truncation": "auto",
        "prompt_cache_key": "k",
        "x_new": [1],
    }
    assert json.loads(bytes(found.echo["metadata"])) == {"a": "b"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(None, None), ({}, None), ({"format": {"type": "text"}}, None), ({"format": {"type": "json_object"}}, Format())],
)
def test_formats(text: Any, wanted: Format | None) -> None:
    assert read(text=text).format == wanted


@pytest.mark.parametrize("word", ["auto", "none", "required"])
def test_choices(word: Any) -> None:
    assert read(tools=[FUNCTION], tool_choice=word).tool_choice == ToolChoice(word)


def test_allowed_tools_are_the_tools() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    found = read(tools=[FUNCTION, FUNCTION | {"name": "g"}], tool_choice=allowed)
    assert ([tool.name for tool in found.tools], found.tool_choice) == (["g"], ToolChoice("required"))


PICTURE = {"type": "input_image", "image_url": "data:x"}
WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"model": 7}, "invalid_type", "model"),
    ({"input": None}, "missing_parameter", "input"),
    ({"input": []}, "invalid_value", "input"),
    ({"input": [7]}, "invalid_type", "input[0]"),
    ({"input": [{"role": "robot", "content": "x"}]}, "invalid_value", "input[0].role"),
    ({"input": [{"type": "message", "content": "x"}]}, "missing_parameter", "input[0].role"),
    ({"input": [{"role": "user"}]}, "missing_parameter", "input[0].content"),
    ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "missing_parameter", "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, "invalid_value", "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 7}]}]}, "invalid_type", "input[0].content[0].text"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "missing_parameter", "input[0].content[0].image_url"),
    ({"input": [{"role": "user", "content": [PICTURE]}]}, "invalid_value", "input[0].content[0].image_url"),
    ({"input": [{"type": "function_call", "name": "f"}]}, "missing_parameter", "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "missing_parameter", "input[0].call_id"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "unsupported_parameter", "input[0]"),
    ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "unsupported_parameter", "input[0].type"),
    ({"input": [{"type": "nonsense"}]}, "invalid_value", "input[0].type"),
    ({"tools": [FUNCTION, {"type": "web_search"}]}, "unsupported_parameter", "tools[1].type"),
    ({"tools": [{"type": "custom", "name": "x"}]}, "unsupported_parameter", "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "missing_parameter", "tools[0].name"),
    ({"tool_choice": "maybe"}, "invalid_value", "tool_choice"),
    ({"tool_choice": {"type": "function", "name": "g"}, "tools": [FUNCTION]}, "invalid_value", "tool_choice.name"),
    ({"tool_choice": {"type": "file_search"}}, "unsupported_parameter", "tool_choice.type"),
    ({"text": {"format": {"type": "xml"}}}, "invalid_value", "text.format.type"),
    ({"text": {"format": {"type": "json_schema"}}}, "missing_parameter", "text.format.schema"),
    ({"temperature": "hot"}, "invalid_type", "temperature"),
    ({"metadata": {"a": 7}}, "invalid_type", "metadata"),
    ({"background": True}, "unsupported_parameter", "background"),
    ({"conversation": "conv_1"}, "unsupported_parameter", "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "unsupported_parameter", "prompt"),
]  # fmt: skip


@pytest.mark.parametrize(("members", "kind", "param"), WRONG)
def test_what_is_wrong_is_named(members: dict[str, Any], kind: str, param: str) -> None:
    with pytest.raises(Fault) as caught:
        read(**members)
    assert (caught.value.kind, caught.value.param) == (kind, param)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"m","input":"\xff"}', b'{"model":"m","input":' + b"[" * 9000])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        requests.read(body)
    assert caught.value.kind in ("invalid_json", "invalid_type")


KINDS = ["message", "function_call", "function_call_output", "input_text", "user", "assistant", "reasoning", "json_schema"]
NAMES = ["type", "role", "content", "text", "input", "id", "call_id", "name", "output", "summary", "tools", "format"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["input", "tools", "tool_choice", "text", "reasoning", "include", "instructions"]), JSON))
def test_a_body_is_read_or_refused_with_a_reason(members: dict[str, Any]) -> None:
    try:
        found = read(**members)
    except Fault as fault:
        assert fault.status == 400
    else:
        assert isinstance(found, Conversation)


def test_a_conversation_is_asked() -> None:
    said = ask(
        Message("system", (Text("s"),)),
        Message("developer", (Text("d"),)),
        Message("user", (Text("u"), Image(data="AAAA", media_type="image/png"), File(data="BBBB", media_type="application/pdf"))),
        Message("assistant", (Reasoning("t", redacted="gAAA", origin="openai_responses", id="rs_1"), ToolCall("c", "f", "{}"))),
        Message("tool", (ToolResult("c", (Text("r"),)), ToolResult("c2", (Image(url="https://a.example/i.png"),)))),
        Message("assistant", (Text("a"),)),
        Message("user", (Text("b"),)),
    )
    found = sent(said, THINKER)
    assert found["input"] == [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "u"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
                {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,BBBB"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "gAAA"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_image", "image_url": "https://a.example/i.png", "detail": "auto"}],
        },
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "b"},
    ]
    assert (found["model"], found["store"], found["include"]) == ("gpt-5-mini", False, ["reasoning.encrypted_content"])
    assert requests.write(said, THINKER).path == "/responses"


def test_thought_goes_back_only_to_who_can_read_it_and_only_with_what_it_led_to() -> None:
    own = Reasoning("t", redacted="gAAA", origin="openai_responses", id="rs_1")
    hers = Reasoning("t", signature="sig", origin="anthropic")
    plain = Reasoning("t", origin="openai_responses", id="rs_2")
    apart = (Reasoning("t", id="rs_1"), Reasoning(redacted="gAAA", origin="openai_responses", id="rs_1"))
    item = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "gAAA"}
    answer = {"role": "assistant", "content": "a"}
    for thoughts, wanted in (((own,), [item, answer]), ((hers,), [answer]), ((plain,), [answer]), (apart, [item, answer])):
        assert sent(ask(Message("assistant", (*thoughts, Text("a")))))["input"] == wanted
    assert sent(ask(Message("assistant", (Text("a"), own))))["input"] == [answer]


def test_options_are_said_in_this_dialects_words() -> None:
    schema = msgspec.Raw(b'{"type":"object"}')
    found = sent(
        ask(
            tools=(Tool("f", "d", schema), Tool("g", strict=True)),
            tool_choice=ToolChoice("named", "f"),
            parallel_tools=True,
            format=Format(schema, "n", strict=True),
            sampling=Sampling(temperature=0, top_p=1, logprobs=True, top_logprobs=3),
            thinking=Thinking("low", shown=True),
            max_tokens=9,
            stream=True,
            user="u",
            service_tier="flex",
            extra={"verbosity": msgspec.Raw(b'"low"'), "prompt_cache_key": msgspec.Raw(b'"k"')},
        )
    )
    assert found == {
        "model": "gpt-4o",
        "input": [{"role": "user", "content": "hi"}],
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": False},
            {"type": "function", "name": "g", "parameters": {"type": "object", "properties": {}}, "strict": True},
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": True,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 9,
        "temperature": 0,
        "top_p": 1,
        "top_logprobs": 3,
        "user": "u",
        "service_tier": "flex",
        "include": ["message.output_text.logprobs"],
        "prompt_cache_key": "k",
        "store": False,
        "stream": True,
    }


@pytest.mark.parametrize(("budget", "effort"), [(0, "none"), (1024, "low"), (8192, "medium"), (24_576, "high")])
def test_a_budget_of_thought_is_an_effort(budget: int, effort: str) -> None:
    assert sent(ask(thinking=Thinking(budget=budget)))["reasoning"] == {"effort": effort}


def test_what_cannot_be_said_is_listed() -> None:
    said = ask(
        Message("user", (Text("hi", cache="5m"),), name="ann"),
        sampling=Sampling(stop=("x",), seed=7, presence_penalty=0, frequency_penalty=1, top_k=3, n=2),
        extra={"metadata": msgspec.Raw(b"{}"), "store": msgspec.Raw(b"true"), "modalities": msgspec.Raw(b"[]")},
    )
    dropped = {"top_k", "presence_penalty", "frequency_penalty", "seed", "stop", "n", "name", "cache_control", "modalities"}
    call = requests.write(said, ANSWERER)
    assert set(call.dropped) == dropped
    assert set(json.loads(call.body)) == {"model", "input", "store"}
    assert requests.write(ask(sampling=Sampling(n=1)), ANSWERER).dropped == ()


@pytest.mark.parametrize(
    ("conversation", "param"),
    [
        (ask(sampling=Sampling(logit_bias={"1": 2})), "logit_bias"),
        (ask(Message("user", (File(data="A", media_type="audio/wav"),))), "messages[0].content"),
        (ask(Message("user", (Text("x"),)), Message("assistant", (Image(data="A"),))), "messages[1].content"),
    ],
)
def test_what_must_not_be_left_out_is_refused(conversation: Conversation, param: str) -> None:
    with pytest.raises(Fault) as caught:
        requests.write(conversation, ANSWERER)
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", param)


@pytest.mark.parametrize(
    ("model", "reasoning", "asked"),
    [
        ("gpt-5.2", None, True),
        ("o4-mini", None, True),
        ("grok-4", None, True),
        ("gpt-4o", None, False),
        ("gpt-5-chat-latest", None, False),
        ("some-deployment", None, False),
        ("some-deployment", True, False),
        ("openai/gpt-oss-120b", True, False),
        ("o3", False, False),
    ],
)
def test_only_who_encrypts_thoughts_is_asked_for_them(model: str, reasoning: bool | None, asked: bool) -> None:
    deployment = Deployment("d", model, "openai", model, capabilities=Capabilities(reasoning=reasoning))
    assert ("include" in sent(ask(), deployment)) == asked


def test_what_is_asked_can_be_read_again() -> None:
    said = ask(
        Message("developer", (Text("d"),)),
        Message("user", (Text("u"), Image(data="AAAA", media_type="image/png", detail="auto"))),
        Message("assistant", (Reasoning("t", redacted="g", origin="openai_responses", id="rs_1"), Text("a"), ToolCall("c", "f", "{}"))),
        Message("tool", (ToolResult("c", (Text("r"),)),)),
        tool_choice=ToolChoice("auto"),
    )
    assert requests.read(requests.write(said, ANSWERER).body).messages == said.messages
