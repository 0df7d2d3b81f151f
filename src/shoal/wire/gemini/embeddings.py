"""Vectors. AI Studio makes them by `:batchEmbedContents` (https://ai.google.dev/api/embeddings), 100 inputs at a time.

Vertex makes them by `:predict`, and those of its multimodal models by `:embedContent`, one input at a time. See
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from shoal.core.embedding import EmbeddingAnswer, EmbeddingRequest, Headers
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.gemini import errors
from shoal.wire.gemini.families import on_vertex, resource
from shoal.wire.gemini.members import camel
from shoal.wire.gemini.parts import Json

_KNOWN = frozenset({"taskType", "title", "autoTruncate"})
_PER_BATCH, _PER_PREDICTION = 100, 250
_ALONE = ("gemini-embedding-001", "gemini-embedding-exp")
"""Models of `:predict` that take one input a call; other Geminis that embed are multimodal."""


class _Vector(msgspec.Struct):
    values: tuple[float, ...] = ()


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Predicted(msgspec.Struct):
    values: tuple[float, ...] = ()
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Predicted


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None


class _Body(msgspec.Struct, rename="camel"):
    embeddings: tuple[_Vector, ...] | None = None
    embedding: _Vector | None = None
    predictions: tuple[_Prediction, ...] | None = None
    usage_metadata: _Counts | None = None


_body = msgspec.json.Decoder(_Body)


class Embeddings:
    """Google's embeddings as the gateway's port wants them."""

    def encode(self, request: EmbeddingRequest, deployment: Deployment) -> tuple[HttpCall, ...]:
        """The calls that ask this, in the order of the inputs."""
        model = deployment.upstream_model
        if not on_vertex(deployment):
            return tuple(
                self._call(_batch(request, model, some), "batchEmbedContents", request, model) for some in _runs(request, _PER_BATCH)
            )
        if "gemini" in model and not model.startswith(_ALONE):
            return tuple(self._call(_single(request, one), "embedContent", request, model) for one in request.inputs)
        size = 1 if model.startswith(_ALONE) else _PER_PREDICTION
        return tuple(self._call(_prediction(request, some), "predict", request, model) for some in _runs(request, size))

    def _call(self, body: Json, verb: str, request: EmbeddingRequest, model: str) -> HttpCall:
        dropped = [name for name in request.extra if camel(name) not in _KNOWN] + ["user"] * (request.user is not None)
        return HttpCall(f"/{resource(model)}:{verb}", msgspec.json.encode(body), dropped=tuple(sorted(dropped)))

    def answer(self, bodies: Sequence[bytes], request: EmbeddingRequest, heads: Sequence[Headers] = ()) -> EmbeddingAnswer:
        """The vectors. Usage is None where any of the answers does not tell it. Errors: Fault upstream_garbled."""
        vectors: list[tuple[float, ...]] = []
        counts: list[int | None] = []
        for body in bodies:
            try:
                seen = _body.decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                raise Fault("upstream_garbled", "The upstream answered with something that holds no vectors.") from None
            vectors.extend(_vectors(seen))
            counts.append(_count(seen))
        if len(vectors) != len(request.inputs):
            text = f"The upstream answered {len(request.inputs)} inputs with {len(vectors)} vectors."
            raise Fault("upstream_garbled", text)
        known = [count for count in counts if count is not None]
        return EmbeddingAnswer(vectors=tuple(vectors), usage=Usage(input=sum(known) if known and len(known) == len(counts) else None))

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
        return errors.read(status, headers, body)


def _runs(request: EmbeddingRequest, size: int) -> Iterator[tuple[str, ...]]:
    return (request.inputs[at : at + size] for at in range(0, len(request.inputs), size))


def _options(request: EmbeddingRequest) -> Json:
    """Google's own options, and the length of a vector."""
    found: Json = {camel(name): raw for name, raw in request.extra.items() if camel(name) in _KNOWN}
    return found | ({} if request.dimensions is None else {"outputDimensionality": request.dimensions})


def _batch(request: EmbeddingRequest, model: str, texts: Sequence[str]) -> Json:
    options = {"model": resource(model)} | _options(request)
    return {"requests": [options | {"content": {"parts": [{"text": text}]}} for text in texts]}


def _single(request: EmbeddingRequest, text: str) -> Json:
    options = _options(request)
    return {"content": {"role": "user", "parts": [{"text": text}]}} | ({"embedContentConfig": options} if options else {})


def _prediction(request: EmbeddingRequest, texts: Sequence[str]) -> Json:
    options = _options(request)
    own: dict[str, Any] = {theirs: options.pop(name) for name, theirs in (("taskType", "task_type"), ("title", "title")) if name in options}
    return {"instances": [{"content": text} | own for text in texts]} | ({"parameters": options} if options else {})


def _vectors(seen: _Body) -> Iterator[tuple[float, ...]]:
    if seen.predictions is not None:
        return (one.embeddings.values for one in seen.predictions)
    found = (seen.embedding,) if seen.embedding is not None else seen.embeddings or ()
    return (one.values for one in found)


def _count(seen: _Body) -> int | None:
    if seen.usage_metadata is not None:
        return seen.usage_metadata.prompt_token_count
    counts = [one.embeddings.statistics.token_count if one.embeddings.statistics else None for one in seen.predictions or ()]
    known = [count for count in counts if count is not None]
    return int(sum(known)) if known and len(known) == len(counts) else None
