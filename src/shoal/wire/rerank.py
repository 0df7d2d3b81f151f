"""Rankings: the question and the answer as callers know them from Cohere, and as upstreams take them, most of them nearly so.

Callers: `POST /v1/rerank` in the shape of Cohere's v2, with v1's `return_documents`. https://docs.cohere.com/reference/rerank
Upstreams differ in a few words, which are data here (`UPSTREAMS`, by a provider's name or a dialect's). Documents are given back from the
request, so that an upstream is never asked to send them, and results are put in order and cut to `top_n` whatever it did.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import msgspec

from shoal.core import chat
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.rerank import RerankAnswer, RerankRequest, RerankResult
from shoal.core.usage import Usage
from shoal.wire.cohere import usage as cohere

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Named = Annotated[str, msgspec.Meta(min_length=1)]


class _Text(msgspec.Struct):
    text: str


class _Question(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    query: _Named
    documents: Annotated[list[str | _Text], msgspec.Meta(min_length=1)]
    top_n: _Positive | None = None
    max_tokens_per_doc: _Positive | None = None
    return_documents: bool | None = None


_question = msgspec.json.Decoder(_Question)


def read(body: bytes) -> RerankRequest:
    """A caller's request, checked. Documents are texts, or v1's objects with a `text`. Errors: Fault naming the parameter."""
    seen = chat.decode(body, _question)
    extra = {name: raw for name, raw in chat.members_of(body).items() if name not in _Question.__struct_fields__ and bytes(raw) != b"null"}
    if "rank_fields" in extra:
        text = "Documents are ranked by their text; put the fields that count into it instead of naming them in 'rank_fields'."
        raise Fault("unsupported_parameter", text, param="rank_fields")
    return RerankRequest(
        model=seen.model,
        query=seen.query,
        documents=tuple(one if isinstance(one, str) else one.text for one in seen.documents),
        top_n=seen.top_n,
        max_tokens_per_doc=seen.max_tokens_per_doc,
        return_documents=bool(seen.return_documents),
        extra=extra,
    )


def write(answer: RerankAnswer, request: RerankRequest, cost: str | None, receipt: bytes) -> bytes:
    """The answer for a caller: Cohere's `results` and `meta`, a `usage` that ends with its cost, and the receipt as `shoal`."""
    results: list[dict[str, Any]] = []
    for one in answer.results:
        text = {"document": {"text": request.documents[one.index]}} if request.return_documents else {}
        results.append({"index": one.index, "relevance_score": one.relevance_score, **text})
    billed = {"search_units": answer.usage.searches} if answer.usage.searches is not None else {}
    tokens = {"prompt_tokens": answer.usage.input, "total_tokens": answer.usage.input} if answer.usage.input is not None else {}
    said = {
        "id": answer.id,
        "model": request.model,
        "results": results,
        "meta": {"api_version": {"version": "2"}} | ({"billed_units": billed} if billed else {}),
        "usage": {**billed, **tokens, "cost": msgspec.Raw((cost or "null").encode())},
        "shoal": msgspec.Raw(receipt),
    }
    return msgspec.json.encode(said)


class Upstream(msgspec.Struct, frozen=True):
    """How one kind of upstream words it: its path (which may hold the model), the member with the results, and what else it takes."""

    path: str = "/rerank"
    results: str = "results"
    limits_documents: bool = False
    """Whether it has `max_tokens_per_doc`."""
    names_model: bool = True
    always: Mapping[str, int] = {}
    own: tuple[str, ...] = ()
    """Members of its own that a caller may name as they are."""


UPSTREAMS: Mapping[str, Upstream] = {
    "cohere": Upstream("/v2/rerank", limits_documents=True, own=("priority", "relevant_spans")),
    # Jina's words, which are vLLM's, llama.cpp's, Novita's, Together's and OpenRouter's too.
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server, https://docs.together.ai/reference/rerank,
    # https://novita.ai/docs/api-reference/model-apis-llm-create-rerank, https://openrouter.ai/docs/api/api-reference/rerank
    "jina": Upstream(),
    # https://docs.fireworks.ai/api-reference/rerank-documents
    "fireworks": Upstream(results="data", own=("task",)),
    # https://www.alibabacloud.com/help/en/model-studio/text-rerank-api (its base URL ends in /compatible-api/v1)
    "dashscope": Upstream("/reranks", own=("instruct",)),
    # Cohere's models by InvokeModel. https://docs.aws.amazon.com/bedrock/latest/userguide/rerank-supported.html
    "bedrock": Upstream("/model/{model}/invoke", names_model=False, always={"api_version": 2}),
}


def find_upstream(deployment: Deployment) -> Upstream:
    """How this deployment's provider words it: by its own name, by its dialect's, else as most do."""
    return UPSTREAMS.get(deployment.provider) or UPSTREAMS.get(deployment.dialect) or UPSTREAMS["jina"]


def encode(request: RerankRequest, deployment: Deployment, upstream: Upstream) -> HttpCall:
    """The call that asks this; what the upstream has no word for is named in `dropped`."""
    body: dict[str, Any] = {"model": deployment.upstream_model} if upstream.names_model else {}
    body |= {"query": request.query, "documents": request.documents, **upstream.always}
    if request.top_n is not None:
        body["top_n"] = min(request.top_n, len(request.documents))
    body |= {name: raw for name, raw in request.extra.items() if name in upstream.own}
    dropped = {name for name in request.extra if name not in upstream.own}
    if request.max_tokens_per_doc is not None and upstream.limits_documents:
        body["max_tokens_per_doc"] = request.max_tokens_per_doc
    elif request.max_tokens_per_doc is not None:
        dropped.add("max_tokens_per_doc")
    path = upstream.path.replace("{model}", quote(deployment.upstream_model, safe=""))
    return HttpCall(path, msgspec.json.encode(body), dropped=tuple(sorted(dropped)))


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Used(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None
    search_units: int | None = None


class _Answer(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    results: list[_Result] | None = None
    data: list[_Result] | None = None
    usage: _Used | None = None
    meta: cohere.Counts | None = None


_answer = msgspec.json.Decoder(_Answer)


def answer(body: bytes, request: RerankRequest, upstream: Upstream) -> RerankAnswer:
    """What an upstream answered. Errors: Fault upstream_garbled, also for a result that is no document of the request, or is twice."""
    try:
        seen = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not a ranking.") from None
    found = seen.data if upstream.results == "data" else seen.results
    if found is None:
        raise Fault("upstream_garbled", f"The upstream's answer has no '{upstream.results}'.")
    places = {one.index for one in found}
    if len(places) != len(found) or not places <= set(range(len(request.documents))):
        raise Fault("upstream_garbled", "The upstream ranked a document twice, or one that it was not given.")
    ranked = sorted(found, key=lambda one: -one.relevance_score)[: request.top_n]
    return RerankAnswer(
        results=tuple(RerankResult(one.index, one.relevance_score) for one in ranked),
        usage=_usage(seen),
        id=seen.id or "",
        model=seen.model or "",
    )


def _usage(seen: _Answer) -> Usage:
    """Searches or tokens, as the upstream sells rankings: where it tells both, it charges by the search (OpenRouter)."""
    if seen.usage is None:
        return cohere.read_usage(seen.meta)
    counted = seen.usage.prompt_tokens if seen.usage.prompt_tokens is not None else seen.usage.total_tokens
    return Usage(input=counted, searches=seen.usage.search_units)
