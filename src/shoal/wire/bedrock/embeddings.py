"""Vectors of Bedrock's models, by InvokeModel: Amazon's Titan takes one text a call, Cohere's take 96.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shoal.core.embedding import EmbeddingAnswer, EmbeddingRequest
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.bedrock import errors
from shoal.wire.bedrock.requests import model_path

_MOST = 96
_TITAN_OWN = ("normalize",)
_COHERE_OWN = ("input_type", "truncate", "max_tokens")


class _Titan(msgspec.Struct):
    embedding: tuple[float, ...]
    inputTextTokenCount: int | None = None


class _Typed(msgspec.Struct):
    float: tuple[tuple[float, ...], ...]


class _Cohere(msgspec.Struct):
    embeddings: tuple[tuple[float, ...], ...] | _Typed


_answer = msgspec.json.Decoder(dict[str, msgspec.Raw])
_titan = msgspec.json.Decoder(_Titan)
_cohere = msgspec.json.Decoder(_Cohere)


class Embeddings:
    """See core.embedding.EmbeddingDialect."""

    def encode(self, request: EmbeddingRequest, deployment: Deployment) -> tuple[HttpCall, ...]:
        """One call for each text, or for each 96 where the model is Cohere's."""
        path = model_path(deployment.upstream_model, "invoke")
        if "cohere." in f"{deployment.upstream_model} {deployment.model}":
            return tuple(_ask_cohere(request, at, path) for at in range(0, len(request.inputs), _MOST))
        return tuple(_ask_titan(request, text, path) for text in request.inputs)

    def answer(self, bodies: Sequence[bytes], request: EmbeddingRequest) -> EmbeddingAnswer:
        """All vectors together. Errors: Fault upstream_garbled, also where there are not as many as texts."""
        vectors: list[tuple[float, ...]] = []
        counts: list[int | None] = []
        try:
            for body in bodies:
                if "embeddings" in _answer.decode(body):
                    seen = _cohere.decode(body).embeddings
                    vectors += seen.float if isinstance(seen, _Typed) else seen
                    counts.append(None)  # in a header that dialects do not see
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
        body["embedding_types"] = ["float"]
    return _call(request, path, body, _COHERE_OWN)


def _call(request: EmbeddingRequest, path: str, body: dict[str, Any], own: Sequence[str]) -> HttpCall:
    body |= {name: raw for name, raw in request.extra.items() if name in own}
    dropped = {name for name in request.extra if name not in own} | ({"user"} if request.user is not None else set())
    return HttpCall(path, msgspec.json.encode(body), dropped=tuple(sorted(dropped)))
