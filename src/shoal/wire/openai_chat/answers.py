"""Whole chat completions (https://platform.openai.com/docs/api-reference/chat/object): an upstream's to an answer, an answer to a caller's.

What OpenAI has no member for is shown in those that others made: reasoning_content and reasoning_details, images, extra_content.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core.answer import Answer, Choice, fold
from shoal.core.conversation import Citation, File, Image, Reasoning, Refusal, Text, ToolCall
from shoal.wire.openai_chat import chunks, errors, parts, thoughts, tools, usage

_encode = msgspec.json.Encoder().encode
_TIERS = (b'"auto"', b'"default"', b'"flex"', b'"scale"', b'"priority"')


def read(body: bytes) -> Answer:
    """An upstream's whole answer. Errors: Fault upstream_garbled, or the kind of an error inside a 200."""
    told = chunks.Told()
    deltas = list(told.take(chunks.decode(body)))
    if not told.choices:
        raise errors.read_instead(body)
    return fold([*deltas, *told.end()])


def write(answer: Answer, cost: str | None, receipt: bytes) -> bytes:
    """A whole answer for a caller: `cost` (a JSON number, None unknown) ends its usage, `shoal` (a JSON object) ends it."""
    out = head("chat.completion", answer.id, answer.created, answer.model, answer.extra)
    out["choices"] = [_choice(choice) for choice in answer.choices]
    used = usage.write(answer.usage)
    if used is not None:
        out["usage"] = used | {"cost": msgspec.Raw((cost or "null").encode())}
    out["shoal"] = msgspec.Raw(receipt)
    return _encode(out)


def head(object: str, id: str, created: int | None, model: str, extra: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """What every object of an answer begins with. Of `extra`, what would not be OpenAI's under the same name is left out."""
    out: dict[str, Any] = {"id": id, "object": object, "created": created or 0, "model": model}
    if "system_fingerprint" in extra:
        out["system_fingerprint"] = extra["system_fingerprint"]
    if bytes(extra.get("service_tier", b"")) in _TIERS:
        out["service_tier"] = extra["service_tier"]
    return out


def _choice(choice: Choice) -> dict[str, Any]:
    out = {
        "index": choice.index,
        "message": _message(choice),
        "logprobs": choice.logprobs,
        "finish_reason": choice.finish or "stop",
    }
    return out if choice.stop_sequence is None else out | {"stop_reason": choice.stop_sequence}


def _message(choice: Choice) -> dict[str, Any]:
    words = [part for part in choice.parts if isinstance(part, Text)]
    refusals = [part.text for part in choice.parts if isinstance(part, Refusal)]
    thought = [part for part in choice.parts if isinstance(part, Reasoning)]
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    media = [part for part in choice.parts if isinstance(part, Image | File)]
    text = "".join(part.text for part in words)
    out: dict[str, Any] = {
        "role": "assistant",
        "content": text if text or not (calls or refusals) else None,
        "refusal": "".join(refusals) if refusals else None,
        "annotations": _annotations(words),
    }
    if plain := "".join(one.text for one in thought):
        out["reasoning_content"] = plain
    if thought:
        out["reasoning_details"] = [
            detail
            for index, one in enumerate(thought)
            for detail in thoughts.write(one.text, one.signature, one.redacted, one.origin, one.id, index)
        ]
    if media:
        out["images"] = [picture(part) for part in media]
    if calls:
        out["tool_calls"] = [tools.write_call(call.id, call.name, call.arguments, call.signature) for call in calls]
    return out


def _annotations(words: list[Text]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    start = 0
    for part in words:
        end = start + len(part.text)
        out += (annotation(citation, start, end) for citation in part.citations)
        start = end
    return out


def annotation(citation: Citation, start: int, end: int) -> dict[str, Any]:
    """A source as OpenAI's url_citation, whose members all must be there; where its place is not known it is that of the text it is of."""
    source: dict[str, Any] = {
        "url": citation.url or "",
        "title": citation.title or "",
        "start_index": start if citation.start is None else citation.start,
        "end_index": end if citation.end is None else citation.end,
    }
    if citation.cited is not None:
        source["content"] = citation.cited
    return {"type": "url_citation", "url_citation": source}


def picture(part: Image | File) -> dict[str, Any]:
    """A picture or file that the model made, as OpenRouter shows them (https://openrouter.ai/docs/features/multimodal/image-generation)."""
    return parts.write(part, cache_control=False)
