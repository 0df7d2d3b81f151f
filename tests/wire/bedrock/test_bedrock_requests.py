"""Conversations as calls of Converse."""

import json
from base64 import b64encode
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
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire.bedrock.dialect import UPSTREAM
from shoal.wire.bedrock.names import Titles, tool_name, use_id

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "us.amazon.nova-micro-v1:0"
LLAMA = "meta.llama3-70b-instruct-v1:0"
HELLO = (Message("user", (Text("Hello"),)),)


def call(model: str = CLAUDE, **members: Any) -> HttpCall:
    conversation = Conversation(model="m", **({"messages": HELLO} | members))
    return UPSTREAM.encode(conversation, Deployment("d", "m", "bedrock", model))


def body(model: str = CLAUDE, **members: Any) -> Any:
    return json.loads(call(model, **members).body)


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_the_least_call() -> None:
    said = call()
    assert said.path == "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse"
    assert json.loads(said.body) == {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    assert said.dropped == ()


def test_a_stream_and_an_arn_have_their_own_path() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0"
    assert call(arn, stream=True).path == (
        "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0/converse-stream"
    )


def test_system_is_apart_and_turns_alternate() -> None:
    messages = (
        Message("system", (Text("A"),)),
        Message("user", (Text("1"),)),
        Message("user", (Text(""), Text("2"))),
        Message("assistant", (Refusal("no"), ToolCall("t1", "f", '{"x": 1}'), ToolCall("t2", "g"))),
        Message("tool", (ToolResult("t1", (Text("one"),)),)),
        Message("tool", (ToolResult("t2", (), is_error=True),)),
        Message("developer", (Text("B"),)),
        Message("user", (Text("3"),)),
    )
    said = body(messages=messages)
    assert said["system"] == [{"text": "A"}, {"text": "B"}]
    assert said["messages"] == [
        {"role": "user", "content": [{"text": "1"}, {"text": "2"}]},
        {
            "role": "assistant",
            "content": [
                {"text": "no"},
                {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}},
                {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t1", "content": [{"text": "one"}], "status": "success"}},
                {"toolResult": {"toolUseId": "t2", "content": [{"text": ""}], "status": "error"}},
                {"text": "3"},
            ],
        },
    ]


@pytest.mark.parametrize("model", [CLAUDE, NOVA, LLAMA, "mistral.pixtral-large-2502-v1:0", "zai.glm-4.7"])
def test_every_model_is_told_whether_a_tool_failed(model: str) -> None:
    results = (ToolResult("t", (Text("x"),), is_error=True), ToolResult("u", (Text("y"),)))
    said = call(model, messages=(*HELLO, Message("assistant", (ToolCall("t", "f"), ToolCall("u", "f"))), Message("tool", results)))
    assert json.loads(said.body)["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "t", "content": [{"text": "x"}], "status": "error"}},
        {"toolResult": {"toolUseId": "u", "content": [{"text": "y"}], "status": "success"}},
    ]
    assert said.dropped == ()


RESULT = {"toolResult": {"toolUseId": "t", "content": [{"text": "ok"}], "status": "success"}}
NOTHING = {"role": "assistant", "content": [{"text": "."}]}
WORDS, PICTURE = {"text": "and?"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}
PAPER = {"document": {"name": "d", "format": "txt", "source": {"bytes": b64encode(b"w").decode()}}}


@pytest.mark.parametrize(
    ("model", "apart"),
    [(CLAUDE, (PAPER,)), (NOVA, ()), ("zai.glm-4.7", ()), (LLAMA, (WORDS, PICTURE, PAPER)), ("mistral.pixtral-large-2502-v1:0", (WORDS,))],
)
def test_what_may_stand_beside_a_result(model: str, apart: tuple[Any, ...]) -> None:
    used = (*HELLO, Message("assistant", (ToolCall("t", "f"),)), Message("tool", (ToolResult("t", (Text("ok"),)),)))
    for part, block in (
        (Text("and?"), WORDS), (Image(data="AAAA", media_type="image/png"), PICTURE), (File(text="w", name="d"), PAPER),
    ):  # fmt: skip
        *_, last = said = body(model, messages=(*used, Message("user", (part,))))["messages"]
        if block in apart:
            assert said[2:] == [{"role": "user", "content": [RESULT]}, NOTHING, {"role": "user", "content": [block]}]
        elif model != "mistral.pixtral-large-2502-v1:0":
            assert last == {"role": "user", "content": [RESULT, block]}


@pytest.mark.parametrize(
    ("model", "held"),
    [(CLAUDE, ["image", "document"]), (NOVA, ["image"]), ("mistral.pixtral-large-2502-v1:0", ["document"]), ("qwen.qwen3-vl-v1:0", [])],
)
def test_what_results_may_not_hold_comes_after_them(model: str, held: list[str]) -> None:
    parts = (Image(data="AAAA", media_type="image/png"), File(text="w", name="d"))
    used = (*HELLO, Message("assistant", (ToolCall("t", "f"),)), Message("tool", (ToolResult("t", parts),)))
    turns = body(model, messages=(*used, Message("user", (Text("and?"),))))["messages"]
    result = turns[2]["content"][0]["toolResult"]["content"]
    assert [next(iter(block)) for block in result] == (held or ["text"])
    blocks = [block for turn in turns[2:] if turn != NOTHING for block in turn["content"][turn is turns[2] :]]
    rest = [block for block in (PICTURE, PAPER) if next(iter(block)) not in held]
    assert blocks == [*([{"text": "What the tool call t returned:"}] if rest else []), *rest, WORDS]


def test_a_writer_is_not_told_that_a_tool_failed() -> None:
    result = ToolResult("t", (Text("x"),), is_error=True)
    said = call("us.writer.palmyra-x4-v1:0", messages=(*HELLO, Message("assistant", (ToolCall("t", "f"),)), Message("tool", (result,))))
    assert json.loads(said.body)["messages"][2]["content"] == [{"toolResult": {"toolUseId": "t", "content": [{"text": "x"}]}}]
    assert said.dropped == ("is_error",)


def test_somebody_begins() -> None:
    begun = (Message("assistant", (Text("Hi"),)), *HELLO)
    dot = {"role": "user", "content": [{"text": "."}]}
    assert body(NOVA, messages=begun)["messages"][0] == dot
    assert body(CLAUDE, messages=begun)["messages"][0]["role"] == "assistant"
    assert body(CLAUDE, messages=(Message("system", (Text("S"),)),)) == {"system": [{"text": "S"}], "messages": [dot]}


@pytest.mark.parametrize("arguments", ["[1]", "{", "3", '{"a":1}x'])
def test_arguments_must_be_an_object(arguments: str) -> None:
    with pytest.raises(Fault) as caught:
        call(messages=(Message("assistant", (ToolCall("t", "f", arguments),)),))
    assert (caught.value.kind, caught.value.param) == ("invalid_value", "messages")


def test_pictures_and_files_in_their_formats() -> None:
    parts = (
        Image(data="AAAA", media_type="image/jpeg"),
        Image(url="s3://bucket/a.png"),
        File(data="BBBB", media_type="application/pdf", name="Report (1): final.pdf"),
        File(text="words", name="report"),
        File(data="CCCC", media_type="audio/wav"),
        File(data="DDDD", name="film.mov"),
        File(url="s3://bucket/x.docx", name="Report (1) final.docx"),
        File(data="EEEE", media_type="text/x-python; charset=utf-8"),
    )
    assert body(messages=(Message("user", parts),))["messages"][0]["content"] == [
        {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}},
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}},
        {"document": {"name": "Report (1) final", "format": "pdf", "source": {"bytes": "BBBB"}}},
        {"document": {"name": "report", "format": "txt", "source": {"bytes": b64encode(b"words").decode()}}},
        {"audio": {"format": "wav", "source": {"bytes": "CCCC"}}},
        {"video": {"format": "mov", "source": {"bytes": "DDDD"}}},
        {"document": {"name": "Report (1) final 3", "format": "docx", "source": {"s3Location": {"uri": "s3://bucket/x.docx"}}}},
        {"document": {"name": "Document 4", "format": "txt", "source": {"bytes": "EEEE"}}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        Image(url="https://a.example/a.png"),
        Image(data="AAAA", media_type="image/tiff"),
        Image(data="AAAA"),
        File(id="file-1"),
        File(data="AAAA", media_type="application/zip"),
        File(url="https://a.example/a.pdf", media_type="application/pdf"),
        File(data="AAAA"),
    ],
)
def test_what_bedrock_does_not_take_is_refused(part: Image | File) -> None:
    with pytest.raises(Fault) as caught:
        call(messages=(Message("user", (part,)),))
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", "messages")


