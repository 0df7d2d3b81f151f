"""Texts to vectors, as every dialect means it: one request, one answer, and what a dialect must offer to take part."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.usage import Usage

Headers = Mapping[bytes, bytes]
"""An answer's, by lower-case names."""


class EmbeddingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One vector for each of `inputs`. `encoding` is how the caller wants them: numbers, or base64 of little-endian 32-bit floats.

    `extra` holds what has no noun here, raw, by the caller's own names.
    """

    model: str
    inputs: tuple[str, ...]
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    user: str | None = None
    extra: Mapping[str, msgspec.Raw] = {}


class EmbeddingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors in the order of the inputs, as numbers whatever the caller's encoding; `model` is the upstream's word, if it said."""

    vectors: tuple[tuple[float, ...], ...]
    usage: Usage = Usage()
    model: str = ""


class EmbeddingDialect(Protocol):
    """An upstream's embeddings. Pure."""

    def encode(self, request: EmbeddingRequest, deployment: Deployment) -> tuple[HttpCall, ...]:
        """The calls that ask this, in the order of the inputs; several where an upstream takes fewer inputs at a time than there are."""

    def answer(self, bodies: Sequence[bytes], request: EmbeddingRequest, heads: Sequence[Headers] = ()) -> EmbeddingAnswer:
        """What the answers to those calls, in that order, say together; `heads` are their headers. Errors: Fault upstream_garbled."""

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
