"""Conversations as calls of Cohere's chat, and texts as calls for vectors."""

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from shoal.core.conversation import (
    Conversation,
    File,
    Format,
    Image,
    Message,
    Reasoning,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from shoal.core.embedding import EmbeddingRequest
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Capabilities, Deployment
from shoal.core.usage import Usage
from shoal.wire.cohere.dialect import EMBEDDINGS, UPSTREAM

HELLO = (Message("user", (Text("Hello"),)),)
DEPLOYMENT = Deployment("d", "m", "cohere", "command-a-03-2025")


def call(deployment: Deployment = DEPLOYMENT, **members: Any) -> HttpCall:
    return UPSTREAM.encode(Conversation(model="m", **({"messages": HELLO} | members)), deployment)


def body(**members: Any) -> Any:
    return json.loads(call(**members).body)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_the_least_call() -> None:
    said = call()
    assert (said.path, said.dropped) == ("/v2/chat", ())
    assert json.loads(said.body) == {"model": "command-a-03-2025", "messages": [{"role": "user", "content": "Hello"}], "stream": False}
    assert body(stream=True)["stream"] is True


def test_a_conversation_with_tools() -> None:
    messages = (
        Message("system", (Text("A"),)),
        Message("user", (Text("1"), Text("2"))),
        Message(
            "assistant",
            (Reasoning("I will look.", origin="cohere", id="tool_plan"), ToolCall("t1", "f", '{"x":1}'), ToolCall("t2", "g", "")),
        ),
        Message("tool", (ToolResult("t1", (Text("one"),)), ToolResult("t2", (Text("a"), File(text="b", name="B"))))),
        Message("assistant", (Reasoning("hm", origin="cohere"), Text("so"))),
        Message("developer", (Text("B"),)),
        Message("user", (Text("3"),)),
    )
    said = call(messages=messages)
    assert said.dropped == ()
    assert json.loads(said.body)["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
        {"role": "user", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
            "tool_plan": "I will look.",
        },
        {"role": "tool", "tool_call_id": "t1", "content": "one"},
        {
            "role": "tool",
            "tool_call_id": "t2",
            "content": [{"type": "text", "text": "a"}, {"type": "document", "document": {"id": "B", "data": {"text": "b", "title": "B"}}}],
        },
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "so"}]},
        {"role": "user", "content": "3"},
    ]


@pytest.mark.parametrize(
    ("parts", "plan", "dropped"),
    [
        ((Reasoning("x"), ToolCall("t", "f")), "x", ()),
        ((Reasoning("x"), Text("y")), None, ("reasoning_content",)),
        ((Reasoning("x", "SIG", origin="anthropic"), ToolCall("t", "f")), None, ("reasoning_content",)),
    ],
)
def test_thought_that_is_not_coheres_is_a_plan_or_nothing(parts: Any, plan: str | None, dropped: tuple[str, ...]) -> None:
    said = call(messages=(Message("assistant", parts),))
    assert json.loads(said.body)["messages"][0].get("tool_plan") == plan
    assert said.dropped == dropped


def test_pictures_and_texts_as_documents() -> None:
    parts = (
        Text("see"),
        Image(data="AAAA", media_type="image/jpeg", detail="low"),
        Image(url="https://a.example/a.png"),
        File(text="words", name="a.txt"),
        File(data=b64encode("é".encode()).decode(), media_type="text/plain"),
    )
    said = body(messages=(Message("user", parts),), extra={"documents": raw(["first"])})
    assert said["messages"][0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a.example/a.png"}},
    ]
    assert said["documents"] == ["first", {"id": "a.txt", "data": {"text": "words", "title": "a.txt"}}, {"data": {"text": "é"}}]


@pytest.mark.parametrize(
    ("messages", "kind"),
    [
        ((Message("user", (File(data="AAAA", media_type="application/pdf"),)),), "unsupported_parameter"),
        ((Message("user", (File(id="f"),)),), "unsupported_parameter"),
        ((Message("user", (File(data="/w==", media_type="text/plain"),)),), "invalid_value"),
        ((Message("tool", (ToolResult("t", (Image(data="AAAA"),)),)),), "unsupported_parameter"),
    ],
)
def test_other_files_are_refused(messages: Any, kind: str) -> None:
    with pytest.raises(Fault) as caught:
        call(messages=messages)
    assert (caught.value.kind, caught.value.param) == (kind, "messages")


