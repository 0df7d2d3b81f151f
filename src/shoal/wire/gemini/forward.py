"""Gemini to Gemini: the caller's bytes and the upstream's, but for two insertions.

`cost` (USD) comes at the end of `usageMetadata` and the receipt `shoal` at the end of the object; in a stream both come in the last event.
Google reports usage in every event, so those from the first that names a finish reason on are held until the next one comes.
"""

import re
from typing import Protocol

import msgspec

from shoal.core.chat import members_of, splice
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import Settle
from shoal.core.usage import Usage
from shoal.wire import streamed
from shoal.wire.gemini import requests, usage
from shoal.wire.gemini.answers import decode
from shoal.wire.gemini.shapes import Response
from shoal.wire.gemini.signatures import SEALED
from shoal.wire.gemini.streams import payload

_MEMBER = re.compile(rb'"usageMetadata"\s*:\s*(?=\{)')  # cannot match within a string, where quotes are escaped
_OURS = tuple(f'"{name}"'.encode() for name in requests.OURS)


class Request(Protocol):
    """What the gateway knows of a request."""

    body: bytes
    model: str
    stream: bool


class _Usage(msgspec.Struct, rename="camel"):
    usage_metadata: msgspec.Raw = msgspec.Raw(b"null")


_raw_usage = msgspec.json.Decoder(_Usage)


def encode(request: Request, deployment: Deployment) -> HttpCall:
    """The caller's own body, without what is the gateway's. Errors: Fault invalid_json.

    A history with a proof of thought that another upstream signed would be refused, so it is read and written anew.
    """
    if SEALED in request.body:
        return requests.write(requests.read_at(request.body, request.model, request.stream), deployment)
    body = request.body
    if any(name in body for name in _OURS):
        try:
            members = members_of(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Fault("invalid_json", "The request body is not a JSON object.") from None
        ours = tuple(name for name in requests.OURS if name in members)
        body = splice(body, {}, ours) if ours else body
    return HttpCall(requests.path_of(deployment.upstream_model, request.stream), body)


def complete(body: bytes, settle: Settle) -> bytes:
    """A whole answer with its insertions. Errors: Fault, for an answer that cannot be read or an error in its place."""
    return _insert(body, *settle(_usage_of(decode(body))))


def _usage_of(seen: Response) -> Usage | None:
    return None if seen.usage_metadata is None else usage.read(seen.usage_metadata)


def _insert(body: bytes, cost: str | None, receipt: bytes) -> bytes:
    """The insertions, made by cutting the bytes of an answer or of an event whose data is one line."""
    end = body.rindex(b"}")
    out = b'%b,"shoal":%b%b' % (body[:end].rstrip(), receipt, body[end:])
    raw = bytes(_raw_usage.decode(payload(body)).usage_metadata)
    places = [found.end() for found in _MEMBER.finditer(body, 0, end) if body.startswith(raw, found.end())]
    if not places:
        return out
    brace = places[-1] + len(raw) - 1
    comma = b"," if raw[1:-1].strip() else b""
    return b'%b%b"cost":%b%b' % (body[:brace].rstrip(), comma, (cost or "null").encode(), out[brace:])


class Stream(streamed.Passing):
    """A stream on its way through. `array`: the caller gets the events' data as one JSON array, as Google sends without `alt=sse`."""

    def __init__(self, settle: Settle, *, array: bool = False, is_silent: streamed.IsSilent | None = None) -> None:
        super().__init__(settle, is_silent)
        self._array = array
        self._last: bytes | None = None
        self._opened = False
        self._usage: Usage | None = None

    def take(self, event: bytes) -> bytes:
        """What is passed on of an event, or of the one before it."""
        data = payload(event)
        if not data:
            return b"" if self._array else event
        if self._last is None and not _notable(data):
            return self._send(event)
        seen = decode(data)
        self._usage = _usage_of(seen) or self._usage
        if self._last is None and not _finished(seen):
            return self._send(event)
        before, self._last, self.whole = self._last, event, True
        return b"" if before is None else self._send(before)

    def _send(self, event: bytes) -> bytes:
        if not self._array:
            return event
        lead, self._opened = b",\r\n" if self._opened else b"[", True
        return lead + payload(event)

    def end(self) -> bytes:
        """The last event, with the insertions."""
        assert self._last is not None
        self.done = True
        data = payload(self._last)
        last = b"data: %b\r\n\r\n" % data.replace(b"\n", b" ") if b"\n" in data else self._last
        return self._send(_insert(last, *self.settle(self._usage))) + (b"]" if self._array else b"")


def _notable(data: bytes) -> bool:
    """Whether an event must be read: it may end the answer, or be an error. Most are words and nothing else."""
    return b'"finishReason"' in data or b'"error"' in data or b'"blockReason"' in data


def _finished(seen: Response) -> bool:
    blocked = seen.prompt_feedback is not None and seen.prompt_feedback.block_reason is not None
    return blocked or any(candidate.finish_reason for candidate in seen.candidates or ())
