"""A caller who speaks Gemini: what its request means, in either case of protobuf's JSON, and what is wrong with it, by place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.conversation import Conversation, File, Image, Message, Reasoning, Text, Thinking, ToolCall, ToolChoice, ToolResult
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.wire.gemini.requests import read, read_at, write
from shoal.wire.gemini.schema import to_json_schema
from shoal.wire.gemini.signatures import seal, unseal

START = '{"contents":[{"parts":[{"text":"a"}]}],'
HELLO = [{"role": "user", "parts": [{"text": "Hello"}]}]


def conversation(**members: Any) -> Conversation:
    """The meaning of a request."""
    return read_at(json.dumps({"contents": HELLO} | members).encode(), "m", stream=True)


def messages(*turns: dict[str, Any]) -> tuple[Message, ...]:
    """The meaning of some turns."""
    return conversation(contents=list(turns)).messages


def test_the_path_says_model_and_stream() -> None:
    found = conversation()
    assert (found.model, found.stream) == ("m", True)
    assert read(b'{"contents":[{"parts":[{"text":"a"}]}]}').messages == (Message("user", (Text("a"),)),)


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction"])
def test_the_system_instruction_comes_first(name: str) -> None:
    assert conversation(**{name: {"parts": [{"text": "Be kind."}]}}).messages[0] == Message("system", (Text("Be kind."),))


def test_calls_and_results_without_ids_find_each_other() -> None:
    found = messages(
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "f"}}]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "f", "response": {"result": "x"}}},
                {"function_response": {"name": "f", "response": {"error": "no"}}},
                {"text": "go on"},
            ],
        },
    )
    first, second = (part for part in found[0].parts if isinstance(part, ToolCall))
    assert (first.arguments, second.arguments) == ('{"a":1}', "{}")
    assert first.id != second.id
    results = (ToolResult(first.id, (Text("x"),), name="f"), ToolResult(second.id, (Text("no"),), True, "f"))
    assert found[1:] == (Message("tool", results), Message("user", (Text("go on"),)))


def test_ids_that_are_there_stay() -> None:
    found = messages(
        {"role": "model", "parts": [{"functionCall": {"id": "a", "name": "f"}}, {"functionCall": {"id": "b", "name": "f"}}]},
        {"role": "function", "parts": [{"functionResponse": {"id": "b", "name": "f", "response": {"x": 1, "y": 2}}}]},
    )
    assert found[1] == Message("tool", (ToolResult("b", (Text('{"x":1,"y":2}'),), name="f"),))


def test_pictures_files_and_what_stands_in_a_result() -> None:
    found = messages(
        {
            "parts": [
                {"inline_data": {"mime_type": "image/png", "data": "_-8="}},
                {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://a", "displayName": "A"}},
                {
                    "functionResponse": {
                        "name": "f",
                        "response": {},
                        "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}],
                    }
                },
            ]
        }
    )
    assert found[0].parts == (Image(data="/+8=", media_type="image/png"), File(url="gs://a", media_type="application/pdf", name="A"))
    (result,) = found[1].parts
    assert isinstance(result, ToolResult) and result.parts[-1] == Image(data="AA==", media_type="image/png")


def test_thoughts_and_signatures() -> None:
    parts = [
        {"text": "hm", "thought": True, "thoughtSignature": "s0"},
        {"text": "a", "thought_signature": "s1"},
        {"text": "", "thoughtSignature": "s2"},
        {"functionCall": {"id": "c", "name": "f"}, "thoughtSignature": "s3"},
        {"functionCall": {"id": "d", "name": "f"}, "thoughtSignature": "skip_thought_signature_validator"},
        {"functionCall": {"id": "e", "name": "f"}, "thoughtSignature": "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I="},
    ]
    (found,) = messages({"role": "model", "parts": parts})
    assert found.parts == (
        Reasoning("hm", "s0", origin="gemini"),
        Text("a"),
        Reasoning("", "s1", origin="gemini"),
        Reasoning("", "s2", origin="gemini"),
        ToolCall("c", "f", "{}", "s3"),
        ToolCall("d", "f", "{}"),
        ToolCall("e", "f", "{}"),
    )


OPTIONAL = st.none() | st.text(max_size=8)


@given(st.text(), OPTIONAL, OPTIONAL, st.sampled_from(["anthropic", "openai_responses", None]), OPTIONAL, st.booleans())
def test_a_proof_of_another_dialect_comes_back_whole(
    text: str, signature: str | None, redacted: str | None, origin: str | None, identity: str | None, rewritten: bool
) -> None:
    """`rewritten`: Google's SDK turns base64 into its URL-safe alphabet."""
    thought = Reasoning(text, signature, redacted, origin, identity)
    sealed = seal(thought)
    if sealed is None:
        assert signature is None and redacted is None
        return
    assert unseal(sealed.replace("+", "-").replace("/", "_") if rewritten else sealed, text) == thought


