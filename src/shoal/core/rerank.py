"""Documents in the order of what they have to do with a query, as every dialect means it."""

from collections.abc import Mapping

import msgspec

from shoal.core.usage import Usage


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Rank `documents` by `query`. `top_n` limits the results, `max_tokens_per_doc` how much of each document is read.

    `extra` holds what has no noun here, raw, by the caller's own names.
    """

    model: str
    query: str
    documents: tuple[str, ...]
    top_n: int | None = None
    max_tokens_per_doc: int | None = None
    return_documents: bool = False
    extra: Mapping[str, msgspec.Raw] = {}


class RerankResult(msgspec.Struct, frozen=True):
    """One document, by its place in the request; the higher the score, the more relevant (0 to 1 with most models, not with all)."""

    index: int
    relevance_score: float


class RerankAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Results, the most relevant first. What is charged is searches or tokens, as the upstream sells it: both are in `usage`."""

    results: tuple[RerankResult, ...]
    usage: Usage = Usage()
    id: str = ""
    model: str = ""
