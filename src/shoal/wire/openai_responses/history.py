"""What came before a request, and how stored responses are shown. Items are raw JSON: as callers sent them, as they got them.

https://platform.openai.com/docs/guides/conversation-state
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from shoal.core.chat import splice
from shoal.core.errors import Fault
from shoal.wire.openai_responses import envelope, items
from shoal.wire.openai_responses.checked import wrong_value
from shoal.wire.openai_responses.envelope import Envelope

_LIMIT, _LIMIT_MAX = 20, 100
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def input_items(request: Envelope) -> list[msgspec.Raw]:
    """The request's own input, to be stored with its response: a text is a message of the user."""
    given = request.fields.input
    if isinstance(given, str):
        message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}
        return [msgspec.Raw(msgspec.json.encode(message))]
    return given or []


def references(request: Envelope) -> tuple[str, ...]:
    """Ids of stored items that the input only refers to."""
    if b"item_reference" not in request.body or not isinstance(request.fields.input, list):
        return ()
    return tuple(found for found in map(_referred, request.fields.input) if found is not None)


def _referred(raw: msgspec.Raw) -> str | None:
    try:
        head = items.kind.decode(raw)
    except msgspec.ValidationError:
        return None  # whoever reads the item says what is wrong with it
    return head.id if head.type == "item_reference" else None


def extend(request: Envelope, earlier: Sequence[msgspec.Raw], found: Mapping[str, msgspec.Raw] | None = None) -> Envelope:
    """The same request with all of its conversation as its input: the items of earlier turns, then its own, references filled in from
    `found` (by item id). Errors: Fault for a reference to nothing that is stored.
    """
    if not earlier and not references(request):
        return request
    own = [_fill(raw, f"input[{index}]", found or {}) for index, raw in enumerate(input_items(request))]
    return envelope.read(splice(request.body, {"input": msgspec.json.encode([*earlier, *own])}))


def _fill(raw: msgspec.Raw, place: str, found: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    referred = _referred(raw)
    if referred is None:
        return raw
    if referred not in found:
        text = f"The item '{referred}' that '{place}' refers to is not stored (any more): send the item itself."
        raise Fault("invalid_value", text, param=f"{place}.id")
    return found[referred]


def page(
    stored: Sequence[msgspec.Raw], response_id: str, *, limit: str | None = None, order: str | None = None, after: str | None = None
) -> bytes:
    """The body of `GET /v1/responses/{id}/input_items`, by its query as it came. Errors: Fault for a query that makes no sense."""
    count = _count(limit)
    if order not in (None, "asc", "desc"):
        raise wrong_value("order", order, ("asc", "desc"))
    shown = [_show(raw, response_id, index) for index, raw in enumerate(stored)]
    if order != "asc":
        shown.reverse()
    start = 0
    if after is not None:
        places = [index for index, item in enumerate(shown) if item["id"] == after]
        if not places:
            raise Fault("invalid_value", f"Invalid value for 'after': no item of this response has the id '{after[:200]}'.", param="after")
        start = places[0] + 1
    data = shown[start : start + count]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return msgspec.json.encode({"object": "list", "data": data, **ends, "has_more": start + count < len(shown)})


def _count(limit: str | None) -> int:
    if limit is None:
        return _LIMIT
    if not limit.isdecimal() or not 1 <= int(limit[:9]) <= _LIMIT_MAX:
        raise Fault("invalid_value", f"Invalid value for 'limit': it must be a whole number from 1 to {_LIMIT_MAX}.", param="limit")
    return int(limit)


def _show(raw: msgspec.Raw, response_id: str, index: int) -> dict[str, Any]:
    """An item as a list shows it: with a type, an id and a status, a message's content in parts."""
    item: dict[str, Any] = msgspec.json.decode(raw)
    kind = item.get("type") or "message"
    shown = {"id": f"{_PREFIXES.get(kind, 'item')}_{response_id.removeprefix('resp_')}i{index:02x}", "type": kind, **item}
    if kind == "message":
        shown.setdefault("status", "completed")
        if isinstance(shown.get("content"), str):
            words = "output_text" if shown.get("role") == "assistant" else "input_text"
            shown["content"] = [{"type": words, "text": shown["content"]}]
    elif kind == "function_call_output":
        shown.setdefault("status", "completed")
    return shown


def deleted(response_id: str) -> bytes:
    """The body of an answer to `DELETE /v1/responses/{id}`."""
    return msgspec.json.encode({"id": response_id, "object": "response", "deleted": True})


def not_found(response_id: str) -> Fault:
    """For a response that is asked for and is not the caller's, not stored, or not stored any more."""
    return Fault("not_found", f"Response with id '{response_id[:200]}' not found.", param="response_id")