def test_tools_their_choice_and_their_strictness() -> None:
    tools = (Tool("f", "does", raw({"type": "object"}), strict=True), Tool("g", strict=True))
    said = body(tools=tools)
    assert said["tools"] == [
        {"type": "function", "function": {"name": "f", "description": "does", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert said["strict_tools"] is True
    assert "tool_choice" not in said
    assert call(tools=(tools[0], Tool("h"))).dropped == ("tools.strict",)
    assert "tool_choice" not in body(tools=tools, tool_choice=ToolChoice("auto"))
    assert body(tools=tools, tool_choice=ToolChoice("required"))["tool_choice"] == "REQUIRED"
    assert body(tools=tools, tool_choice=ToolChoice("none"))["tool_choice"] == "NONE"


def test_a_named_tool_is_the_only_one_and_required() -> None:
    said = body(tools=(Tool("f"), Tool("g")), tool_choice=ToolChoice("named", "g"))
    assert ([tool["function"]["name"] for tool in said["tools"]], said["tool_choice"]) == (["g"], "REQUIRED")
    with pytest.raises(Fault) as caught:
        call(tools=(Tool("f"),), tool_choice=ToolChoice("named", "g"))
    assert caught.value.param == "tool_choice"


def test_sampling_format_and_coheres_own_members() -> None:
    sampling = Sampling(temperature=0.5, top_p=1.0, top_k=5, presence_penalty=0.1, frequency_penalty=0.2, seed=7, stop=("E",))
    said = body(
        sampling=sampling, max_tokens=9, format=Format(raw({"type": "object"})), extra={"safety_mode": raw("STRICT"), "priority": raw(3)}
    )
    del said["model"], said["messages"], said["stream"]
    assert said == {
        "max_tokens": 9, "temperature": 0.5, "p": 0.99, "k": 5, "presence_penalty": 0.1, "frequency_penalty": 0.2, "seed": 7,
        "stop_sequences": ["E"], "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
        "safety_mode": "STRICT", "priority": 3,
    }  # fmt: skip
    assert body(format=Format())["response_format"] == {"type": "json_object"}
    assert body(sampling=Sampling(top_p=0.0))["p"] == 0.01


@pytest.mark.parametrize(
    ("thinking", "said"),
    [
        (Thinking("none"), {"type": "disabled"}),
        (Thinking("low"), {"type": "enabled", "token_budget": 2048}),
        (Thinking("high"), {"type": "enabled"}),
        (Thinking(budget=300), {"type": "enabled", "token_budget": 300}),
        (Thinking(shown=True), {"type": "enabled"}),
        (Thinking(), None),
    ],
)
def test_how_much_to_think(thinking: Thinking, said: Any) -> None:
    assert body(thinking=thinking).get("thinking") == said


def test_a_model_that_does_not_think_is_not_told_to() -> None:
    plain = Deployment("d", "m", "cohere", "command-r", capabilities=Capabilities(reasoning=False))
    assert call(plain, thinking=Thinking("high")).dropped == ("reasoning_effort",)
    assert call(plain, thinking=Thinking(budget=300)).dropped == ("thinking",)


def test_what_has_no_word_is_listed() -> None:
    messages = (Message("user", (Text("x", cache="5m"),), name="n"), Message("tool", (ToolResult("t", (Text("x"),), is_error=True),)))
    said = call(
        messages=messages, sampling=Sampling(n=2, logprobs=True), user="u", parallel_tools=False, service_tier="flex",
        extra={"verbosity": raw("low")}, tools=(Tool("f"),),
    )  # fmt: skip
    assert said.dropped == (
        "cache_control",
        "is_error",
        "logprobs",
        "n",
        "name",
        "parallel_tool_calls",
        "service_tier",
        "user",
        "verbosity",
    )


@pytest.mark.parametrize(
    ("name", "sampling"), [("logit_bias", Sampling(logit_bias={"1": 1.0})), ("top_logprobs", Sampling(top_logprobs=1))]
)
def test_what_must_not_be_left_out_is_refused(name: str, sampling: Sampling) -> None:
    with pytest.raises(Fault) as caught:
        call(sampling=sampling)
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", name)


EMBED = Deployment("d", "m", "cohere", "embed-v4.0")


def test_vectors_are_asked_for_96_texts_at_a_time() -> None:
    extra = {"input_type": raw("search_query"), "other": raw(1)}
    request = EmbeddingRequest(model="e", inputs=tuple(map(str, range(97))), dimensions=256, user="u", extra=extra)
    first, second = EMBEDDINGS.encode(request, EMBED)
    assert (first.path, first.dropped, len(json.loads(first.body)["texts"])) == ("/v2/embed", ("other", "user"), 96)
    assert json.loads(second.body) == {
        "model": "embed-v4.0", "input_type": "search_query", "embedding_types": ["float"], "output_dimension": 256, "texts": ["96"],
    }  # fmt: skip
    assert json.loads(EMBEDDINGS.encode(EmbeddingRequest(model="e", inputs=("a",)), EMBED)[0].body)["input_type"] == "search_document"


def test_vectors_come_together_with_what_they_cost() -> None:
    one = {"id": "x", "embeddings": {"float": [[1, 0.5]]}, "texts": ["a"], "meta": {"billed_units": {"input_tokens": 3}}}
    answer = EMBEDDINGS.answer([json.dumps(one).encode()] * 2, EmbeddingRequest(model="e", inputs=("a", "b")))
    assert (answer.vectors, answer.usage) == (((1.0, 0.5), (1.0, 0.5)), Usage(input=6))


@pytest.mark.parametrize("bad", [b"{}", b"[]", b'{"embeddings":{"float":[]}}', b'{"embeddings":{"int8":[[1]]}}'])
def test_too_few_vectors_are_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        EMBEDDINGS.answer([bad], EmbeddingRequest(model="e", inputs=("a",)))
    assert caught.value.kind == "upstream_garbled"
