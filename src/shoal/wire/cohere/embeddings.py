"""Cohere's vectors: 96 texts a call. https://docs.cohere.com/reference/embed"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shoal.core.embedding import EmbeddingAnswer, EmbeddingRequest, Headers
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.cohere import errors
from shoal.wire.cohere.usage import Counts, read_usage

_MOST = 96
_OWN = ("input_type", "max_tokens", "priority", "truncate")


class _Typed(msgspec.Struct):
    float: tuple[tuple[float, ...], ...]


class _Body(msgspec.Struct):
    embeddings: _Typed
    meta: Counts | None = None


_body = msgspec.json.Decoder(_Body)


class Embeddings:
    """See core.embedding.EmbeddingDialect."""

    def encode(self, request: EmbeddingRequest, deployment: Deployment) -> tuple[HttpCall, ...]:
        """One call for each 96 texts. `input_type` is required: texts to be searched, where the caller does not say what they are for."""
        body: dict[str, Any] = {"model": deployment.upstream_model, "input_type": "search_document", "embedding_types": ["float"]}
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        body |= {name: raw for name, raw in request.extra.items() if name in _OWN}
        dropped = {name for name in request.extra if name not in _OWN} | ({"user"} if request.user is not None else set())
        return tuple(
            HttpCall(
                "/v2/embed",
                msgspec.json.encode(body | {"texts": request.inputs[at : at + _MOST]}),
                dropped=tuple(sorted(dropped)),
            )
            for at in range(0, len(request.inputs), _MOST)
        )

    def answer(self, bodies: Sequence[bytes], request: EmbeddingRequest, heads: Sequence[Headers] = ()) -> EmbeddingAnswer:
        """All vectors together. Errors: Fault upstream_garbled, also where there are not as many as texts."""
        try:
            seen = [_body.decode(body) for body in bodies]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Fault("upstream_garbled", "The upstream answered with something that is not an embedding.") from None
        vectors = tuple(vector for one in seen for vector in one.embeddings.float)
        if len(vectors) != len(request.inputs):
            raise Fault("upstream_garbled", f"The upstream gave {len(vectors)} embeddings for {len(request.inputs)} inputs.")
        counts = [count for one in seen if (count := read_usage(one.meta).input) is not None]
        total = sum(counts) if counts and len(counts) == len(seen) else None
        return EmbeddingAnswer(vectors=vectors, usage=Usage(input=total), model=request.model)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
        return errors.read(status, headers, body)
