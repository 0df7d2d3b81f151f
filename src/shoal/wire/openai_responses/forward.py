"""Responses on both sides: the caller's bytes and the upstream's, but for what must change and the two insertions.

`cost` (USD) goes to the end of the response's usage and the receipt `shoal` to the end of the response: the whole answer, or, in a stream,
the response inside its last event. Nothing is kept at the upstream, and what only others could read of earlier thoughts is left out. What a
response repeats of its request about that (KEPT) is what the caller said, and not what the upstream was told.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core.chat import members_of, splice
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import Settle
from shoal.wire import sse, streamed
from shoal.wire.openai_chat.usage import add_cost
from shoal.wire.openai_responses import errors, reasoning, usage
from shoal.wire.openai_responses.checked import ABSENT
from shoal.wire.openai_responses.envelope import OURS, Envelope
from shoal.wire.openai_responses.families import encrypts
from shoal.wire.openai_responses.requests import ENCRYPTED


class _Response(msgspec.Struct):
    status: str | None = None
    error: msgspec.Raw = ABSENT
    usage: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT


class _Event(msgspec.Struct):
    type: str | None = None
    error: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT


class _Item(msgspec.Struct, frozen=True):
    type: str | None = None


class _Opening(msgspec.Struct):
    type: str | None = None
    item: _Item = _Item()


_opening = msgspec.json.Decoder(_Opening)
_response = msgspec.json.Decoder(_Response)
_event = msgspec.json.Decoder(_Event)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_thought = msgspec.json.Decoder(reasoning.Item)

KEPT = ("store", "metadata", "previous_response_id")
"""Members of a response that tell of what is kept, which is kept here."""

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def encode(request: Envelope, deployment: Deployment) -> HttpCall:
    """The caller's own body, spliced: the model's name, `store` off, and thoughts to be returned so that the next turn has them."""
    members = members_of(request.body)
    changes = {"model": msgspec.json.encode(deployment.upstream_model), "store": b"false"}
    if encrypts(deployment):
        asked = request.fields.include or []
        changes["include"] = msgspec.json.encode([*asked, *([] if ENCRYPTED in asked else [ENCRYPTED])])
    if reasoning.SEALED.encode() in request.body and isinstance(request.fields.input, list):
        changes["input"] = msgspec.json.encode([item for item in request.fields.input if not _is_foreign(item)])
    without = tuple(name for name in OURS if name in members)
    return HttpCall("/responses", splice(request.body, changes, without))


def _is_foreign(item: msgspec.Raw) -> bool:
    if reasoning.SEALED.encode() not in bytes(item):
        return False
    try:
        return reasoning.is_sealed(_thought.decode(item).encrypted_content)
    except msgspec.ValidationError:
        return False  # no item of thought: its words only look like a seal


def kept_of(request: Envelope) -> dict[str, msgspec.Raw]:
    """KEPT, as far as the caller said it."""
    members = members_of(request.body)
    return {name: members[name] for name in KEPT if bytes(members.get(name, ABSENT)) != b"null"}


_STORED = msgspec.Raw(b"true")


def _members_with(kept: Mapping[str, msgspec.Raw], response: bytes) -> dict[str, msgspec.Raw]:
    """A response's members, with what is kept; it is stored where the caller did not say."""
    members = members_of(response)
    if "store" in members:
        members["store"] = _STORED
    members.update(kept)
    return members


def complete(request: Envelope, body: bytes, settle: Settle) -> bytes:
    """A whole answer with its two insertions. Errors: Fault when it is not a response, or one that failed."""
    try:
        if not body.isascii():
            body.decode()  # raw members are not decoded
        seen = _response.decode(body)
    except _UNREADABLE:
        raise Fault("upstream_garbled", "The upstream answered with something that is not a JSON object.") from None
    if seen.status in ("failed", "cancelled") or bytes(seen.error) != b"null":
        raise errors.read_within(bytes(seen.error))
    return insert(body, kept_of(request), *settle(usage.read(seen.usage, seen.service_tier)))


