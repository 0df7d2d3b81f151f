"""Where Cohere's statements come from: documents of the request, and results of tools. https://docs.cohere.com/docs/rag-citations"""

from collections.abc import Iterator
from typing import Any

import msgspec

from shoal.core.conversation import Citation


class _Source(msgspec.Struct):
    id: str | None = None
    document: dict[str, Any] = {}
    tool_output: dict[str, Any] = {}


class Cited(msgspec.Struct):
    """A part of a text, and its sources. Of `type` PLAN or THINKING_CONTENT it is a part of the thought, which we do not cite."""

    start: int | None = None
    end: int | None = None
    sources: list[_Source] | None = None
    content_index: int | None = None
    type: str | None = None


_cited = msgspec.json.Decoder(Cited)


def read_cited(raw: msgspec.Raw) -> Cited:
    """A citation's own members. Errors: those of msgspec."""
    return _cited.decode(raw)


def read_citations(raw: msgspec.Raw) -> Iterator[Citation]:
    """One citation for each source that the statement has, and one where it has none."""
    seen = read_cited(raw)
    if seen.type in ("PLAN", "THINKING_CONTENT"):
        return
    for source in seen.sources or [_Source()]:
        said = source.document or source.tool_output
        title = _text(said, "title") or source.id
        yield Citation(_text(said, "url"), title, _text(said, "snippet", "text", "content"), seen.start, seen.end, raw)


def _text(said: dict[str, Any], *names: str) -> str | None:
    return next((value for name in names if isinstance(value := said.get(name), str) and value), None)
