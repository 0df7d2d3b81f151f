"""Whole answers of Converse, its errors, and vectors by InvokeModel."""

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from shoal.core.answer import fold, split
from shoal.core.conversation import Conversation, Image, Reasoning, Text, ToolCall
from shoal.core.embedding import EmbeddingRequest
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.bedrock.dialect import EMBEDDINGS, UPSTREAM

CLAUDE = Conversation(model="anthropic.claude-x", messages=())


def body(*content: Any, **more: Any) -> bytes:
    said = {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": "end_turn", "metrics": {"latencyMs": 1}}
    return json.dumps(said | more).encode()


def test_an_answer_of_everything() -> None:
    answer = UPSTREAM.answer(
        body(
            {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "S"}}},
            {"reasoningContent": {"redactedContent": b64encode(b"abc=").decode()}},
            {"text": ""},
            {"text": "hi"},
            {"citationsContent": {"content": [{"text": "so"}], "citations": [{"title": "T", "location": {"documentChar": {"start": 1}}}]}},
            {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": [1, 2]}, "type": "tool_use"}},
            {"toolUse": {"toolUseId": "s", "name": "nova_code_interpreter", "input": {}, "type": "server_tool_use"}},
            {"toolResult": {"toolUseId": "s", "content": [{"json": {}}]}},
            {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
            {"somethingNew": {}},
            stopReason="tool_use",
            usage={"inputTokens": 2, "outputTokens": 5, "totalTokens": 1329, "cacheReadInputTokens": 10, "cacheWriteInputTokens": 1322},
            trace={"guardrail": {}},
        ),
        CLAUDE,
    )
    (choice,) = answer.choices
    assert choice.parts[:3] == (Reasoning("hm", "S", origin="anthropic"), Reasoning(redacted="abc=", origin="anthropic"), Text("hi"))
    assert isinstance(choice.parts[3], Text)
    assert (choice.parts[3].text, choice.parts[3].citations[0].title) == ("so", "T")
    assert isinstance(choice.parts[4], ToolCall)
    assert json.loads(choice.parts[4].arguments) == {"a": [1, 2]}
    assert choice.parts[5:] == (Image(data="AAAA", media_type="image/png"),)
    assert choice.finish == "tool_calls"
    assert answer.usage == Usage(input=1334, output=5, cache_read=10, cache_write=1322)
    assert sorted(answer.extra) == ["metrics", "trace"]
    assert fold(split(answer)).choices[0].finish == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("tool_use", "stop"),
        ("of a later day", "stop"),
        (None, None),
    ],
)
def test_why_it_ended(reason: str | None, finish: str | None) -> None:
    assert UPSTREAM.answer(body({"text": "x"}, stopReason=reason), CLAUDE).choices[0].finish == finish


def test_calls_make_it_tool_calls_but_not_a_cut_answer() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}}
    assert UPSTREAM.answer(body(use), CLAUDE).choices[0].finish == "tool_calls"
    assert UPSTREAM.answer(body(use, stopReason="max_tokens"), CLAUDE).choices[0].finish == "length"


def test_what_is_not_reported_is_unknown() -> None:
    assert UPSTREAM.answer(body({"text": "x"}), CLAUDE).usage == Usage()
    assert UPSTREAM.answer(body({"text": "x"}, usage={"inputTokens": 3, "outputTokens": 0}), CLAUDE).usage == Usage(input=3, output=0)


def test_what_is_kept_for_an_hour_is_told_apart() -> None:
    written = [{"ttl": "1h", "inputTokens": 30}, {"ttl": "5m", "inputTokens": 12}]
    usage = {"inputTokens": 3, "outputTokens": 1, "cacheWriteInputTokens": 42, "cacheDetails": written}
    assert UPSTREAM.answer(body({"text": "x"}, usage=usage), CLAUDE).usage == Usage(input=45, output=1, cache_write=42, cache_write_1h=30)


@pytest.mark.parametrize("bad", [b"", b"[]", b"{}", b'{"output":5}', b"\xff", body({"toolUse": {"name": "f"}}), b"[" * 5000])
def test_what_is_no_answer_is_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        UPSTREAM.answer(bad, CLAUDE)
    assert caught.value.kind == "upstream_garbled"


def test_the_models_broken_answer_is_an_error() -> None:
    with pytest.raises(Fault) as caught:
        UPSTREAM.answer(body({"text": "x"}, stopReason="malformed_tool_use"), CLAUDE)
    assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize(
    ("status", "type", "kind"),
    [
        (400, "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/", "upstream_rejected"),
        (403, "AccessDeniedException", "upstream_auth"),
        (403, "UnrecognizedClientException", "upstream_auth"),
        (400, "ExpiredTokenException", "upstream_auth"),
        (404, "ResourceNotFoundException", "upstream_not_found"),
        (408, "ModelTimeoutException", "upstream_timeout"),
        (424, "ModelErrorException", "upstream_error"),
        (429, "ThrottlingException", "upstream_busy"),
        (429, "ModelNotReadyException", "upstream_busy"),
        (400, "ServiceQuotaExceededException", "upstream_busy"),
        (500, "InternalServerException", "upstream_error"),
        (503, "ServiceUnavailableException", "upstream_error"),
        (429, "", "upstream_busy"),
        (413, "OfALaterDay", "upstream_rejected"),
    ],
)
def test_errors_by_their_type(status: int, type: str, kind: str) -> None:
    assert UPSTREAM.fault(status, {b"x-amzn-errortype": type.encode()}, b'{"message":"no"}').kind == kind
    named = json.dumps({"__type": f"com.amazon.coral.service#{type}".removesuffix("#"), "message": "no"}).encode()
    assert UPSTREAM.fault(status, {}, named).kind == kind


