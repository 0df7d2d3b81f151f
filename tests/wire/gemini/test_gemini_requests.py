"""What a Gemini is asked: every noun of a conversation in Google's words, and what Google has no word for by name."""

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
from shoal.wire.gemini.requests import write


def raw(value: Any) -> msgspec.Raw:
    """JSON."""
    return msgspec.Raw(msgspec.json.encode(value))


def user(*parts: Part) -> Message:
    """A user's turn."""
    return Message("user", parts or (Text("Hello"),))


def asked(*messages: Message, model: str = "gemini-2.5-flash", **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body of the call, and what was dropped."""
    conversation = Conversation(model="any", messages=messages or (user(),), **fields)
    call = write(conversation, Deployment("d", "any", "gemini", model))
    return json.loads(call.body), call.dropped


def test_the_path_names_the_model_and_whether_to_stream() -> None:
    def path(model: str, stream: bool) -> str:
        return write(Conversation(model="any", messages=(user(),), stream=stream), Deployment("d", "any", "vertex", model)).path

    assert path("gemini-2.5-pro", False) == "/models/gemini-2.5-pro:generateContent"
    assert path("gemini-2.5-pro", True) == "/models/gemini-2.5-pro:streamGenerateContent?alt=sse"
    assert path("tunedModels/mine", False) == "/tunedModels/mine:generateContent"
    assert path("x:y?z#\r\n", False) == "/models/x%3Ay%3Fz%23%0D%0A:generateContent"


def test_the_system_stands_apart_wherever_it_spoke() -> None:
    body, dropped = asked(Message("system", (Text("Be kind."),)), user(), Message("developer", (Text("Be brief."),)))
    assert body["systemInstruction"] == {"role": "user", "parts": [{"text": "Be kind."}, {"text": "Be brief."}]}
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Hello"}]}]
    assert dropped == ()


def test_a_system_that_speaks_alone_asks() -> None:
    body, _ = asked(Message("system", (Text("Tell a joke."),)))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Tell a joke."}]}]}


@pytest.mark.parametrize(
    ("part", "written"),
    [
        (Image(data="AA==", media_type="image/png"), {"inlineData": {"mimeType": "image/png", "data": "AA=="}}),
        (Image(url="https://a.example/x.JPG?w=1"), {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://a.example/x.JPG?w=1"}}),
        (Image(url="https://a.example/x"), {"fileData": {"fileUri": "https://a.example/x"}}),
        (File(data="AA==", name="a.pdf"), {"inlineData": {"mimeType": "application/pdf", "data": "AA=="}}),
        (File(url="gs://b/c", media_type="video/mp4"), {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/c"}}),
        (File(id="https://g.example/files/1", media_type="audio/wav"), {"fileData": {"mimeType": "audio/wav", "fileUri": "https://g.example/files/1"}}),
        (File(text="plain"), {"text": "plain"}),
    ],
)  # fmt: skip
def test_pictures_and_files(part: Part, written: dict[str, Any]) -> None:
    body, dropped = asked(user(Text("See"), part))
    assert body["contents"][0]["parts"] == [{"text": "See"}, written]
    assert dropped == ()


def test_results_of_one_turn_stand_together_and_name_their_functions() -> None:
    calls = Message("assistant", (Text("Let me see."), ToolCall("c1", "clock", '{"zone":"utc"}'), ToolCall("c2", "rain", "")))
    results = [Message("tool", (ToolResult("c2", (Text('{"mm":3}'),)),)), Message("tool", (ToolResult("c1", (Text("noon"),), True),))]
    body, _ = asked(user(), calls, *results, user(Text("And?")))
    first = {"functionCall": {"id": "c1", "name": "clock", "args": {"zone": "utc"}}}
    second = {"functionCall": {"id": "c2", "name": "rain", "args": {}}}
    assert body["contents"][1:] == [
        {"role": "model", "parts": [{"text": "Let me see."}, first, second]},
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "c2", "name": "rain", "response": {"mm": 3}}},
                {"functionResponse": {"id": "c1", "name": "clock", "response": {"error": "noon"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "And?"}]},
    ]


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ("Mexico", {"output": "Mexico"}),
        ("[1,2]", {"output": [1, 2]}),
        ("{not json", {"output": "{not json"}),
        ("42", {"output": "42"}),
        ("", {"output": ""}),
    ],
)
def test_what_a_function_returned_is_an_object(text: str, response: dict[str, Any]) -> None:
    body, _ = asked(Message("assistant", (ToolCall("c", "f"),)), Message("tool", (ToolResult("c", (Text(text),)),)))
    assert body["contents"][1]["parts"][0]["functionResponse"]["response"] == response


def test_a_result_of_no_call_is_refused_unless_it_is_named() -> None:
    with pytest.raises(Fault) as caught:
        asked(Message("tool", (ToolResult("lost", (Text("x"),)),)))
    assert caught.value.kind == "invalid_value"
    body, _ = asked(Message("tool", (ToolResult("lost", (Text("x"),), name="f"),)))
    assert body["contents"][0]["parts"][0]["functionResponse"]["name"] == "f"


def test_pictures_in_a_result_stand_in_it_since_gemini_3_and_after_it_before() -> None:
    messages = (
        Message("assistant", (ToolCall("c", "f"),)),
        Message("tool", (ToolResult("c", (Image(data="AA==", media_type="image/png"),)),)),
    )
    picture = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
    new, _ = asked(*messages, model="gemini-3-flash-preview")
    assert new["contents"][1]["parts"][0]["functionResponse"]["parts"] == [picture]
    old, _ = asked(*messages)
    assert "parts" not in old["contents"][1]["parts"][0]["functionResponse"]
    assert old["contents"][2] == {"role": "user", "parts": [picture]}


def test_arguments_that_are_no_object_are_kept_as_they_are() -> None:
    body, _ = asked(Message("assistant", (ToolCall("c", "f", '{"a":'),)))
    assert body["contents"][0]["parts"][0]["functionCall"]["args"] == {"arguments": '{"a":'}


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-3-pro-preview", "skip_thought_signature_validator"),
        ("gemini-3.5-flash", "skip_thought_signature_validator"),
        ("gemini-flash-latest", "skip_thought_signature_validator"),
        ("gemini-2.5-pro", None),
        ("gemma-3-27b-it", None),
    ],
)
def test_a_call_that_no_gemini_made_says_so_where_signatures_are_demanded(model: str, signature: str | None) -> None:
    body, _ = asked(Message("assistant", (ToolCall("c1", "f"), ToolCall("c2", "f"))), model=model)
    assert [part.get("thoughtSignature") for part in body["contents"][0]["parts"]] == [signature, None]


def test_signatures_go_back_to_the_parts_they_came_with() -> None:
    thought = Reasoning("hm", "s0", origin="gemini")
    inside = Message("assistant", (thought, Text("a"), Reasoning("", "s1", origin="gemini"), ToolCall("c", "f", "{}", "s2")))
    body, dropped = asked(inside, model="gemini-3-flash-preview")
    assert body["contents"][0]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "s0"},
        {"text": "a", "thoughtSignature": "s1"},
        {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "s2"},
    ]
    assert dropped == ()


def test_a_signature_that_lost_its_place_goes_to_the_last_words() -> None:
    body, _ = asked(Message("assistant", (Reasoning("", "s", origin="gemini"), Text("a"), ToolCall("c", "f"))))
    assert body["contents"][0]["parts"][0] == {"text": "a", "thoughtSignature": "s"}
    body, _ = asked(Message("assistant", (Reasoning("", "s", origin="gemini"), ToolCall("c", "f"))))
    assert body["contents"][0]["parts"][-1] == {"text": "", "thoughtSignature": "s"}


def test_thoughts_of_others_stay_with_them() -> None:
    body, dropped = asked(Message("assistant", (Reasoning("hm", "s", origin="anthropic"), Text("a"))))
    assert body["contents"][0]["parts"] == [{"text": "a"}]
    assert dropped == ("reasoning_content",)


def test_tools_keep_their_whole_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": ["string", "null"]}}}
    body, dropped = asked(tools=(Tool("f", "does f", raw(schema), strict=True, cache="5m"), Tool("g")))
    declared = [{"name": "f", "description": "does f", "parametersJsonSchema": schema}, {"name": "g"}]
    assert body["tools"] == [{"functionDeclarations": declared}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert dropped == ("cache_control",)


@pytest.mark.parametrize(
    ("model", "choice", "mode", "dropped"),
    [
        ("gemini-2.5-flash", ToolChoice("auto"), "VALIDATED", ()),
        ("gemini-2.5-flash", ToolChoice("required"), "ANY", ()),
        ("gemini-2.5-flash", ToolChoice("none"), "NONE", ()),
        ("gemini-2.0-flash", ToolChoice("auto"), "AUTO", ("strict",)),
    ],
)
def test_strict_functions_are_validated(model: str, choice: ToolChoice, mode: str, dropped: tuple[str, ...]) -> None:
    body, unsaid = asked(model=model, tools=(Tool("f", strict=True), Tool("g")), tool_choice=choice)
    assert (body["toolConfig"]["functionCallingConfig"]["mode"], unsaid) == (mode, dropped)


def test_a_signature_goes_to_the_words_and_not_to_the_thought_before_them() -> None:
    said = (Reasoning("hm", origin="gemini"), Reasoning("", "S", origin="gemini"), Text("so"))
    body, _ = asked(user(), Message("assistant", said), user())
    assert body["contents"][1]["parts"] == [{"text": "hm", "thought": True}, {"text": "so", "thoughtSignature": "S"}]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", "f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choice(choice: ToolChoice, written: dict[str, Any]) -> None:
    body, _ = asked(tools=(Tool("f"),), tool_choice=choice)
    assert body["toolConfig"] == {"functionCallingConfig": written}


def test_a_choice_of_no_tool_is_refused() -> None:
    with pytest.raises(Fault) as caught:
        asked(tools=(Tool("f"),), tool_choice=ToolChoice("named", "g"))
    assert caught.value.param == "tool_choice"


def test_sampling_and_limits() -> None:
    sampling = Sampling(0.5, 0.9, 40, 0.1, 0.2, 7, ("END",), 2, True, 3)
    body, dropped = asked(sampling=sampling, max_tokens=100)
    assert body["generationConfig"] == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "presencePenalty": 0.1,
        "frequencyPenalty": 0.2,
        "seed": 7,
        "stopSequences": ["END"],
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
        "maxOutputTokens": 100,
    }
    assert dropped == ()


def test_a_bias_is_refused_and_never_dropped() -> None:
    with pytest.raises(Fault) as caught:
        asked(sampling=Sampling(logit_bias={"1": 2.0}))
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", "logit_bias")


def test_json_with_and_without_a_schema() -> None:
    assert asked(format=Format())[0]["generationConfig"] == {"responseMimeType": "application/json"}
    schema = {"type": "object", "additionalProperties": False}
    config = asked(format=Format(raw(schema)))[0]["generationConfig"]
    assert config == {"responseMimeType": "application/json", "responseJsonSchema": schema}


@pytest.mark.parametrize(
    ("model", "thinking", "config"),
    [
        ("gemini-2.5-flash", Thinking("none"), {"thinkingBudget": 0}),
        ("gemini-2.5-pro", Thinking("none"), {"thinkingBudget": 128}),
        ("gemini-2.5-flash", Thinking("low"), {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", Thinking("medium", shown=True), {"thinkingBudget": 8192, "includeThoughts": True}),
        ("gemini-2.5-flash", Thinking("high"), {"thinkingBudget": 24576}),
        ("gemini-2.5-flash", Thinking(budget=2000), {"thinkingBudget": 2000, "includeThoughts": True}),
        ("gemini-2.5-flash", Thinking(budget=2000, shown=False), {"thinkingBudget": 2000}),
        ("gemini-2.5-flash", Thinking("auto"), {"thinkingBudget": -1, "includeThoughts": True}),
        ("gemini-3-flash-preview", Thinking("auto", shown=True), {"includeThoughts": True}),
        ("gemini-3-flash-preview", Thinking("none"), {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.7-flash", Thinking("minimal"), {"thinkingLevel": "LOW"}),
        ("gemini-3-pro-preview", Thinking("minimal"), {"thinkingLevel": "LOW"}),
        ("gemini-3-pro-preview", Thinking("medium"), {"thinkingLevel": "HIGH"}),
        ("gemini-3.1-pro-preview", Thinking("medium"), {"thinkingLevel": "MEDIUM"}),
        ("gemini-3-flash-preview", Thinking("xhigh"), {"thinkingLevel": "HIGH"}),
        ("gemini-3-flash-preview", Thinking(shown=True), {"includeThoughts": True}),
    ],
)
def test_thinking_by_level_or_by_budget(model: str, thinking: Thinking, config: dict[str, Any]) -> None:
    body, dropped = asked(model=model, thinking=thinking)
    assert body["generationConfig"]["thinkingConfig"] == config
    assert dropped == ()


def test_models_that_do_not_think_are_not_asked_to() -> None:
    body, dropped = asked(model="gemini-2.0-flash", thinking=Thinking("high"))
    assert "generationConfig" not in body
    assert dropped == ("reasoning_effort",)


def test_a_deployment_that_is_known_not_to_think_is_not_asked_to() -> None:
    asked_for = Conversation(model="any", messages=(user(),), thinking=Thinking("high"))
    mute = Deployment("d", "any", "gemini", "gemini-2.5-flash-image", capabilities=Capabilities(reasoning=False))
    assert write(asked_for, mute).dropped == ("reasoning_effort",)


def test_parts_without_a_word_are_left_out_of_answers() -> None:
    answers = (Message("assistant", (Text(""), ToolCall("c", "f"))), Message("assistant", (Text(""),)))
    call = {"role": "model", "parts": [{"functionCall": {"id": "c", "name": "f", "args": {}}}]}
    assert asked(*answers)[0]["contents"] == [call, {"role": "model", "parts": [{"text": ""}]}]
    on_vertex = write(Conversation(model="any", messages=answers), Deployment("d", "any", "vertex", "gemini-2.5-flash"))
    assert json.loads(on_vertex.body)["contents"] == [call]


def test_googles_own_members_pass_however_they_are_written() -> None:
    extra = {
        "safety_settings": raw([{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}]),
        "cachedContent": raw("cachedContents/1"),
        "labels": raw({"team_name": "a"}),
        "modalities": raw(["text", "image"]),
        "generationConfig.mediaResolution": raw("MEDIA_RESOLUTION_LOW"),
        "google": raw({"thinking_config": {"include_thoughts": True}}),
        "web_search_options": raw({}),
        "stream_options": raw({"include_usage": True}),
        "prediction": raw({"type": "content"}),
    }
    body, dropped = asked(extra=extra, tools=(Tool("f"),), thinking=Thinking("low"))
    assert body["safetySettings"] == [{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "BLOCK_NONE"}]
    assert (body["cachedContent"], body["labels"]) == ("cachedContents/1", {"team_name": "a"})
    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]
    assert body["generationConfig"] == {
        "thinkingConfig": {"thinkingBudget": 1024, "includeThoughts": True},
        "responseModalities": ["TEXT", "IMAGE"],
        "mediaResolution": "MEDIA_RESOLUTION_LOW",
    }
    assert dropped == ("prediction",)


def test_googles_openai_options_are_taken_from_extra_body() -> None:
    body, dropped = asked(extra={"extra_body": raw({"google": {"cached_content": "c", "thought_tag_marker": "t"}})})
    assert body["cachedContent"] == "c"
    assert dropped == ("thought_tag_marker",)


def test_what_cannot_be_said_is_named() -> None:
    messages = Message("user", (Text("a", cache="5m"), Image(data="AA==", media_type="image/png", detail="low")), name="ann")
    _, dropped = asked(messages, user="u", parallel_tools=False, service_tier="scale")
    assert dropped == ("cache_control", "detail", "name", "parallel_tool_calls", "service_tier", "user")


@pytest.mark.parametrize(("tier", "written"), [("flex", "flex"), ("default", "standard"), ("priority", "priority"), ("auto", None)])
def test_service_tiers(tier: str, written: str | None) -> None:
    body, dropped = asked(service_tier=tier)
    assert (body.get("serviceTier"), dropped) == (written, ())
