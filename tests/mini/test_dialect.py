"""Every bad request gets a 400 that names its parameter, before anything is generated; the next request is served."""

import json

import msgspec
import pytest
from scripted import CAN, ScriptedEmbedder, ScriptedEngine, serving

from shoal.mini import dialect
from shoal.mini.dialect import ChatRequest, CompletionRequest

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"name": "f", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}
BROKEN = {"type": "function", "function": {"name": "g", "parameters": {"forbidden": 1}}}


def _deep(depth):
    return b"[" * depth + b"]" * depth


CHAT = [
    ({"messages": "hi"}, "invalid_type", "messages"),
    ({"messages": []}, "invalid_value", "messages"),
    ({"messages": None}, "invalid_type", "messages"),
    ({"messages": ["hi"]}, "invalid_type", "messages[0]"),
    ({"messages": [{"content": "x"}]}, "missing_required_parameter", "messages[0].role"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, "invalid_value", "messages[0].role"),
    ({"messages": [USER, {"role": "user"}]}, "missing_required_parameter", "messages[1].content"),
    ({"messages": [{"role": "user", "content": 3}]}, "invalid_type", "messages[0].content"),
    ({"messages": [{"role": "user", "content": []}]}, "invalid_value", "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "missing_required_parameter", "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "missing_required_parameter", "messages[0].content[0].type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}]}]},
        "unsupported_parameter",
        "messages[0].content[1].type",
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        "unsupported_parameter",
        "messages[0].content[0].type",
    ),
    ({"messages": [{"role": "tool", "content": "x"}]}, "missing_required_parameter", "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant"}]}, "missing_required_parameter", "messages[0].content"),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]}]},
        "missing_required_parameter",
        "messages[0].tool_calls[0].function",
    ),
    ({"temperature": "hot"}, "invalid_type", "temperature"),
    ({"temperature": 2.1}, "invalid_value", "temperature"),
    ({"temperature": -0.1}, "invalid_value", "temperature"),
    ({"temperature": True}, "invalid_type", "temperature"),
    ({"top_p": 1.5}, "invalid_value", "top_p"),
    ({"presence_penalty": -3}, "invalid_value", "presence_penalty"),
    ({"frequency_penalty": 2.5}, "invalid_value", "frequency_penalty"),
    ({"n": 0}, "invalid_value", "n"),
    ({"n": 9}, "invalid_value", "n"),
    ({"n": 1.5}, "invalid_type", "n"),
    ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    ({"max_tokens": -5}, "invalid_value", "max_tokens"),
    ({"max_completion_tokens": 0}, "invalid_value", "max_completion_tokens"),
    ({"max_tokens": 10**30}, "context_length_exceeded", "messages"),
    ({"max_tokens": 4096}, "context_length_exceeded", "messages"),
    ({"messages": [{"role": "user", "content": "x" * 5000}]}, "context_length_exceeded", "messages"),
    ({"messages": [USER] * 10_000}, "context_length_exceeded", "messages"),
    ({"stop": ""}, "invalid_value", "stop"),
    ({"stop": ["a", ""]}, "invalid_value", "stop[1]"),
    ({"stop": list("abcde")}, "invalid_value", "stop"),
    ({"stop": [1]}, "invalid_type", "stop[0]"),
    ({"seed": "s"}, "invalid_type", "seed"),
    ({"seed": 2**63}, "invalid_value", "seed"),
    ({"stream": "yes"}, "invalid_type", "stream"),
    ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
    ({"logprobs": 1}, "invalid_type", "logprobs"),
    ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 2}, "unsupported_parameter", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "invalid_value", "top_logprobs"),
    ({"logit_bias": {"50256": -100}}, "unsupported_parameter", "logit_bias"),
    ({"modalities": ["text", "audio"], "audio": {}}, "unsupported_parameter", "modalities"),
    ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
    ({"functions": [FUNCTION]}, "unsupported_parameter", "functions"),
    ({"function_call": "auto"}, "unsupported_parameter", "function_call"),
    ({"response_format": "json"}, "invalid_type", "response_format"),
    ({"response_format": {"type": "yaml"}}, "invalid_value", "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "missing_required_parameter", "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "missing_required_parameter",
        "response_format.json_schema.name",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "invalid_value",
        "response_format.json_schema.name",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "missing_required_parameter",
        "response_format.json_schema.schema",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"forbidden": 1}}}},
        "invalid_value",
        "response_format.json_schema.schema",
    ),
    ({"response_format": {"type": "json_object"}, "tools": [TOOL]}, "unsupported_parameter", "response_format"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "unsupported_parameter", "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_value", "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]}, "invalid_type", "tools[0].function.parameters"),
    ({"tools": [TOOL, TOOL]}, "invalid_value", "tools[1].function.name"),
    (
        {"tools": [{"type": "function", "function": {"name": f"f{i}"}} for i in range(129)]},
        "invalid_value",
        "tools",
    ),
    ({"tools": [TOOL], "tool_choice": "maybe"}, "invalid_value", "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "invalid_value", "tool_choice"),
    ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
    ({"tools": [TOOL, BROKEN], "tool_choice": "required"}, "invalid_value", "tools[1].function.parameters"),
    (
        {"tools": [TOOL, BROKEN], "tool_choice": {"type": "function", "function": {"name": "g"}}},
        "invalid_value",
        "tools[1].function.parameters",
    ),
    (
        {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [{"type": "x"}]}}},
        "invalid_value",
        "tool_choice.allowed_tools.tools[0]",
    ),
    ({"model": "gpt-9"}, "model_not_found", "model"),
    ({"model": "minnow-embed"}, "invalid_value", "model"),
    ({"model": 4}, "invalid_type", "model"),
]
COMPLETION = [
    ({"prompt": []}, "invalid_value", "prompt"),
    ({"prompt": ""}, "invalid_value", "prompt"),
    ({"prompt": ["a", 1]}, "invalid_type", "prompt[1]"),
    ({"prompt": [[1], "a"]}, "invalid_type", "prompt[1]"),
    ({"prompt": [1, 999]}, "invalid_value", "prompt[1]"),
    ({"prompt": [1, -1]}, "invalid_value", "prompt[1]"),
    ({"prompt": [[1], [999]]}, "invalid_value", "prompt[1][0]"),
    ({"prompt": ["x", "x" * 5000]}, "context_length_exceeded", "prompt[1]"),
    ({"prompt": [1] * 5000}, "context_length_exceeded", "prompt"),
    ({"prompt": "x" * 100, "max_tokens": 4000}, "context_length_exceeded", "prompt"),
    ({"prompt": ["x"] * 65, "n": 2}, "invalid_value", "prompt"),
    ({"suffix": "end"}, "unsupported_parameter", "suffix"),
    ({"best_of": 3}, "unsupported_parameter", "best_of"),
    ({"logprobs": 2}, "unsupported_parameter", "logprobs"),
    ({"logprobs": 7}, "invalid_value", "logprobs"),
    ({"logprobs": 1, "echo": True}, "unsupported_parameter", "logprobs"),
]
EMBEDDING = [
    ({"input": ""}, "invalid_value", "input"),
    ({"input": []}, "invalid_value", "input"),
    ({"input": ["a", ""]}, "invalid_value", "input[1]"),
    ({"input": [[1], []]}, "invalid_value", "input[1]"),
    ({"input": ["a", "x" * 31]}, "context_length_exceeded", "input[1]"),
    ({"input": [1] * 33}, "context_length_exceeded", "input"),
    ({"input": ["a", "x" * 1_000_000]}, "context_length_exceeded", "input[1]"),
    ({"input": [1, 300]}, "invalid_value", "input[1]"),
    ({"input": [[1], [300]]}, "invalid_value", "input[1][0]"),
    ({"input": ["a"] * 2049}, "invalid_value", "input"),
    ({"input": {"a": 1}}, "invalid_type", "input"),
    ({"dimensions": 5}, "invalid_value", "dimensions"),
    ({"dimensions": 0}, "invalid_value", "dimensions"),
    ({"encoding_format": "hex"}, "invalid_value", "encoding_format"),
    ({"model": "minnow"}, "invalid_value", "model"),
]
BODIES = [
    (b"", "invalid_json", None),
    (b"  ", "invalid_json", None),
    (b'{"model": "minnow"', "invalid_json", None),
    (b'{"model": "minnow", "messages": [], "temperature": NaN}', "invalid_json", None),
    (b'{"model": "minnow", "messages": [], "temperature": 1e999}', "invalid_type", "temperature"),
    (b'{"model": "minnow", "messages": [{"role": "user", "content": "\\ud800"}]}', "invalid_json", None),
    (b'{"model": "minnow", "messages": [{"role": "user", "content": "\\udc00 x"}]}', "invalid_json", None),
    (b'{"model": "minnow", "messages": [{"role": "user", "content": "\xff"}]}', "invalid_json", None),
    (b'[{"model": "minnow"}]', "invalid_type", None),
    (b'"minnow"', "invalid_type", None),
    (b'{"messages": []}', "missing_required_parameter", "model"),
    (b'{"model": "minnow"}', "missing_required_parameter", "messages"),
    (b'{"model": "minnow", "messages": [], "other": ' + _deep(100_000) + b"}", "invalid_json", None),
    (b'{"model": "minnow", "messages": ' + _deep(100_000) + b"}", "invalid_type", "messages[0]"),
    (
        b'{"model": "minnow", "messages": [{"role": "user", "content": "x"}], "tool_choice": "required", "tools": [{"type": "function", '
        b'"function": {"name": "f", "parameters": {"a": ' + _deep(100_000) + b"}}}]}",
        "invalid_json",
        None,
    ),
]