def test_results_hold_pictures_and_documents_but_no_sound() -> None:
    result = ToolResult("t", (Image(data="AAAA", media_type="image/png"), File(text="x", name="a.md", media_type="text/markdown")))
    (block,) = body(messages=(Message("tool", (result,)),))["messages"][0]["content"]
    assert [list(part) for part in block["toolResult"]["content"]] == [["image"], ["document"]]
    with pytest.raises(Fault, match="audio"):
        call(messages=(Message("tool", (ToolResult("t", (File(data="A", media_type="audio/mpeg"),)),)),))


def test_cache_points_stand_after_what_they_close() -> None:
    said = body(
        messages=(Message("system", (Text("S", cache="5m"),)), Message("user", (Text("U", cache="1h"),))),
        tools=(Tool("f", cache="5m"), Tool("g")),
    )
    point = {"cachePoint": {"type": "default"}}
    assert said["system"] == [{"text": "S"}, point]
    assert said["messages"][0]["content"] == [{"text": "U"}, {"cachePoint": {"type": "default", "ttl": "1h"}}]
    assert [list(tool) for tool in said["toolConfig"]["tools"]] == [["toolSpec"], ["cachePoint"], ["toolSpec"]]
    dropped = call(LLAMA, messages=(Message("user", (Text("U", cache="1h"),)),))
    assert dropped.dropped == ("cache_control",)
    assert b"cachePoint" not in dropped.body


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, None),
        (ToolChoice("auto"), {"auto": {}}),
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("named", "f"), {"tool": {"name": "f"}}),
    ],
)
def test_tools_and_the_choice_among_them(choice: ToolChoice | None, said: Any) -> None:
    tools = (Tool("f", "does", raw({"type": "object"}), strict=True), Tool("g", ""))
    config = body("us.anthropic.claude-sonnet-4-5-20250929-v1:0", tools=tools, tool_choice=choice)["toolConfig"]
    closed = {"type": "object", "additionalProperties": False}
    assert config["tools"] == [
        {"toolSpec": {"name": "f", "description": "does", "inputSchema": {"json": closed}, "strict": True}},
        {"toolSpec": {"name": "g", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
    ]
    assert config.get("toolChoice") == said
    for model in (CLAUDE, NOVA):
        assert call(model, tools=tools, tool_choice=choice).dropped == ("tools.strict",)


def test_no_tool_at_all_is_said_by_offering_none() -> None:
    assert "toolConfig" not in body(tools=(Tool("f"),), tool_choice=ToolChoice("none"))
    with pytest.raises(Fault) as caught:
        call(tools=(Tool("f"),), tool_choice=ToolChoice("none"), messages=(Message("assistant", (ToolCall("t", "f"),)),))
    assert caught.value.param == "tool_choice"


def test_inference_and_what_goes_beside_it() -> None:
    sampling = Sampling(temperature=0.5, top_p=0.9, top_k=7, stop=("A", "B"))
    assert body(NOVA, sampling=sampling, max_tokens=5) == {
        "messages": [{"role": "user", "content": [{"text": "Hello"}]}],
        "inferenceConfig": {"maxTokens": 5, "temperature": 0.5, "topP": 0.9, "stopSequences": ["A", "B"]},
        "additionalModelRequestFields": {"inferenceConfig": {"topK": 7}},
    }
    said = body(CLAUDE, sampling=sampling)
    assert said["additionalModelRequestFields"] == {"top_k": 7}
    assert said["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert body(CLAUDE, sampling=sampling, stream=True)["additionalModelResponseFieldPaths"] == ["/delta/stop_sequence"]
    assert call(LLAMA, sampling=Sampling(top_k=7)).dropped == ("top_k",)


def test_what_has_no_word_is_listed() -> None:
    sampling = Sampling(presence_penalty=1.0, frequency_penalty=1.0, seed=1, n=2, logprobs=True)
    said = call(
        messages=(Message("user", (Text("Hello"),), name="n"),),
        sampling=sampling,
        user="u",
        parallel_tools=False,
        service_tier="scale",
        extra={"verbosity": raw("low")},
        tools=(Tool("f"),),
    )
    assert said.dropped == (
        "frequency_penalty",
        "logprobs",
        "n",
        "name",
        "parallel_tool_calls",
        "presence_penalty",
        "seed",
        "service_tier",
        "user",
        "verbosity",
    )
    assert call(sampling=Sampling(n=1, logprobs=False), parallel_tools=True, service_tier="auto").dropped == ()


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"sampling": Sampling(logit_bias={"1": 2.0})}, "logit_bias"),
        ({"sampling": Sampling(top_logprobs=2)}, "top_logprobs"),
        ({"format": Format()}, "response_format"),
        ({"messages": (Message("system", (Image(data="A", media_type="image/png"),)),)}, "messages"),
    ],
)
def test_what_must_not_be_left_out_is_refused(members: dict[str, Any], param: str) -> None:
    with pytest.raises(Fault) as caught:
        call(**members)
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", param)


