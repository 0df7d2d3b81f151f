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
from shoal.wire import sse
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


class _Event(msgspec.Struct):
    type: str | None = None
    error: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT


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
    return insert(body, kept_of(request), *settle(usage.read(seen.usage)))


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

_PREFACE = re.compile(rb'"type"\s*:\s*"response\.(?:created|queued|in_progress)"')
_LAST = ("response.completed", "response.incomplete")
_BROKEN = ("response.failed", "response.cancelled")


def _is_notable(data: bytes) -> bool:
    return any(mark in data for mark in _NOTABLE)


class Stream:
    """A stream on its way through. What only announces the response is held back until something of it comes: until then it may be
    asked for elsewhere. `failed` is set once the upstream tells of an error, after which nothing passes; `response` is the last one seen,
    as the caller got it.
    """

    def __init__(self, request: Envelope, settle: Settle) -> None:
        self._splitter = sse.Splitter()
        self._kept = kept_of(request)
        self._settle = settle
        self._held: list[bytes] | None = []
        self.done = False
        self.failed: Fault | None = None
        self.response = b""

    def feed(self, data: bytes) -> bytes:
        """Bytes to forward now, whole events only. Errors: Fault for an event without end, or one that is not JSON."""
        begun = self._held is None and not self.done and self.failed is None
        if begun and self._splitter.whole(data) and not _is_notable(data):
            return data  # most of a stream is words, and comes in whole events
        try:
            events = self._splitter.split(data)
        except sse.Overlong as error:
            raise Fault("upstream_garbled", f"The upstream's stream is not usable: {error}.") from None
        return b"".join([self._pass(event) for event in events])

    def _pass(self, event: bytes) -> bytes:
        if self.done or self.failed is not None:
            return b""
        if self._held is not None and (_PREFACE.search(event) or sse.data_of(event) is None):
            self._held.append(self._announce(event))
            return b""
        out = self._look(event) if _is_notable(event) else event
        if self._held and out:
            out = b"".join((*self._held, out))
        self._held = self._held if self.failed is not None else None
        return out

    def _announce(self, event: bytes) -> bytes:
        """An event that announces the response, with what is kept."""
        data = sse.data_of(event)
        if data is None:
            return event
        try:
            response = bytes(_event.decode(data).response)
            if response == b"null":
                return event
            return _replace(event, data, response, msgspec.json.encode(_members_with(self._kept, response)))
        except _UNREADABLE:
            raise Fault("upstream_garbled", "The upstream's stream holds an event that cannot be read.") from None

    def _look(self, event: bytes) -> bytes:
        data = sse.data_of(event)
        if data is None:
            return event
        try:
            seen = _event.decode(data)
            if seen.type == "error" or (seen.type is None and bytes(seen.error) != b"null"):
                self.failed = errors.read_within(data)
            elif seen.type in _BROKEN:
                self.failed = errors.read_within(bytes(_response.decode(seen.response).error))
            elif seen.type in _LAST:
                return self._end(event, data, seen.response)
        except _UNREADABLE:
            raise Fault("upstream_garbled", "The upstream's stream holds an event that cannot be read.") from None
        return b"" if self.failed is not None else event

    def _end(self, event: bytes, data: bytes, raw: msgspec.Raw) -> bytes:
        response = bytes(raw)
        self.response = insert(response, self._kept, *self._settle(usage.read(_response.decode(response).usage)))
        self.done = True
        return _replace(event, data, response, self.response)

    def close(self) -> bytes:
        """What ends a stream that the upstream has ended. Errors: Fault upstream_cut when the response was not complete."""
        rest = self._splitter.rest
        out = self._pass(rest.rstrip(b"\r\n") + b"\n\n") if rest.strip() else b""
        if self.failed is not None:
            raise self.failed
        if not self.done:
            raise Fault("upstream_cut", "The upstream ended the stream before its answer was complete.")
        return out


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
