"""POST /v1/embeddings: sentences to unit vectors, in batches that leave the processor to running answers in between."""

import asyncio
import base64
import math
import struct
from collections.abc import Sequence

import msgspec

from shoal.core.errors import Fault
from shoal.mini import dialect
from shoal.mini.answers import make_head
from shoal.mini.dialect import EmbeddingRequest
from shoal.mini.engine import Embedder
from shoal.mini.served import ServedEmbedder, encode_fitting
from shoal.mini.template import TooLong, encode_pieces
from shoal.net.exchange import JSON, Exchange

MAX_TEXTS = 2048
_BATCH = 32


async def serve_embeddings(model: ServedEmbedder, request: EmbeddingRequest, exchange: Exchange) -> None:
    """Answer with one vector per text. Raises Fault."""
    embedder = model.embedder
    if request.encoding_format not in (None, "float", "base64"):
        raise Fault("invalid_value", "Invalid 'encoding_format': use 'float' or 'base64'.", param="encoding_format")
    dimensions = embedder.dimensions if request.dimensions is None else request.dimensions
    if not 1 <= dimensions <= embedder.dimensions:
        text = f"Invalid 'dimensions': {dimensions} is not between 1 and this model's {embedder.dimensions}."
        raise Fault("invalid_value", text, param="dimensions")
    given = dialect.split_input(request.input, "input")
    if len(given) > MAX_TEXTS:
        raise Fault("invalid_value", f"Invalid 'input': at most {MAX_TEXTS} texts are allowed, not {len(given)}.", param="input")
    single = isinstance(request.input, str) or isinstance(request.input[0], int)
    texts = await encode_fitting(lambda: _encode(embedder, given, single), len(exchange.body), "input", embedder.context_tokens)
    vectors: list[list[float]] = []
    for start in range(0, len(texts), _BATCH):
        async with model.turn:
            vectors += await asyncio.to_thread(embedder.embed, texts[start : start + _BATCH])
    if dimensions < embedder.dimensions:
        vectors = [shorten(vector, dimensions) for vector in vectors]
    shaped = [pack(vector) for vector in vectors] if request.encoding_format == "base64" else vectors
    count = sum(map(len, texts))
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": value} for i, value in enumerate(shaped)],
        "model": model.name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    head = make_head("embd", model.name, "", count, dialect.list_dropped(exchange.body, EmbeddingRequest))
    exchange.answer(200, [JSON, *head.headers()], msgspec.json.encode(body))


def _encode(embedder: Embedder, given: Sequence[str | list[int]], single: bool) -> list[list[int]]:
    """Token lists of all texts; a text that is empty or too long is refused by its place."""
    limit, out = embedder.context_tokens, []
    for i, item in enumerate(given):
        param = "input" if single else f"input[{i}]"
        if not item:
            raise Fault("invalid_value", f"'{param}' is empty; send at least one character.", param=param)
        if not isinstance(item, str):
            dialect.check_tokens(item, embedder.size, param)
        try:
            tokens = encode_pieces(embedder.encode, [item], limit) if isinstance(item, str) else item
        except TooLong as error:
            raise dialect.make_context_fault(param, str(error), None, limit) from None
        if len(tokens) > limit:
            raise dialect.make_context_fault(param, f"{len(tokens)} tokens", None, limit)
        out.append(tokens)
    return out


def shorten(vector: Sequence[float], dimensions: int) -> list[float]:
    """The first `dimensions` numbers, scaled to length 1 again."""
    head = vector[:dimensions]
    length = math.sqrt(math.fsum(x * x for x in head))
    return [x / length for x in head] if length else list(head)


def pack(vector: Sequence[float]) -> str:
    """Base64 of little-endian 32-bit floats, OpenAI's compact form."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
