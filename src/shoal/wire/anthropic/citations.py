"""Citations of every kind, to and from what they have in common (https://platform.claude.com/docs/en/build-with-claude/citations)."""

from typing import Any

import msgspec

from shoal.core.conversation import Citation

KINDS = (
    "char_location",
    "page_location",
    "content_block_location",
    "web_search_result_location",
    "search_result_location",
)


class _Seen(msgspec.Struct):
    type: str | None = None
    url: str | None = None
    source: str | None = None
    title: str | None = None
    document_title: str | None = None
    cited_text: str | None = None


_decoder = msgspec.json.Decoder(_Seen)


def read(raw: msgspec.Raw, start: int | None = None, end: int | None = None) -> Citation:
    """A citation of the text from `start` to `end`. Errors: msgspec.ValidationError when it is not an object."""
    seen = _decoder.decode(raw)
    return Citation(seen.url or seen.source, seen.title or seen.document_title, seen.cited_text, start, end, raw)


def write(citation: Citation) -> Any:
    """The citation as it came, if it came in this dialect; any other as a web search's, which is the one kind that has an address."""
    if citation.raw is not None and _is_own(citation.raw):
        return citation.raw
    return {
        "type": "web_search_result_location",
        "url": citation.url or "",
        "title": citation.title,
        "cited_text": citation.cited or "",
        "encrypted_index": "",
    }


def _is_own(raw: msgspec.Raw) -> bool:
    try:
        return _decoder.decode(raw).type in KINDS
    except msgspec.ValidationError:
        return False