def test_a_rejection_keeps_its_words_and_status() -> None:
    fault = UPSTREAM.fault(400, {}, b'{"message":"The provided model identifier is invalid."}')
    assert (fault.status, fault.message) == (400, "The provided model identifier is invalid.")
    assert UPSTREAM.fault(502, {}, b"<html>").kind == "upstream_error"


TITAN = Deployment("d", "m", "bedrock", "amazon.titan-embed-text-v2:0")
COHERE = Deployment("d", "m", "bedrock", "cohere.embed-v4:0")


def test_titan_takes_one_text_a_call() -> None:
    extra = {"normalize": msgspec.Raw(b"false"), "other": msgspec.Raw(b"1")}
    request = EmbeddingRequest(model="e", inputs=("a", "b"), dimensions=256, user="u", extra=extra)
    calls = EMBEDDINGS.encode(request, TITAN)
    assert [json.loads(call.body)["inputText"] for call in calls] == ["a", "b"]
    assert json.loads(calls[0].body) == {"inputText": "a", "dimensions": 256, "normalize": False}
    assert (calls[0].path, calls[0].dropped) == ("/model/amazon.titan-embed-text-v2%3A0/invoke", ("other", "user"))
    answer = EMBEDDINGS.answer([b'{"embedding":[1,2.5],"inputTextTokenCount":3}', b'{"embedding":[3],"inputTextTokenCount":4}'], request)
    assert (answer.vectors, answer.usage) == (((1.0, 2.5), (3.0,)), Usage(input=7))


def test_cohere_takes_96_texts_a_call() -> None:
    request = EmbeddingRequest(model="e", inputs=tuple(map(str, range(100))), extra={"input_type": msgspec.Raw(b'"search_query"')})
    first, second = EMBEDDINGS.encode(request, COHERE)
    assert len(json.loads(first.body)["texts"]) == 96
    assert json.loads(second.body) == {"texts": ["96", "97", "98", "99"], "input_type": "search_query"}
    one = EmbeddingRequest(model="e", inputs=("a",), dimensions=64)
    assert json.loads(EMBEDDINGS.encode(one, COHERE)[0].body) == {
        "texts": ["a"], "input_type": "search_document", "output_dimension": 64,
    }  # fmt: skip
    for said in (b'{"embeddings":[[1,2]],"response_type":"embeddings_floats"}', b'{"embeddings":{"float":[[1,2]]}}'):
        assert EMBEDDINGS.answer([said], one).vectors == ((1.0, 2.0),)
        assert EMBEDDINGS.answer([said], one, [{b"x-amzn-bedrock-input-token-count": b"4"}]).usage == Usage(input=4)
        assert EMBEDDINGS.answer([said], one, [{b"x-amzn-bedrock-input-token-count": b"many"}]).usage == Usage()


def test_nova_takes_one_text_a_call() -> None:
    nova = Deployment("d", "m", "bedrock", "amazon.nova-2-multimodal-embeddings-v1:0")
    extra = {name: msgspec.json.encode(value) for name, value in {"input_type": "search_query", "truncate": "END", "other": 1}.items()}
    request = EmbeddingRequest(
        model="e", inputs=("a", "b"), dimensions=256, extra={name: msgspec.Raw(value) for name, value in extra.items()}
    )
    calls = EMBEDDINGS.encode(request, nova)
    assert [json.loads(call.body) for call in calls] == [
        {
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "GENERIC_RETRIEVAL",
                "text": {"value": text, "truncationMode": "END"},
                "embeddingDimension": 256,
            },
        }
        for text in ("a", "b")
    ]
    assert calls[0].dropped == ("other",)
    least = json.loads(EMBEDDINGS.encode(EmbeddingRequest(model="e", inputs=("a",)), nova)[0].body)
    assert least["singleEmbeddingParams"] == {"embeddingPurpose": "GENERIC_INDEX", "text": {"value": "a", "truncationMode": "NONE"}}
    said = [
        b'{"embeddings": [{"embedding":[1,2],"embeddingType":"TEXT"}]}',
        b'{"embeddings":[ {"embedding":[3,4],"truncatedCharLength":9}]}',
    ]
    assert EMBEDDINGS.answer(said, request).vectors == ((1.0, 2.0), (3.0, 4.0))


@pytest.mark.parametrize("bad", [b"{}", b"[]", b'{"embeddings":{"int8":[[1]]}}', b'{"embeddings":[]}', b'{"embedding":["x"]}'])
def test_too_few_vectors_are_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        EMBEDDINGS.answer([bad], EmbeddingRequest(model="e", inputs=("a",)))
    assert caught.value.kind == "upstream_garbled"