@given(st.text())
def test_any_other_signature_is_googles(signature: str) -> None:
    found = unseal(signature)
    assert found.origin == "gemini" or signature.startswith("c2hvYWwtdGhvdWdo")


def test_functions_and_schemas_of_openapi() -> None:
    parameters = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["a"]},
            "n": {"type": "ARRAY", "minItems": "2", "items": {"type": "INTEGER"}},
        },
        "propertyOrdering": ["type", "n"],
        "required": ["type"],
    }
    found = conversation(tools=[{"function_declarations": [{"name": "f", "description": "d", "parameters": parameters}]}]).tools
    assert [(tool.name, tool.description) for tool in found] == [("f", "d")]
    assert found[0].parameters is not None
    assert json.loads(bytes(found[0].parameters)) == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["a", None]},
            "n": {"type": "array", "minItems": 2, "items": {"type": "integer"}},
        },
        "required": ["type"],
    }


def test_json_schema_stays_as_it_is() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"anyOf": [{"$ref": "#/$defs/B"}, {"type": "null"}]}},
        "$defs": {"B": {"type": "string"}},
    }
    assert to_json_schema(schema) == schema
    found = conversation(tools=[{"functionDeclarations": [{"name": "f", "parameters_json_schema": schema}]}]).tools
    assert found[0].parameters is not None and json.loads(bytes(found[0].parameters)) == schema


@pytest.mark.parametrize(
    ("calling", "names", "choice"),
    [
        ({"mode": "AUTO"}, ["f", "g", "h"], ToolChoice("auto")),
        ({"mode": "NONE"}, ["f", "g", "h"], ToolChoice("none")),
        ({"mode": "ANY"}, ["f", "g", "h"], ToolChoice("required")),
        ({"mode": "ANY", "allowedFunctionNames": ["g"]}, ["f", "g", "h"], ToolChoice("named", "g")),
        ({"mode": "any", "allowed_function_names": ["g", "h"]}, ["g", "h"], ToolChoice("required")),
        ({"mode": "VALIDATED"}, ["f", "g", "h"], ToolChoice("auto")),
    ],
)
def test_which_functions_may_be_called(calling: dict[str, Any], names: list[str], choice: ToolChoice) -> None:
    declared = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}, {"name": "h"}]}]
    found = conversation(tools=declared, toolConfig={"functionCallingConfig": calling})
    assert ([tool.name for tool in found.tools], found.tool_choice) == (names, choice)
    assert {tool.strict for tool in found.tools} == {True if calling["mode"] == "VALIDATED" else None}


def test_how_the_answer_is_wanted() -> None:
    config = {"temperature": "0.5", "top_k": 40.0, "maxOutputTokens": 9, "stopSequences": ["x"], "responseLogprobs": True, "logprobs": 2}
    found = conversation(generationConfig=config | {"candidateCount": 2, "seed": 1, "mediaResolution": "LOW"}, cachedContent="c")
    assert (found.sampling.temperature, found.sampling.top_k, found.max_tokens, found.sampling.stop) == (0.5, 40, 9, ("x",))
    assert (found.sampling.logprobs, found.sampling.top_logprobs, found.sampling.n, found.sampling.seed) == (True, 2, 2, 1)
    extra = {name: json.loads(bytes(value)) for name, value in found.extra.items()}
    assert extra == {"generationConfig.mediaResolution": "LOW", "cachedContent": "c"}


def test_routing_is_not_for_upstreams() -> None:
    found = conversation(models=["a"], provider={}, route="r", fallbacks=[], session_id="s", metadata={"a": "b"})
    assert found.extra == {}


