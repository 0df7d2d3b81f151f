"""Deltas to output items, and the events that tell a caller of each step.

An item of words or thought ends when something else begins. A call ends when the next item begins and its arguments are whole JSON, else
with the answer: some upstreams stream several calls at once. Events come as dicts, without their number.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from shoal.core.answer import (
    CitationDelta,
    Delta,
    Ended,
    LogprobsDelta,
    MediaDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
)
from shoal.core.conversation import File, Finish, Image, Reasoning
from shoal.core.errors import Fault
from shoal.wire.openai_responses import citations, reasoning
from shoal.wire.openai_responses.reasoning import CallProof
from shoal.wire.openai_responses.response import item_id

Event = dict[str, Any]


class _Item:
    """One item: `body` is what a caller sees of it, `index` its place in the output."""

    def __init__(self, index: int, body: dict[str, Any]) -> None:
        self.index = index
        self.body = body
        self.pieces: list[str] = []

    def event(self, kind: str, **members: Any) -> Event:
        """An event about this item."""
        return {"type": f"response.{kind}", "item_id": self.body["id"], "output_index": self.index, **members}

    def added(self) -> Event:
        return {"type": "response.output_item.added", "output_index": self.index, "item": msgspec.Raw(msgspec.json.encode(self.body))}

    def done(self) -> Event:
        return {"type": "response.output_item.done", "output_index": self.index, "item": self.body}


class Output:
    """The output of one response while its deltas come in; the first choice alone, since a response has no others."""

    def __init__(self, response_id: str) -> None:
        self._response_id = response_id
        self._items: list[_Item] = []
        self._open: _Item | None = None
        self._calls: dict[int, _Item] = {}
        self._block: int | None = None
        self._thought = Reasoning()
        self.finish: Finish | None = None

    @property
    def items(self) -> list[dict[str, Any]]:
        """Every item so far."""
        return [item.body for item in self._items]

    def take(self, delta: Delta, logprobs: list[Any] | None = None) -> Iterator[Event]:
        """The events of one delta. `logprobs` belong to its text where they came with it. Errors: Fault for what a response cannot hold."""
        match delta:
            case TextDelta(text=text) if delta.choice == 0:
                yield from self._say("output_text", text, logprobs or [])
            case RefusalDelta(text=text) if delta.choice == 0:
                yield from self._say("refusal", text, [])
            case ReasoningDelta() if delta.choice == 0:
                yield from self._think(delta)
            case ToolCallDelta() if delta.choice == 0:
                yield from self._call(delta)
            case MediaDelta(part=part) if delta.choice == 0:
                yield from self._show(part)
            case CitationDelta() if delta.choice == 0:
                yield from self._cite(delta)
            case LogprobsDelta() if delta.choice == 0:
                self._weigh(read_logprobs(delta.raw))
            case Ended() if delta.choice == 0:
                self.finish = delta.finish
                yield from self._end()

    def _begin(self, prefix: str, body: dict[str, Any]) -> _Item:
        index = len(self._items)
        item = _Item(index, {"id": item_id(prefix, self._response_id, index), **body})
        self._items.append(item)
        return item

    def _say(self, kind: str, text: str, logprobs: list[Any]) -> Iterator[Event]:
        if not text:
            return
        item = self._open
        if item is None or item.body["type"] != "message":
            yield from self._leave()
            item = self._open = self._begin("msg", {"type": "message", "status": "in_progress", "role": "assistant", "content": []})
            yield item.added()
        parts: list[dict[str, Any]] = item.body["content"]
        if not parts or parts[-1]["type"] != kind:
            yield from self._end_part(item)
            parts.append(_PARTS[kind]())
            yield item.event("content_part.added", content_index=len(parts) - 1, part=_PARTS[kind]())
        item.pieces.append(text)
        place = len(parts) - 1
        if kind == "refusal":
            yield item.event("refusal.delta", content_index=place, delta=text)
        else:
            parts[-1]["logprobs"].extend(logprobs)
            yield item.event("output_text.delta", content_index=place, delta=text, logprobs=logprobs)

    def _end_part(self, item: _Item) -> Iterator[Event]:
        """The last part of a message is whole."""
        parts = item.body["content"]
        if not item.pieces:
            return
        part, place, text = parts[-1], len(parts) - 1, "".join(item.pieces)
        item.pieces.clear()
        if part["type"] == "refusal":
            part["refusal"] = text
            yield item.event("refusal.done", content_index=place, refusal=text)
        else:
            part["text"] = text
            yield item.event("output_text.done", content_index=place, text=text, logprobs=part["logprobs"])
        yield item.event("content_part.done", content_index=place, part=part)

    def _cite(self, delta: CitationDelta) -> Iterator[Event]:
        found = self._last_text()
        if found is None:
            return
        item, place = found
        part = item.body["content"][place]
        annotation = citations.write(delta.citation, len(part["text"]) or sum(map(len, item.pieces)))
        part["annotations"].append(annotation)
        index = len(part["annotations"]) - 1
        yield item.event("output_text.annotation.added", content_index=place, annotation_index=index, annotation=annotation)

    def _weigh(self, logprobs: list[Any]) -> None:
        found = self._last_text()
        if found is not None:
            found[0].body["content"][found[1]]["logprobs"].extend(logprobs)

    def _last_text(self) -> tuple[_Item, int] | None:
        for item in reversed(self._items):
            parts = item.body.get("content") or () if item.body["type"] == "message" else ()
            for place in range(len(parts) - 1, -1, -1):
                if parts[place]["type"] == "output_text":
                    return item, place
        return None

    def _think(self, delta: ReasoningDelta) -> Iterator[Event]:
        item = self._open
        if item is None or item.body["type"] != "reasoning" or self._block != delta.block:
            yield from self._leave()
            item = self._open = self._begin("rs", {"type": "reasoning", "summary": []})
            if delta.origin == reasoning.ORIGIN and delta.id is not None:
                item.body["id"] = delta.id  # what OpenAI encrypted goes with its own id
            self._block, self._thought = delta.block, Reasoning()
            yield item.added()
        known = self._thought
        self._thought = Reasoning(
            signature=delta.signature or known.signature,
            redacted=delta.redacted or known.redacted,
            origin=delta.origin or known.origin,
            id=delta.id or known.id,
        )
        if not delta.text:
            return
        if not item.pieces:
            item.body["summary"].append(_summary(""))
            yield item.event("reasoning_summary_part.added", summary_index=0, part=_summary(""))
        item.pieces.append(delta.text)
        yield item.event("reasoning_summary_text.delta", summary_index=0, delta=delta.text)

    def _call(self, delta: ToolCallDelta) -> Iterator[Event]:
        item = self._calls.get(delta.index)
        if item is None:
            yield from self._leave()
            call_id = delta.id or item_id("call", self._response_id, len(self._items))
            if delta.signature is not None:
                yield from self._prove(CallProof(call_id, delta.signature))
            body = {"type": "function_call", "status": "in_progress", "call_id": call_id, "name": delta.name or "", "arguments": ""}
            item = self._calls[delta.index] = self._begin("fc", body)
            yield item.added()
        elif item.body["status"] != "in_progress":
            return  # its arguments were whole: nothing but space can follow
        if delta.arguments:
            item.pieces.append(delta.arguments)
            yield item.event("function_call_arguments.delta", delta=delta.arguments)

    def _prove(self, proof: CallProof) -> Iterator[Event]:
        item = self._begin("rs", {"type": "reasoning", "summary": [], "encrypted_content": reasoning.seal_call(proof)})
        yield item.added()
        yield item.done()

    def _show(self, part: Image | File) -> Iterator[Event]:
        if isinstance(part, File) and part.text is None:
            raise Fault("upstream_garbled", "The model answered with a file, which an answer of the Responses API cannot hold.")
        if isinstance(part, File):
            yield from self._say("output_text", part.text or "", [])
            return
        yield from self._leave()
        body = {"type": "image_generation_call", "status": "completed", "result": part.data or part.url}
        item = self._begin("ig", body)
        yield item.added()
        yield item.done()

    def _leave(self) -> Iterator[Event]:
        """Something else begins."""
        if self._open is not None:
            item, self._open = self._open, None
            yield from _ENDS[item.body["type"]](self, item, "completed")
        for item in self._calls.values():
            if item.body["status"] == "in_progress" and _is_whole("".join(item.pieces)):
                yield from self._end_call(item, "completed")

    def _end(self) -> Iterator[Event]:
        """The answer is over, perhaps too early."""
        status = "incomplete" if self.finish in ("length", "content_filter") else "completed"
        last = self._items[-1] if self._items else None
        for item in self._items:
            if item is self._open or item.body.get("status") == "in_progress":
                yield from _ENDS[item.body["type"]](self, item, status if item is last else "completed")
        self._open = None

    def _end_message(self, item: _Item, status: str) -> Iterator[Event]:
        yield from self._end_part(item)
        item.body["status"] = status
        yield item.done()

    def _end_thought(self, item: _Item, _status: str) -> Iterator[Event]:
        text = "".join(item.pieces)
        if text:
            item.body["summary"] = [_summary(text)]
            yield item.event("reasoning_summary_text.done", summary_index=0, text=text)
            yield item.event("reasoning_summary_part.done", summary_index=0, part=_summary(text))
        encrypted = reasoning.seal(self._thought)
        if encrypted is not None:
            item.body["encrypted_content"] = encrypted
        yield item.done()

    def _end_call(self, item: _Item, status: str) -> Iterator[Event]:
        item.body["arguments"] = "".join(item.pieces) or "{}"
        item.body["status"] = status
        yield item.event("function_call_arguments.done", name=item.body["name"], arguments=item.body["arguments"])
        yield item.done()


_ENDS: dict[str, Callable[[Output, _Item, str], Iterator[Event]]] = {
    "message": Output._end_message,
    "reasoning": Output._end_thought,
    "function_call": Output._end_call,
}

_PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "output_text": lambda: {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "refusal": lambda: {"type": "refusal", "refusal": ""},
}


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def _is_whole(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True


def read_logprobs(raw: msgspec.Raw) -> list[Any]:
    """Chances of tokens as this dialect has them: a list, in which bytes are never null."""
    found = msgspec.json.decode(raw, type=dict[str, list[dict[str, Any]] | None])
    return [_chance(one) for tokens in found.values() for one in tokens or ()]


def _chance(one: dict[str, Any]) -> dict[str, Any]:
    top = [{**other, "bytes": other.get("bytes") or []} for other in one.get("top_logprobs") or ()]
    return {**one, "bytes": one.get("bytes") or [], "top_logprobs": top}
