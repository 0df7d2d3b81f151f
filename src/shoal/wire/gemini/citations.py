"""Sources: `groundingMetadata` and `citationMetadata` as citations and back. See https://ai.google.dev/gemini-api/docs/google-search.

Google's places are bytes of UTF-8 within a part, ours characters of the whole answer's text.
"""

from collections.abc import Iterator, Sequence

from shoal.core.conversation import Citation
from shoal.wire.gemini.parts import Json
from shoal.wire.gemini.shapes import Candidate, Grounding, Segment


def read(candidate: Candidate, texts: Sequence[str]) -> Iterator[Citation]:
    """The citations of a candidate whose text came in these parts."""
    if candidate.grounding_metadata is not None:
        yield from _grounded(candidate.grounding_metadata, texts)
    quoted = candidate.citation_metadata
    for one in (quoted.citations or quoted.citation_sources or ()) if quoted is not None else ():
        start, end = _places(Segment(one.start_index, one.end_index), texts)
        yield Citation(one.uri, one.title, start=start, end=end)


def _grounded(found: Grounding, texts: Sequence[str]) -> Iterator[Citation]:
    sources = [chunk.web or chunk.retrieved_context or chunk.maps for chunk in found.grounding_chunks or ()]
    for support in found.grounding_supports or ():
        start, end = _places(support.segment, texts)
        for index in support.grounding_chunk_indices or ():
            source = sources[index] if 0 <= index < len(sources) else None
            if source is not None:
                yield Citation(source.uri, source.title, source.text, start, end)
    if not found.grounding_supports:
        yield from (Citation(source.uri, source.title, source.text) for source in sources if source is not None)


def _places(segment: Segment | None, texts: Sequence[str]) -> tuple[int | None, int | None]:
    if segment is None or segment.end_index is None:
        return None, None
    before = sum(len(text) for text in texts[: segment.part_index or 0])
    text = "".join(texts[segment.part_index or 0 :]).encode()
    start, end = (len(text[:at].decode(errors="ignore")) for at in (segment.start_index or 0, segment.end_index))
    return before + start, before + end


def write(citations: Sequence[Citation], text: str) -> Json:
    """`groundingMetadata` for citations of this text; each source once."""
    sources = list(dict.fromkeys(_source(one) for one in citations))
    chunks = [
        {kind: {name: value for name, value in (("uri", url), ("title", title), ("text", cited)) if value}}
        for kind, url, title, cited in sources
    ]
    supports = []
    for one in citations:
        if one.start is None or one.end is None:
            continue
        segment = {
            "startIndex": len(text[: one.start].encode()),
            "endIndex": len(text[: one.end].encode()),
            "text": text[one.start : one.end],
        }
        supports.append({"segment": segment, "groundingChunkIndices": [sources.index(_source(one))]})
    return {"groundingChunks": chunks, "groundingSupports": supports} if supports else {"groundingChunks": chunks}


def _source(one: Citation) -> tuple[str, str | None, str | None, str | None]:
    """A source's kind, address, title and words: what has no address is one of the caller's own documents."""
    return ("web", one.url, one.title, None) if one.url else ("retrievedContext", None, one.title, one.cited)
