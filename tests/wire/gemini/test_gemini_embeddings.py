"""Vectors by AI Studio's and Vertex's calls, and what their answers say together."""

import json
from typing import Any

import msgspec
import pytest

from shoal.core.embedding import EmbeddingRequest
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.gemini.embeddings import Embeddings


def calls(request: EmbeddingRequest, model: str, provider: str = "gemini") -> list[tuple[str, Any]]:
    """Paths and bodies."""
    found = Embeddings().encode(request, Deployment("d", "any", provider, model))
    return [(call.path, json.loads(call.body)) for call in found]


def request(*inputs: str, **fields: Any) -> EmbeddingRequest:
    """A request for vectors."""
    return EmbeddingRequest(model="any", inputs=inputs, **fields)


def test_ai_studio_takes_a_batch() -> None:
    wanted = request("a", "b", dimensions=8, extra={"task_type": msgspec.Raw(b'"RETRIEVAL_QUERY"')})
    options = {"model": "models/gemini-embedding-001", "outputDimensionality": 8, "taskType": "RETRIEVAL_QUERY"}
    expected = [options | {"content": {"parts": [{"text": text}]}} for text in "ab"]
    assert calls(wanted, "gemini-embedding-001") == [("/models/gemini-embedding-001:batchEmbedContents", {"requests": expected})]


def test_a_batch_has_at_most_a_hundred() -> None:
    found = calls(request(*map(str, range(250))), "gemini-embedding-001")
    assert [len(body["requests"]) for _, body in found] == [100, 100, 50]
    assert found[2][1]["requests"][-1]["content"]["parts"][0]["text"] == "249"


def test_vertex_predicts() -> None:
    wanted = request("a", "b", dimensions=8, extra={"taskType": msgspec.Raw(b'"CLUSTERING"'), "autoTruncate": msgspec.Raw(b"false")})
    ((path, body),) = calls(wanted, "text-embedding-005", "vertex")
    assert path == "/models/text-embedding-005:predict"
    assert body == {
        "instances": [{"content": "a", "task_type": "CLUSTERING"}, {"content": "b", "task_type": "CLUSTERING"}],
        "parameters": {"autoTruncate": False, "outputDimensionality": 8},
    }
    assert [len(body["instances"]) for _, body in calls(wanted, "gemini-embedding-001", "vertex")] == [1, 1]


def test_vertex_embeds_with_its_multimodal_models_one_by_one() -> None:
    found = calls(request("a", "b", dimensions=8), "gemini-embedding-2", "vertex")
    assert [path for path, _ in found] == ["/models/gemini-embedding-2:embedContent"] * 2
    assert found[0][1] == {"content": {"role": "user", "parts": [{"text": "a"}]}, "embedContentConfig": {"outputDimensionality": 8}}


def test_what_cannot_be_said_is_named() -> None:
    (call,) = Embeddings().encode(
        request("a", user="u", extra={"input_type": msgspec.Raw(b'"query"')}), Deployment("d", "m", "gemini", "m")
    )
    assert call.dropped == ("input_type", "user")


@pytest.mark.parametrize(
    ("bodies", "usage"),
    [
        ([{"embeddings": [{"values": [0.5, 1]}, {"values": [2, 3]}]}], Usage()),
        ([{"embeddings": [{"values": [0.5, 1]}, {"values": [2, 3]}], "usageMetadata": {"promptTokenCount": 7}}], Usage(input=7)),
        ([{"predictions": [{"embeddings": {"values": v, "statistics": {"token_count": 3}}} for v in ([0.5, 1], [2, 3])]}], Usage(input=6)),
        (
            [{"embedding": {"values": v}, "usageMetadata": {"promptTokenCount": 2}} for v in ([0.5, 1], [2, 3])],
            Usage(input=4),
        ),
        ([{"embedding": {"values": [0.5, 1]}, "usageMetadata": {"promptTokenCount": 2}}, {"embedding": {"values": [2, 3]}}], Usage()),
    ],
)
def test_answers_of_every_call(bodies: list[dict[str, Any]], usage: Usage) -> None:
    found = Embeddings().answer([json.dumps(body).encode() for body in bodies], request("a", "b"))
    assert found.vectors == ((0.5, 1.0), (2.0, 3.0))
    assert found.usage == usage


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"embeddings":[{"values":[1]}]}', b'{"embeddings":[{"values":["x"]},{"values":[1]}]}']
)
def test_too_few_vectors_or_none_are_garbled(body: bytes) -> None:
    with pytest.raises(Fault) as caught:
        Embeddings().answer([body], request("a", "b"))
    assert caught.value.kind == "upstream_garbled"
