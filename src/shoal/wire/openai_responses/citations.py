"""Where statements come from, as annotations of a text: https://platform.openai.com/docs/api-reference/responses/object."""

from typing import Any

import msgspec

from shoal.core.conversation import Citation

_WHOLE = {
    "url_citation": "url",
    "file_citation": "file_id",
    "container_file_citation": "container_id",
    "file_path": "file_id",
}
"""Types of annotation, and a member that each has in this dialect (another may call it the same and word it otherwise)."""


class _Annotation(msgspec.Struct):
    type: str | None = None
    url: str | None = None
    title: str | None = None
    filename: str | None = None
    start_index: int | None = None
    end_index: int | None = None


_annotation = msgspec.json.Decoder(_Annotation)


def read(raw: msgspec.Raw) -> Citation:
    """An annotation, kept whole for the way back."""
    try:
        seen = _annotation.decode(raw)
    except msgspec.ValidationError:
        return Citation(raw=raw)
    return Citation(url=seen.url, title=seen.title or seen.filename, start=seen.start_index, end=seen.end_index, raw=raw)


def write(citation: Citation, text_chars: int) -> dict[str, Any]:
    """The annotation of a text of so many characters; one that came in this dialect is as it was."""
    if citation.raw is not None:
        found = msgspec.json.decode(citation.raw)
        if isinstance(found, dict) and _WHOLE.get(str(found.get("type"))) in found:
            return found
    told = {"cited_text": citation.cited} if citation.cited else {}
    if citation.url is None:
        return {"type": "file_citation", "file_id": "", "filename": citation.title or "", "index": citation.start or 0, **told}
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title or "",
        "start_index": 0 if citation.start is None else citation.start,
        "end_index": text_chars if citation.end is None else citation.end,
        **told,
    }
