"""Thought beside the text: OpenRouter's `reasoning_details`, which carries signatures, and the plain text others write.

A detail is reasoning.text {text, signature}, reasoning.summary {summary} or reasoning.encrypted {data}; its `format` says who signed it,
its `index` which details are one thought (https://openrouter.ai/docs/use-cases/reasoning-tokens).
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from shoal.core.conversation import Reasoning

_FORMATS = {
    "anthropic": "anthropic-claude-v1",
    "gemini": "google-gemini-v1",
    "openai_responses": "openai-responses-v1",
    # names of ours, since OpenRouter has none: without one their makers would not get their thoughts back
    "bedrock": "amazon-bedrock-v1",
    "cohere": "cohere-v2",
}
_ORIGINS: dict[str | None, str | None] = {**{name: origin for origin, name in _FORMATS.items()}, "unknown": None}


class Detail(msgspec.Struct):
    """One of `reasoning_details`."""

    type: str | None = None
    text: str | None = None
    summary: str | None = None
    data: str | None = None
    signature: str | None = None
    format: str | None = None
    id: str | None = None
    index: int | None = None

    @property
    def words(self) -> str:
        """What it says in plain text."""
        return self.text or self.summary or ""

    @property
    def origin(self) -> str | None:
        """The dialect that signed it; a format that is none of ours stays itself, for the way back to who knows it."""
        return _ORIGINS.get(self.format, self.format)


def read(details: Iterable[Detail]) -> list[Reasoning]:
    """Whole thoughts of a message; neighbours with the same index (or id) are one."""
    out: list[Reasoning] = []
    last: Detail | None = None
    for one in details:
        more = Reasoning(one.words, one.signature, one.data, one.origin, one.id)
        if last is not None and _same(last, one):
            so_far = out[-1]
            more = Reasoning(
                text=so_far.text + more.text,
                signature=so_far.signature or more.signature,
                redacted=so_far.redacted or more.redacted,
                origin=so_far.origin or more.origin,
                id=so_far.id or more.id,
            )
            out[-1] = more
        else:
            out.append(more)
        last = one
    return out


def _same(one: Detail, other: Detail) -> bool:
    if one.index is not None and other.index is not None:
        return one.index == other.index
    return one.id is not None and one.id == other.id


def write(text: str, signature: str | None, redacted: str | None, origin: str | None, id: str | None, index: int) -> list[dict[str, Any]]:
    """A thought, or a piece of one, as details."""
    mark: dict[str, Any] = {"format": _FORMATS.get(origin or "", origin or "unknown"), "index": index} | ({"id": id} if id else {})
    out: list[dict[str, Any]] = []
    if text or signature:
        summed = "responses" in (origin or "")
        words = {"type": "reasoning.summary", "summary": text} if summed else {"type": "reasoning.text", "text": text}
        out.append(words | ({"signature": signature} if signature else {}) | mark)
    if redacted:
        out.append({"type": "reasoning.encrypted", "data": redacted} | mark)
    return out
