"""A Gemini's whole answer as nouns, and an answer of anybody's for a caller who speaks Gemini."""

import json
from typing import Any

import msgspec
import pytest

from shoal.core.answer import Answer, Choice
from shoal.core.conversation import Citation, Conversation, File, Image, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.gemini.answers import read, write

NOBODY = Conversation(model="m", messages=())


def answer(*candidates: dict[str, Any], **members: Any) -> Answer:
    """The meaning of an answer."""
    body = {"candidates": list(candidates), "modelVersion": "gemini-2.5-pro", "responseId": "r1"} | members
    return read(json.dumps(body, indent=2).encode(), NOBODY)


def said(*parts: dict[str, Any], **members: Any) -> Choice:
    """The only choice of an answer of these parts."""
    (choice,) = answer({"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP"} | members).choices
    return choice


def test_words_and_who_said_them() -> None:
    found = answer({"content": {"parts": [{"text": "Hi"}, {"text": " there"}]}, "finishReason": "STOP"})
    assert (found.id, found.model) == ("r1", "gemini-2.5-pro")
    assert found.choices == (Choice((Text("Hi there"),), "stop"),)


def test_thoughts_stand_apart_with_their_signatures() -> None:
    parts = said({"text": "hm", "thought": True}, {"text": " well", "thought": True}, {"text": "Hi", "thoughtSignature": "s"}).parts
    assert parts == (Reasoning("hm well", origin="gemini"), Text("Hi"), Reasoning("", "s", origin="gemini"))


def test_calls_are_whole_and_end_the_turn() -> None:
    call = {"functionCall": {"name": "f", "args": {"a": [1, 2]}}, "thoughtSignature": "s"}
    choice = said(call, {"functionCall": {"id": "own", "name": "g"}})
    assert choice.finish == "tool_calls"
    assert choice.parts == (ToolCall("call_r1_0_0", "f", '{"a":[1,2]}', "s"), ToolCall("own", "g", "{}"))


def test_ids_are_the_same_at_every_reading_even_without_an_answers_id() -> None:
    body = b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}]}'
    other = body.replace(b'"f"', b'"g"')
    first, again, another = (read(one, NOBODY).choices[0].parts[0] for one in (body, body, other))
    assert first == again
    assert isinstance(first, ToolCall) and isinstance(another, ToolCall)
    assert first.id != another.id and len(first.id) <= 40


def test_pictures_and_speech_but_not_the_programs_that_google_ran() -> None:
    parts = said(
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        {"inlineData": {"mimeType": "audio/L16", "data": "BB=="}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://a"}},
        {"executableCode": {"language": "PYTHON", "code": "print(1)\n"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}, "thought": True},
        {"text": "It is 1."},
    ).parts
    assert parts == (
        Image(data="AA==", media_type="image/png"),
        File(data="BB==", media_type="audio/L16"),
        File(url="gs://a", media_type="video/mp4"),
        Text("It is 1."),
    )


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("OTHER", None),
        ("SOMETHING_NEW", None),
    ],
)
def test_why_it_ended(reason: str, finish: str | None) -> None:
    assert said({"text": "a"}, finishReason=reason).finish == finish


def test_an_answer_that_was_held_back_has_no_words() -> None:
    found = answer({"content": {}, "finishReason": "SAFETY"}, usageMetadata={"promptTokenCount": 14, "totalTokenCount": 14})
    assert found.choices == (Choice((), "content_filter"),)
    assert found.usage == Usage(input=14, output=0)


@pytest.mark.parametrize("candidates", [[], None])
def test_a_question_that_was_blocked_is_an_answer(candidates: list[Any] | None) -> None:
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}, "candidates": candidates}
    found = read(json.dumps(body).encode(), NOBODY)
    assert found.choices == (Choice((), "content_filter"),)
    assert found.usage == Usage(input=3)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_a_call_that_google_threw_away_is_a_failure_to_try_again(reason: str) -> None:
    with pytest.raises(Fault) as caught:
        said({"text": "I will call it now."}, finishReason=reason)
    assert caught.value.kind == "upstream_garbled" and caught.value.row.try_another
    assert reason in caught.value.message