def insert(body: bytes, kept: Mapping[str, msgspec.Raw], cost: str | None, receipt: bytes) -> bytes:
    """A response with both insertions and with what is kept; all else is its own members' bytes."""
    members = _members_with(kept, body)
    counted = bytes(members.get("usage", ABSENT))
    if counted.endswith(b"}") and len(counted) >= len(b'{"a":0}'):
        members["usage"] = msgspec.Raw(add_cost(counted, cost))
    members.pop("shoal", None)
    return msgspec.json.encode(members | {"shoal": msgspec.Raw(receipt)})


_NOTABLE = (b'"error"', b"response.completed", b"response.incomplete", b"response.failed", b"response.cancelled")
"""What an event that must be looked at holds; searching is cheap, and most events hold none of it."""

_ANNOUNCES = re.compile(rb'"type"\s*:\s*"response\.(?:created|queued|in_progress)"')
_OPENS = ("response.content_part.added", "response.reasoning_summary_part.added")
_LAST = ("response.completed", "response.incomplete")
_BROKEN = ("response.failed", "response.cancelled")


def _is_notable(data: bytes) -> bool:
    return any(mark in data for mark in _NOTABLE)


def _is_silent(event: bytes) -> bool:
    """Whether an event only announces the response, or opens what is still empty; what is not known may mean something to the caller."""
    data = sse.data_of(event)
    if data is None or _ANNOUNCES.search(data):
        return True
    try:
        seen = _opening.decode(data)
    except _UNREADABLE:
        return False
    return seen.type in _OPENS or (seen.type == "response.output_item.added" and seen.item.type in ("message", "reasoning"))


class Stream(streamed.Passing):
    """A stream on its way through. `response` is the last one seen, as the caller got it."""

    def __init__(self, request: Envelope, settle: Settle) -> None:
        super().__init__(settle, _is_silent)
        self._kept = kept_of(request)
        self.response = b""

    def is_plain(self, data: bytes) -> bool:
        """Whether there is nothing here but words."""
        return not _is_notable(data)

    def take(self, event: bytes) -> bytes:
        """What is passed on of an event."""
        announces = _ANNOUNCES.search(event) is not None
        data = sse.data_of(event) if announces or _is_notable(event) else None
        if data is None:
            return event
        seen = _event.decode(data)
        if announces:
            return self._announce(event, data, bytes(seen.response))
        if seen.type == "error" or (seen.type is None and bytes(seen.error) != b"null"):
            raise errors.read_within(data)
        if seen.type in _BROKEN:
            raise errors.read_within(bytes(_response.decode(seen.response).error))
        return self._last(event, data, bytes(seen.response)) if seen.type in _LAST else event

    def _announce(self, event: bytes, data: bytes, response: bytes) -> bytes:
        """An event that announces the response, with what is kept."""
        if response == b"null":
            return event
        return _replace(event, data, response, msgspec.json.encode(_members_with(self._kept, response)))

    def _last(self, event: bytes, data: bytes, response: bytes) -> bytes:
        seen = _response.decode(response)
        self.response = insert(response, self._kept, *self.settle(usage.read(seen.usage, seen.service_tier)))
        self.done = self.whole = True
        return _replace(event, data, response, self.response)

    def end(self) -> bytes:
        """Nothing: the last event is the upstream's."""
        return b""


def _replace(event: bytes, data: bytes, old: bytes, new: bytes) -> bytes:
    """An event with another response in it."""
    if old in event:
        return event.replace(old, new, 1)
    # the data stood on several lines
    return b"data: %b\n\n" % data.replace(b"\n", b" ").replace(old.replace(b"\n", b" "), new.replace(b"\n", b" "), 1)


class Passing:
    """This dialect as core.ports.Forward."""

    def encode(self, request: Any, deployment: Deployment) -> HttpCall:
        """The call, from an Envelope."""
        return encode(request, deployment)

    def complete(self, request: Any, body: bytes, settle: Settle) -> bytes:
        """A whole answer with its insertions. Errors: Fault."""
        return complete(request, body, settle)

    def stream(self, request: Any, settle: Settle) -> Stream:
        """A streamed answer, forwarded event by event."""
        return Stream(request, settle)