async def _refused(client, target, body, code, param):
    status, _, answer = await client.ask(target, body)
    error = answer["error"]
    assert (error["code"], error["param"]) == (code, param), error
    assert status == {"model_not_found": 404}.get(code, 400)
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) > 20
    if param and code != "invalid_type":
        assert param.split("[")[0].split(".")[0] in error["message"]


@pytest.mark.parametrize("cases", [CHAT[i::4] for i in range(4)], ids=range(4))
async def test_bad_chat_requests(tmp_path, cases):
    engine = ScriptedEngine()
    async with serving(tmp_path, engine, ScriptedEmbedder()) as client:
        for change, code, param in cases:
            for stream in (False, True):
                body = {"model": "minnow", "messages": [USER], "stream": stream} | change
                if stream and "stream_options" in change:
                    continue
                await _refused(client, "/v1/chat/completions", body, code, param)
        assert engine.runs == []
        status, _, _ = await client.ask("/v1/chat/completions", {"model": "minnow", "messages": [USER]})
        assert status == 200


async def test_bad_completion_requests(tmp_path):
    async with serving(tmp_path, ScriptedEngine(), ScriptedEmbedder()) as client:
        for change, code, param in COMPLETION:
            await _refused(client, "/v1/completions", {"model": "minnow", "prompt": "x"} | change, code, param)