def test_one_broken_candidate_leaves_the_others() -> None:
    found = answer(
        {"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP", "index": 0},
        {"finishReason": "MALFORMED_FUNCTION_CALL", "index": 1},
    )
    assert [choice.finish for choice in found.choices] == ["stop", None]


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({}, Usage()),
        ({"promptTokenCount": 5}, Usage(input=5)),
        ({"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}, Usage(5, 5, reasoning=3)),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 4, "candidatesTokenCount": 2}, Usage(5, 2, 4)),
        (
            {
                "promptTokenCount": 5,
                "candidatesTokenCount": 2,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}, {"modality": "AUDIO", "tokenCount": 4}],
                "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 2}],
            },
            Usage(5, 2, audio_input=4, audio_cache_read=3, audio_output=2),
        ),
        ({"promptTokenCount": 5, "toolUsePromptTokenCount": 7, "candidatesTokenCount": 2, "totalTokenCount": 14}, Usage(12, 2)),
        ({"promptTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 8}, Usage(5, 3, reasoning=3)),
        ({"promptTokenCount": 5, "totalTokenCount": 5}, Usage(5, 0)),
    ],
)
def test_tokens(counts: dict[str, int], usage: Usage) -> None:
    assert answer({"finishReason": "STOP"}, usageMetadata=counts).usage == usage


def test_sources_are_placed_in_characters() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"retrievedContext": {"uri": "gs://b", "text": "b says"}}],
        "groundingSupports": [
            {"segment": {"endIndex": 3, "text": "üa"}, "groundingChunkIndices": [0]},
            {"segment": {"startIndex": 3, "endIndex": 4}, "groundingChunkIndices": [0, 1, 9]},
            {"segment": {"partIndex": 1, "endIndex": 1}, "groundingChunkIndices": [1]},
        ],
    }
    (text,) = said({"text": "üab"}, {"text": "c"}, groundingMetadata=grounding).parts
    assert isinstance(text, Text) and text.text == "üabc"
    assert text.citations == (
        Citation("https://a.example", "A", start=0, end=2),
        Citation("https://a.example", "A", start=2, end=3),
        Citation("gs://b", None, "b says", 2, 3),
        Citation("gs://b", None, "b says", 3, 4),
    )


@pytest.mark.parametrize("name", ["citations", "citationSources"])
def test_quotations_and_sources_without_a_place(name: str) -> None:
    quoted = {name: [{"startIndex": 1, "endIndex": 2, "uri": "https://q.example"}]}
    grounding = {"groundingChunks": [{"web": {"uri": "https://a.example"}}]}
    (text,) = said({"text": "abc"}, citationMetadata=quoted, groundingMetadata=grounding).parts
    assert isinstance(text, Text)
    assert text.citations == (Citation("https://a.example"), Citation("https://q.example", start=1, end=2))


def test_log_probabilities_both_ways() -> None:
    result = {
        "chosenCandidates": [{"token": "ü", "tokenId": 1, "logProbability": -0.5}, {"token": "!"}],
        "topCandidates": [{"candidates": [{"token": "ü", "logProbability": -0.5}, {"token": "u", "logProbability": -1.5}]}],
    }
    choice = said({"text": "ü!"}, logprobsResult=result)
    assert choice.logprobs is not None
    top = [{"token": "ü", "logprob": -0.5, "bytes": [195, 188]}, {"token": "u", "logprob": -1.5, "bytes": [117]}]
    assert json.loads(bytes(choice.logprobs)) == {
        "content": [
            {"token": "ü", "logprob": -0.5, "bytes": [195, 188], "top_logprobs": top},
            {"token": "!", "logprob": 0.0, "bytes": [33], "top_logprobs": []},
        ],
        "refusal": None,
    }
    back = json.loads(write(Answer(choices=(choice,)), None, b"null"))["candidates"][0]["logprobsResult"]
    assert back["chosenCandidates"] == [{"token": "ü", "logProbability": -0.5}, {"token": "!", "logProbability": 0.0}]
    assert back["topCandidates"][0]["candidates"][1] == {"token": "u", "logProbability": -1.5}


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "upstream_garbled"),
        (b"<html>", "upstream_garbled"),
        (b'{"candidates":{}}', "upstream_garbled"),
        (b'{"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}', "upstream_garbled"),
        (b"{}", "upstream_cut"),
        (b'{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}', "upstream_error"),
    ],
)
def test_what_is_no_answer_is_a_fault(body: bytes, kind: str) -> None:
    with pytest.raises(Fault) as caught:
        read(body, NOBODY)
    assert caught.value.kind == kind


