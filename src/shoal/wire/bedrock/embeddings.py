"""Vectors of Bedrock's models, by InvokeModel: Amazon's Titan and Nova take one text a call, Cohere's take 96.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shoal.core.embedding import EmbeddingAnswer, EmbeddingRequest, Headers
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.bedrock import errors
from shoal.wire.bedrock.requests import model_path

_MOST = 96
_TOKENS = b"x-amzn-bedrock-input-token-count"
_TITAN_OWN = ("normalize",)
_COHERE_OWN = ("input_type", "truncate", "max_tokens")
# what a Nova is told, by our callers' words: its own, and Cohere's, which others took over
_NOVA_PURPOSES = {
    "search_document": "GENERIC_INDEX",
    "search_query": "GENERIC_RETRIEVAL",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_NOVA_OWN = ("embeddingPurpose", "truncationMode", "input_type", "truncate")


class _Titan(msgspec.Struct):
    embedding: tuple[float, ...]
    inputTextTokenCount: int | None = None


class _Typed(msgspec.Struct):
    float: tuple[tuple[float, ...], ...]


class _Cohere(msgspec.Struct):
    embeddings: tuple[tuple[float, ...], ...] | _Typed


class _NovaVector(msgspec.Struct):
    embedding: tuple[float, ...]


class _Nova(msgspec.Struct):
    embeddings: tuple[_NovaVector, ...]


_answer = msgspec.json.Decoder(dict[str, msgspec.Raw])
_titan = msgspec.json.Decoder(_Titan)
_cohere = msgspec.json.Decoder(_Cohere)
_nova = msgspec.json.Decoder(_Nova)


class Embeddings:
    """See core.embedding.EmbeddingDialect."""

    def encode(self, request: EmbeddingRequest, deployment: Deployment) -> tuple[HttpCall, ...]:
        """One call for each text, or for each 96 where the model is Cohere's."""
        path = model_path(deployment.upstream_model, "invoke")
        names = f"{deployment.upstream_model} {deployment.model}"
        if "cohere." in names:
            return tuple(_ask_cohere(request, at, path) for at in range(0, len(request.inputs), _MOST))
        if "nova-" in names:
            return tuple(_ask_nova(request, text, path) for text in request.inputs)
        return tuple(_ask_titan(request, text, path) for text in request.inputs)

    def answer(self, bodies: Sequence[bytes], request: EmbeddingRequest, heads: Sequence[Headers] = ()) -> EmbeddingAnswer:
        """All vectors together. Errors: Fault upstream_garbled, also where there are not as many as texts."""
        vectors: list[tuple[float, ...]] = []
        counts: list[int | None] = []
        try:
            for body, head in zip(bodies, heads or ({},) * len(bodies), strict=True):
                found = bytes(_answer.decode(body).get("embeddings", msgspec.Raw()))
                if found:
                    vectors += _several(body, found)
                    counts.append(_told(head))
                else:
                    titan = _titan.decode(body)
                    vectors.append(titan.embedding)
                    counts.append(titan.inputTextTokenCount)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Fault("upstream_garbled", "The upstream answered with something that is not an embedding.") from None
        if len(vectors) != len(request.inputs):
            raise Fault("upstream_garbled", f"The upstream gave {len(vectors)} embeddings for {len(request.inputs)} inputs.")
        known = [count for count in counts if count is not None]
        total = sum(known) if known and len(known) == len(counts) else None
        return EmbeddingAnswer(vectors=tuple(vectors), usage=Usage(input=total), model=request.model)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
        return errors.read(status, headers, body)


def _told(head: Headers) -> int | None:
    """The tokens of a call, where its body does not tell them: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html"""
    told = head.get(_TOKENS, b"")
    return int(told) if told.isdigit() else None


def _several(body: bytes, found: bytes) -> Sequence[tuple[float, ...]]:
    """The vectors of a Nova, which are objects in a list, or of a Cohere."""
    if found[:1] == b"[" and found[1:].lstrip()[:1] == b"{":
        return [one.embedding for one in _nova.decode(body).embeddings]
    seen = _cohere.decode(body).embeddings
    return seen.float if isinstance(seen, _Typed) else seen


def _ask_titan(request: EmbeddingRequest, text: str, path: str) -> HttpCall:
    body: dict[str, Any] = {"inputText": text}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return _call(request, path, body, _TITAN_OWN)


def _ask_cohere(request: EmbeddingRequest, at: int, path: str) -> HttpCall:
    """`input_type` is required; what is embedded most is what will be searched."""
    body: dict[str, Any] = {"texts": request.inputs[at : at + _MOST], "input_type": "search_document"}
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    return _call(request, path, body, _COHERE_OWN)


def _ask_nova(request: EmbeddingRequest, text: str, path: str) -> HttpCall:
    """A purpose is required; what is embedded most is what will be searched."""
    said: dict[str, Any] = {name: msgspec.json.decode(request.extra[name]) for name in _NOVA_OWN if name in request.extra}
    wanted = said.get("input_type")
    purpose = said.get("embeddingPurpose") or _NOVA_PURPOSES.get(wanted if isinstance(wanted, str) else "", "GENERIC_INDEX")
    asked: dict[str, Any] = {
        "embeddingPurpose": purpose,
        "text": {"value": text, "truncationMode": said.get("truncationMode") or said.get("truncate") or "NONE"},
    }
    if request.dimensions is not None:
        asked["embeddingDimension"] = request.dimensions
    body = {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": asked}
    return HttpCall(path, msgspec.json.encode(body), dropped=_dropped(request, _NOVA_OWN))


def _call(request: EmbeddingRequest, path: str, body: dict[str, Any], own: Sequence[str]) -> HttpCall:
    body |= {name: raw for name, raw in request.extra.items() if name in own}
    return HttpCall(path, msgspec.json.encode(body), dropped=_dropped(request, own))


def _dropped(request: EmbeddingRequest, own: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({name for name in request.extra if name not in own} | ({"user"} if request.user is not None else set())))
