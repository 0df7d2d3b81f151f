"""Rankings: what callers ask, what upstreams are asked, and what comes back."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.rerank import RerankAnswer, RerankRequest, RerankResult
from shoal.core.usage import Usage
from shoal.wire import rerank
from shoal.wire.rerank import UPSTREAMS

DEPLOYMENT = Deployment("d", "m", "p", "rerank:v3.5")
REQUEST = RerankRequest(model="m", query="q", documents=("a", "b", "c"))


def body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "query": "q", "documents": ["a", "b", "c"]} | members).encode()


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def test_a_question_in_the_words_of_both_versions() -> None:
    assert rerank.read(body()) == REQUEST
    said = rerank.read(
        body(documents=["a", {"text": "b", "id": 7}], top_n=1, max_tokens_per_doc=9, return_documents=True, priority=2, other=None)
    )
    assert (said.documents, said.top_n, said.max_tokens_per_doc, said.return_documents) == (("a", "b"), 1, 9, True)
    assert {name: bytes(value) for name, value in said.extra.items()} == {"priority": b"2"}


@pytest.mark.parametrize(
    ("wrong", "kind", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b'{"model":"m","query":"q"}', "missing_parameter", "documents"),
        (b'{"query":"q","documents":["a"]}', "missing_parameter", "model"),
        (body(documents=[]), "invalid_value", "documents"),
        (body(documents="a"), "invalid_type", "documents"),
        (body(documents=["a", 5]), "invalid_type", "documents[1]"),
        (body(documents=[{"title": "x"}]), "missing_parameter", "documents[0].text"),
        (body(query=""), "invalid_value", "query"),
        (body(query=5), "invalid_type", "query"),
        (body(top_n=0), "invalid_value", "top_n"),
        (body(return_documents="yes"), "invalid_type", "return_documents"),
        (body(rank_fields=["title"]), "unsupported_parameter", "rank_fields"),
    ],
)
def test_what_is_wrong_is_named(wrong: bytes, kind: str, param: str | None) -> None:
    with pytest.raises(Fault) as caught:
        rerank.read(wrong)
    assert (caught.value.kind, caught.value.param) == (kind, param)


@pytest.mark.parametrize(
    ("provider", "dialect", "name"),
    [
        ("fireworks", "openai_chat", "fireworks"),
        ("work", "cohere", "cohere"),
        ("together", "openai_chat", "jina"),
        ("bedrock", "bedrock", "bedrock"),
    ],
)
def test_a_provider_has_the_words_of_its_own_or_of_its_dialect(provider: str, dialect: str, name: str) -> None:
    assert rerank.find_upstream(Deployment("d", "m", provider, "u", dialect=dialect)) is UPSTREAMS[name]


def test_an_answer_for_a_caller() -> None:
    answer = RerankAnswer(results=(RerankResult(2, 0.9), RerankResult(0, 0.1)), usage=Usage(searches=1), id="i")
    said = rerank.write(answer, REQUEST, "0.002", b'{"id":"r"}')
    assert json.loads(said) == {
        "id": "i",
        "model": "m",
        "results": [{"index": 2, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        "usage": {"search_units": 1, "cost": 0.002},
        "shoal": {"id": "r"},
    }
    assert said.endswith(b'"cost":0.002},"shoal":{"id":"r"}}')


def test_documents_come_from_the_request_and_an_unknown_cost_is_null() -> None:
    request = RerankRequest(model="m", query="q", documents=("a", "b"), return_documents=True)
    said = json.loads(rerank.write(RerankAnswer(results=(RerankResult(1, 0.5),), usage=Usage(input=12)), request, None, b"null"))
    assert said["results"] == [{"index": 1, "relevance_score": 0.5, "document": {"text": "b"}}]
    assert said["usage"] == {"prompt_tokens": 12, "total_tokens": 12, "cost": None}
    assert said["meta"] == {"api_version": {"version": "2"}}


@pytest.mark.parametrize(
    ("name", "path", "members", "dropped"),
    [
        ("cohere", "/v2/rerank", {"model": "rerank:v3.5", "max_tokens_per_doc": 9, "priority": 1}, ("other",)),
        ("jina", "/rerank", {"model": "rerank:v3.5"}, ("max_tokens_per_doc", "other", "priority")),
        ("fireworks", "/rerank", {"model": "rerank:v3.5"}, ("max_tokens_per_doc", "other", "priority")),
        ("dashscope", "/reranks", {"model": "rerank:v3.5"}, ("max_tokens_per_doc", "other", "priority")),
        ("bedrock", "/model/rerank%3Av3.5/invoke", {"api_version": 2}, ("max_tokens_per_doc", "other", "priority")),
    ],
)
def test_each_upstream_in_its_words(name: str, path: str, members: dict[str, Any], dropped: tuple[str, ...]) -> None:
    request = RerankRequest(
        model="m",
        query="q",
        documents=("a", "b"),
        top_n=5,
        max_tokens_per_doc=9,
        return_documents=True,
        extra={"priority": raw(1), "other": raw(2)},
    )
    call = rerank.encode(request, DEPLOYMENT, UPSTREAMS[name])
    assert (call.path, call.dropped) == (path, dropped)
    assert json.loads(call.body) == {"query": "q", "documents": ["a", "b"], "top_n": 2} | members


@pytest.mark.parametrize(
    ("name", "said", "usage", "id"),
    [
        ("cohere", {"id": "i", "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}}, Usage(searches=1), "i"),
        ("jina", {"id": "i", "model": "x", "usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(input=5), "i"),
        ("jina", {"usage": {"total_tokens": 7, "search_units": 1, "cost": 0.001}}, Usage(input=7, searches=1), ""),
        ("fireworks", {"object": "list", "usage": {"prompt_tokens": 5, "total_tokens": 5}}, Usage(input=5), ""),
        ("bedrock", {}, Usage(), ""),
    ],
)
def test_each_upstreams_answer(name: str, said: dict[str, Any], usage: Usage, id: str) -> None:
    upstream = UPSTREAMS[name]
    results = [{"index": 0, "relevance_score": 0.1, "document": {"text": "a"}}, {"index": 2, "relevance_score": 0.7}]
    answer = rerank.answer(json.dumps(said | {upstream.results: results}).encode(), REQUEST, upstream)
    assert answer.results == (RerankResult(2, 0.7), RerankResult(0, 0.1))
    assert (answer.usage, answer.id) == (usage, id)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=3), st.integers(1, 5))
def test_results_are_ordered_and_cut_whatever_the_upstream_did(scores: list[float], top_n: int) -> None:
    request = msgspec.structs.replace(REQUEST, top_n=top_n)
    said = json.dumps({"results": [{"index": place, "relevance_score": score} for place, score in enumerate(scores)]}).encode()
    answer = rerank.answer(said, request, UPSTREAMS["jina"])
    assert [one.relevance_score for one in answer.results] == sorted(scores, reverse=True)[:top_n]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"[]",
        b"{}",
        b'{"data":[]}',
        b'{"results":[{"index":3,"relevance_score":1}]}',
        b'{"results":[{"index":-1,"relevance_score":1}]}',
        b'{"results":[{"index":1,"relevance_score":1},{"index":1,"relevance_score":1}]}',
        b'{"results":[{"index":1}]}',
    ],
)
def test_what_is_no_ranking_is_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        rerank.answer(bad, REQUEST, UPSTREAMS["jina"])
    assert caught.value.kind == "upstream_garbled"