def test_a_whole_answer_needs_no_reason_to_end() -> None:
    choice = read(b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}', NOBODY).choices[0]
    assert choice == Choice((Text("a"),), "stop")


def written(*parts: Any, finish: Any = "stop", usage: Usage | None = None, cost: str | None = "0.25") -> Any:
    """An answer as a caller gets it."""
    found = Answer(id="r1", model="m1", choices=(Choice(parts, finish),), usage=usage or Usage())
    return json.loads(write(found, cost, b'{"attempts":1}'))


def test_an_answer_for_a_caller() -> None:
    body = written(Text("Hi"), usage=Usage(10, 7, 2, reasoning=3))
    assert body == {
        "candidates": [{"content": {"parts": [{"text": "Hi"}], "role": "model"}, "index": 0, "finishReason": "STOP"}],
        "modelVersion": "m1",
        "responseId": "r1",
        "usageMetadata": {
            "promptTokenCount": 10,
            "cachedContentTokenCount": 2,
            "candidatesTokenCount": 4,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 17,
            "cost": 0.25,
        },
        "shoal": {"attempts": 1},
    }
    assert list(body)[-1] == "shoal" and list(body["usageMetadata"])[-1] == "cost"


def test_what_is_not_known_is_left_out_but_the_cost() -> None:
    assert written(Text("Hi"), cost=None)["usageMetadata"] == {"cost": None}


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "STOP"), ("tool_calls", "STOP"), ("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), (None, "OTHER")],
)
def test_reasons_for_a_caller(finish: str | None, reason: str) -> None:
    assert written(finish=finish)["candidates"][0]["finishReason"] == reason


def test_parts_for_a_caller() -> None:
    body = written(
        Reasoning("hm", "s0", origin="gemini"),
        Refusal("No."),
        Reasoning("", "s1", origin="gemini"),
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "g", "", "s2"),
        ToolCall("c", "g"),
        Image(data="AA==", media_type="image/png"),
        finish="tool_calls",
    )
    assert body["candidates"][0]["content"]["parts"] == [
        {"text": "hm", "thought": True, "thoughtSignature": "s0"},
        {"text": "No."},
        {"text": "", "thoughtSignature": "s1"},
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "skip_thought_signature_validator"},
        {"functionCall": {"id": "b", "name": "g", "args": {}}, "thoughtSignature": "s2"},
        {"functionCall": {"id": "c", "name": "g", "args": {}}},
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
    ]


def test_sources_for_a_caller_are_placed_in_bytes() -> None:
    cited = (Citation("https://a.example", "A", start=1, end=2), Citation("https://a.example", "A"), Citation("https://b.example"))
    grounding = written(Text("üöa", citations=cited))["candidates"][0]["groundingMetadata"]
    assert grounding == {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"web": {"uri": "https://b.example"}}],
        "groundingSupports": [{"segment": {"startIndex": 2, "endIndex": 4, "text": "ö"}, "groundingChunkIndices": [0]}],
    }
    own = (Citation(None, "D", "words", 0, 1), Citation(None, "D", "other words", 1, 2))
    grounding = written(Text("ab", citations=own))["candidates"][0]["groundingMetadata"]
    assert grounding["groundingChunks"] == [{"retrievedContext": {"title": "D", "text": one}} for one in ("words", "other words")]
    assert [one["groundingChunkIndices"] for one in grounding["groundingSupports"]] == [[0], [1]]


def test_an_answer_survives_being_written_and_read() -> None:
    parts = (
        Reasoning("hm", "s", origin="gemini"),
        Text("Hi"),
        ToolCall("a", "f", '{"x":1}', "s2"),
        Image(data="AA==", media_type="image/png"),
    )
    found = Answer(id="r1", model="m1", choices=(Choice(parts, "tool_calls"),), usage=Usage(10, 7, 2, reasoning=3))
    assert read(write(found, None, b"null"), NOBODY) == found
    assert msgspec.json.decode(write(found, None, b"null"))["shoal"] is None