async def test_bad_embedding_requests(tmp_path):
    async with serving(tmp_path, ScriptedEngine(), ScriptedEmbedder()) as client:
        for change, code, param in EMBEDDING:
            await _refused(client, "/v1/embeddings", {"model": "minnow-embed", "input": "x"} | change, code, param)


async def test_bad_bodies(tmp_path):
    async with serving(tmp_path, ScriptedEngine(), ScriptedEmbedder()) as client:
        for body, code, param in BODIES:
            await _refused(client, "/v1/chat/completions", body, code, param)
        status, _, _ = await client.ask("/v1/chat/completions", {"model": "minnow", "messages": [USER]})
        assert status == 200


async def test_a_schema_nested_deeper_than_can_be_written_is_refused(tmp_path):
    schema = {}
    for _ in range(600):
        schema = {"not": schema}
    body = {"model": "minnow", "messages": [USER], "tool_choice": "required"}
    body["tools"] = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in "fg"]
    async with serving(tmp_path, ScriptedEngine()) as client:
        status, _, answer = await client.ask("/v1/chat/completions", body)
        assert status in (200, 400), answer
        for choice in ("auto", "none"):
            status, _, answer = await client.ask("/v1/chat/completions", body | {"tool_choice": choice})
            assert status in (200, 400), answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/models/minnow", 405),
        ("DELETE", "/health", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("GET", "/v1/models/gpt-9", 404),
    ],
)
async def test_wrong_ways_in(tmp_path, method, path, status):
    async with serving(tmp_path, ScriptedEngine()) as client:
        seen, headers, answer = await client.ask(path, method=method)
        assert seen == status
        assert answer["error"]["type"] == "invalid_request_error"
        assert (headers.get("allow") is not None) == (status == 405)


def test_null_asks_for_nothing():
    names = [name for name in ChatRequest.__struct_fields__ if name not in ("model", "messages")]
    body = json.dumps({"model": "m", "messages": [USER], "unheard_of": None} | dict.fromkeys(names)).encode()
    dialect.check_chat(dialect.decode(body, ChatRequest), CAN)
    assert dialect.list_dropped(body, ChatRequest) == []


def test_what_changes_nothing_is_listed():
    body = {
        "model": "m",
        "messages": [],
        "top_k": 3,
        "verbosity": "low",
        "service_tier": "flex",
        "user": "u",
        "metadata": {},
        "store": True,
    }
    assert dialect.list_dropped(json.dumps(body).encode(), ChatRequest) == ["top_k", "verbosity", "service_tier"]
    body = {"model": "m", "messages": [], "service_tier": "auto", "modalities": ["text"], "parallel_tool_calls": False}
    assert dialect.list_dropped(json.dumps(body).encode(), ChatRequest) == []
    assert dialect.list_dropped(b'{"model": "m", "prompt": "", "best_of": 1, "reasoning_effort": 1}', CompletionRequest) == [
        "reasoning_effort"
    ]


def test_an_engine_without_logprobs_or_grammars_says_so():
    can = msgspec.structs.replace(CAN, chosen_logprobs=False)
    request = dialect.decode(json.dumps({"model": "m", "messages": [USER], "logprobs": True}).encode(), ChatRequest)
    with pytest.raises(dialect.Fault) as caught:
        dialect.check_chat(request, can)
    assert caught.value.param == "logprobs"