def test_structured_output_is_a_schema_as_text() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    (said,) = [body(format=Format(raw(schema), "result", "what came out"))["outputConfig"]["textFormat"]]
    assert said["type"] == "json_schema"
    assert json.loads(said["structure"]["jsonSchema"].pop("schema")) == schema | {"additionalProperties": False}
    assert said["structure"] == {"jsonSchema": {"name": "result", "description": "what came out"}}


@pytest.mark.parametrize(
    ("model", "thinking", "fields"),
    [
        (CLAUDE, Thinking(budget=1024), {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (CLAUDE, Thinking("high"), {"thinking": {"type": "enabled", "budget_tokens": 16384}}),
        (CLAUDE, Thinking("none"), {"thinking": {"type": "disabled"}}),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", Thinking("low"), {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("anthropic.claude-opus-4-6-v1", Thinking(shown=True), {"thinking": {"type": "adaptive", "display": "summarized"}}),
        (NOVA, Thinking("minimal"), {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
        (NOVA, Thinking("none"), {"reasoningConfig": {"type": "disabled"}}),
        ("openai.gpt-oss-120b-1:0", Thinking("high"), {"reasoning_effort": "high"}),
        ("openai.gpt-5.4", Thinking("xhigh", shown=True), {"reasoning": {"effort": "xhigh", "summary": "auto"}}),
        ("openai.gpt-5.4", Thinking("none"), {"reasoning": {"effort": "none"}}),
        ("openai.gpt-5.4", Thinking("minimal"), {"reasoning": {"effort": "low"}}),
        ("qwen.qwen3-32b-v1:0", Thinking("medium"), {"reasoning_config": "high"}),
        ("qwen.qwen3-32b-v1:0", Thinking("low"), {"reasoning_config": "low"}),
        (LLAMA, Thinking(), None),
    ],
)
def test_how_much_to_think(model: str, thinking: Thinking, fields: Any) -> None:
    said = call(model, thinking=thinking)
    assert json.loads(said.body).get("additionalModelRequestFields") == fields
    assert said.dropped == ()


def test_newer_claude_takes_an_effort() -> None:
    said = body("anthropic.claude-sonnet-4-6", thinking=Thinking("xhigh"))
    assert said["additionalModelRequestFields"] == {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}
    assert "outputConfig" not in said


def test_a_claude_draws_tokens_as_its_own_api_takes_it() -> None:
    said = call("anthropic.claude-opus-4-8", sampling=Sampling(temperature=0.2, top_k=4))
    assert "inferenceConfig" not in json.loads(said.body)
    assert said.dropped == ("temperature", "top_k")
    assert body(NOVA, sampling=Sampling(temperature=0.2, top_p=0.5))["inferenceConfig"] == {"temperature": 0.2, "topP": 0.5}


def test_a_gpt_is_not_told_how_to_draw_tokens() -> None:
    said = call("openai.gpt-5.4", sampling=Sampling(temperature=0.2, top_p=1, stop=("a",)), max_tokens=50)
    assert json.loads(said.body)["inferenceConfig"] == {"maxTokens": 50}
    assert said.dropped == ("stop", "temperature")


@pytest.mark.parametrize("members", [{"max_tokens": 50}, {"sampling": Sampling(temperature=0.2)}, {"sampling": Sampling(top_p=0.2)}])
def test_novas_highest_effort_stands_alone(members: dict[str, Any]) -> None:
    said = call(NOVA, thinking=Thinking("high"), **members)
    config = {"type": "enabled", "maxReasoningEffort": "medium"}
    assert json.loads(said.body)["additionalModelRequestFields"] == {"reasoningConfig": config}
    assert said.dropped == ("reasoning_effort",)
    assert call(NOVA, thinking=Thinking("medium"), **members).dropped == ()


def test_one_call_at_a_time_is_said_to_a_claude() -> None:
    claude = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    said = call(claude, tools=(Tool("f"),), parallel_tools=False)
    assert json.loads(said.body)["additionalModelRequestFields"] == {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    assert said.dropped == ()
    said = call(claude, tools=(Tool("f"),), parallel_tools=False, tool_choice=ToolChoice("required"))
    assert json.loads(said.body)["additionalModelRequestFields"] == {"tool_choice": {"disable_parallel_tool_use": True}}
    for model, tools in ((claude, ()), (NOVA, (Tool("f"),)), ("anthropic.claude-3-5-haiku-20241022-v1:0", (Tool("f"),))):
        assert call(model, tools=tools, parallel_tools=False).dropped == ("parallel_tool_calls",)


def test_a_budget_of_ours_leaves_room_for_the_answer() -> None:
    assert body(thinking=Thinking("high"), max_tokens=4096)["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 4095
    assert call(thinking=Thinking("high"), max_tokens=1000).dropped == ("reasoning_effort",)
    assert call(thinking=Thinking(budget=2000), max_tokens=1000).dropped == ("reasoning",)


@pytest.mark.parametrize(
    ("model", "thinking", "name"),
    [
        (LLAMA, Thinking("high"), "reasoning_effort"),
        (LLAMA, Thinking(budget=2000), "reasoning"),
        ("openai.gpt-oss-20b-1:0", Thinking("none"), "reasoning_effort"),
    ],
)
def test_thinking_that_cannot_be_said_is_listed(model: str, thinking: Thinking, name: str) -> None:
    assert call(model, thinking=thinking).dropped == (name,)


@pytest.mark.parametrize(
    ("model", "part", "block"),
    [
        (CLAUDE, Reasoning("x", "SIG", origin="anthropic"), {"reasoningText": {"text": "x", "signature": "SIG"}}),
        (CLAUDE, Reasoning(redacted="abc=", origin="anthropic"), {"redactedContent": b64encode(b"abc=").decode()}),
        (NOVA, Reasoning(redacted="AAE=", origin="bedrock"), {"redactedContent": "AAE="}),
        (CLAUDE, Reasoning("x", origin="anthropic"), None),
        (NOVA, Reasoning("x", "SIG", origin="anthropic"), None),
        (CLAUDE, Reasoning("x", "SIG", origin="gemini"), None),
        (LLAMA, Reasoning("x", origin="bedrock"), None),
    ],
)
def test_thought_goes_back_to_its_maker_alone(model: str, part: Reasoning, block: Any) -> None:
    said = call(model, messages=(Message("assistant", (part, Text("y"))),))
    content = json.loads(said.body)["messages"][-1]["content"]
    assert content == ([{"reasoningContent": block}] if block else []) + [{"text": "y"}]
    assert said.dropped == (() if block else ("reasoning_content",))


def test_members_of_converses_own_pass_and_ours_win() -> None:
    extra = {
        "guardrailConfig": raw({"guardrailIdentifier": "g", "guardrailVersion": "1"}),
        "performanceConfig": raw({"latency": "optimized"}),
        "additionalModelRequestFields": raw({"top_k": 1, "anthropic_beta": ["b"]}),
    }
    said = body(extra=extra, sampling=Sampling(top_k=9), service_tier="flex")
    assert said["guardrailConfig"] == {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    assert said["performanceConfig"] == {"latency": "optimized"}
    assert said["additionalModelRequestFields"] == {"top_k": 9, "anthropic_beta": ["b"]}
    assert said["serviceTier"] == {"type": "flex"}


@given(st.text(min_size=1, max_size=120))
def test_names_and_ids_fit_and_stay_apart(text: str) -> None:
    for fit in (tool_name, use_id):
        fitted = fit(text)
        assert 0 < len(fitted) <= 64
        assert fit(fitted) == fitted
        assert fit(text + "é") != fitted


@given(st.lists(st.one_of(st.none(), st.text(max_size=300)), max_size=6))
def test_titles_fit_and_differ(names: list[str | None]) -> None:
    titles = Titles()
    taken = [titles.take(name) for name in names]
    assert len(set(taken)) == len(taken)
    assert all(0 < len(title) <= 200 and "  " not in title for title in taken)
