"""The caller's side of `POST /v1/embeddings`, for upstreams that do not speak OpenAI's dialect.

https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
import struct
from typing import Annotated, Any, Literal

import msgspec

from shoal.core.chat import members_of
from shoal.core.embedding import EmbeddingAnswer, EmbeddingRequest
from shoal.core.errors import Fault

_MOST_INPUTS = 2048
_KNOWN = ("model", "input", "dimensions", "encoding_format", "user", "stream", "models", "provider", "session_id", "store", "metadata")


class _Request(msgspec.Struct):
    model: str
    input: Any
    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


_request = msgspec.json.Decoder(_Request)


def read(body: bytes) -> EmbeddingRequest:
    """The whole request. Errors: Fault naming the parameter; lists of token numbers mean nothing to a model of another maker."""
    try:
        seen = _request.decode(body)
    except msgspec.ValidationError:
        raise Fault("invalid_value", "'encoding_format' must be float or base64.", param="encoding_format") from None
    texts = [seen.input] if isinstance(seen.input, str) else seen.input
    if not all(isinstance(text, str) for text in texts):
        text = "This model takes texts only: 'input' must be a string or a list of strings, not of tokens."
        raise Fault("unsupported_parameter", text, param="input")
    if len(texts) > _MOST_INPUTS:
        raise Fault("invalid_value", f"'input' has {len(texts)} texts; at most {_MOST_INPUTS} are taken at a time.", param="input")
    if not all(texts):
        raise Fault("invalid_value", "'input' holds an empty text.", param="input")
    return EmbeddingRequest(
        model=seen.model,
        inputs=tuple(texts),
        dimensions=seen.dimensions,
        encoding=seen.encoding_format or "float",
        user=seen.user,
        extra={name: raw for name, raw in members_of(body).items() if name not in _KNOWN},
    )


def write(answer: EmbeddingAnswer, request: EmbeddingRequest, cost: str | None, receipt: bytes) -> bytes:
    """The answer's body; base64 is of little-endian 32-bit floats."""
    tokens = answer.usage.input
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "cost": msgspec.Raw((cost or "null").encode())}
    data = [
        {"object": "embedding", "index": index, "embedding": _encode(vector) if request.encoding == "base64" else vector}
        for index, vector in enumerate(answer.vectors)
    ]
    whole = {"object": "list", "data": data, "model": answer.model or request.model, "usage": usage, "shoal": msgspec.Raw(receipt)}
    return msgspec.json.encode(whole)


def _encode(vector: tuple[float, ...]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