def test_formats() -> None:
    assert conversation(generationConfig={"responseMimeType": "text/plain"}).format is None
    plain = conversation(generationConfig={"responseMimeType": "application/json"}).format
    assert plain is not None and plain.schema is None
    config = {"responseMimeType": "application/json", "responseSchema": {"type": "STRING"}}
    typed = conversation(generationConfig=config).format
    assert typed is not None and typed.schema is not None and bytes(typed.schema) == b'{"type":"string"}'


@pytest.mark.parametrize(
    ("config", "thinking"),
    [
        ({"thinkingBudget": 0}, Thinking("none", None, False)),
        ({"thinkingBudget": -1, "includeThoughts": True}, Thinking("auto", None, True)),
        ({"thinking_budget": 5}, Thinking(None, 5, False)),
        ({"thinkingLevel": "HIGH"}, Thinking("high", None, False)),
    ],
)
def test_thinking(config: dict[str, Any], thinking: Thinking) -> None:
    assert conversation(generationConfig={"thinkingConfig": config}).thinking == thinking


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        ("", "invalid_json", None),
        ("[1", "invalid_json", None),
        ("[" * 100_000, "invalid_json", None),
        ("[]", "invalid_type", None),
        ("{}", "missing_parameter", "contents"),
        ('{"contents":[1]}', "invalid_type", "contents[0]"),
        ('{"contents":[{"role":"robot"}]}', "invalid_value", "contents[0].role"),
        ('{"contents":[{"parts":[{"text":1}]}]}', "invalid_type", "contents[0].parts[0].text"),
        ('{"contents":[{"parts":[{"toolCall":{}}]}]}', "unsupported_parameter", "contents[0].parts[0]"),
        (START + '"tools":[{"functionDeclarations":[{}]}]}', "missing_parameter", "tools[0].functionDeclarations[0].name"),
        (START + '"generationConfig":{"topK":1.5}}', "invalid_type", "generationConfig.topK"),
        (START + '"generationConfig":{"temperature":true}}', "invalid_type", "generationConfig.temperature"),
        (START + '"generationConfig":{"stopSequences":[1]}}', "invalid_type", "generationConfig.stopSequences"),
        (START + '"generationConfig":{"responseMimeType":"text/x.enum"}}', "unsupported_parameter", "generationConfig.responseMimeType"),
    ],
)
def test_what_is_wrong_is_named(body: str, kind: str, param: str | None) -> None:
    with pytest.raises(Fault) as caught:
        read(body.encode())
    assert (caught.value.kind, caught.value.param) == (kind, param)


def test_a_request_survives_being_read_and_written() -> None:
    body = {
        "contents": [
            *HELLO,
            {"role": "model", "parts": [{"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "s"}]},
            {"role": "user", "parts": [{"functionResponse": {"id": "a", "name": "f", "response": {"output": "y"}}}]},
        ],
        "systemInstruction": {"role": "user", "parts": [{"text": "Be kind."}]},
        "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
        "safetySettings": [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}],
        "generationConfig": {"temperature": 1.0, "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True}},
    }
    call = write(read_at(json.dumps(body).encode(), "m", stream=False), Deployment("d", "m", "gemini", "gemini-3-flash-preview"))
    assert json.loads(call.body) == body
    assert call.dropped == ()


NAMES = (
    "contents", "parts", "role", "text", "thought", "thoughtSignature", "functionCall", "functionResponse", "name", "id", "args",
    "response", "inlineData", "mimeType", "data", "fileData", "fileUri", "tools", "functionDeclarations", "parameters", "type",
    "enum", "nullable", "properties", "items", "toolConfig", "functionCallingConfig", "mode", "allowedFunctionNames",
    "generationConfig", "temperature", "topK", "stopSequences", "responseMimeType", "responseSchema", "thinkingConfig",
    "thinkingBudget", "thinkingLevel", "systemInstruction", "system_instruction", "serviceTier",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.sampled_from(["", "a", "OBJECT", "model", "f"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(NAMES),
            inner,
            max_size=4,
        )
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(["systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier", "x"]), JSON), JSON)
def test_any_json_is_read_or_refused_and_what_is_read_can_be_asked(members: dict[str, Any], parts: Any) -> None:
    body = {"contents": [*HELLO, {"role": "model", "parts": parts}]} | members
    try:
        found = read(json.dumps(body).encode())
        write(found, Deployment("d", "m", "gemini", "gemini-3-flash-preview"))
    except Fault as fault:
        assert fault.status == 400
