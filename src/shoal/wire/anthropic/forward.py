"""Anthropic to Anthropic: the caller's bytes and the upstream's, but for two insertions.

`cost` (USD) comes at the end of `usage` and the receipt `shoal` at the end of the object; in a stream both come in the `message_delta`
that says why the answer stopped, which is the last event with usage.
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
from shoal.wire.anthropic import betas, errors, requests, streams, usage

_NULL = msgspec.Raw(b"null")
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')  # cannot match within a string, where quotes are escaped
_NOTABLE = re.compile(rb'"type"\s*:\s*"(?:message_|error)|"error"\s*:')
# thought that another upstream has signed, or nobody
_FOREIGN = re.compile(rb'"signature"\s*:\s*"(?:shoal:|")')
_OURS = tuple(f'"{name}"'.encode() for name in requests.OURS)


class Request(Protocol):
    """What the gateway knows of a request."""

    @property
    def body(self) -> bytes: ...
    @property
    def model(self) -> str: ...
    @property
    def stream(self) -> bool: ...


class _Answer(msgspec.Struct):
    type: str | None = None
    usage: msgspec.Raw = _NULL


_answer = msgspec.json.Decoder(_Answer)


def encode(request: Request, deployment: Deployment) -> HttpCall:
    """The caller's own body with the upstream's name of the model, without what is the gateway's. Errors: Fault invalid_json.

    A history with thought that Anthropic has not signed would be refused, so it is read and written anew.
    """
    if _FOREIGN.search(request.body):
        return requests.write(requests.read(request.body), deployment)
    try:
        members = members_of(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("invalid_json", "The request body is not a JSON object.") from None
    headers = betas.headers(members, b'"file_id"' in request.body)
    changes = {} if request.model == deployment.upstream_model else {"model": msgspec.json.encode(deployment.upstream_model)}
    without = tuple(name for name in requests.OURS if name in members)
    body = splice(request.body, changes, without) if changes or without else request.body
    return HttpCall("/messages", body, headers, streamed=request.stream)


def complete(body: bytes, settle: Settle) -> bytes:
    """A whole answer with its insertions. Errors: Fault, for an answer that cannot be read or an error in its place."""
    try:
        if not body.isascii():
            body.decode()  # raw members are not decoded
        seen = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not a JSON object.") from None
    if seen.type == "error":
        raise errors.read_within(body)
    raw = bytes(seen.usage)
    return _insert(body, raw, *settle(None if raw == b"null" else usage.read(raw).usage()))


def _insert(body: bytes, raw: bytes, cost: str | None, receipt: bytes) -> bytes:
    """The insertions, made by cutting the bytes of an answer, or of an event whose data is one line.

    `raw` is its usage object. Where the same object stands twice (in the arguments of a call, say) the right one is found by trying.
    """
    end = body.rindex(b"}")
    tail = b',"shoal":%b%b' % (receipt, body[end:])
    mark = b'"cost":%b' % (cost or "null").encode()
    places = [found.end() for found in _USAGE.finditer(body, 0, end) if raw[:1] == b"{" and body.startswith(raw, found.end())]
    for start in reversed(places):
        brace = start + len(raw) - 1
        comma = b"," if raw[1:-1].strip() else b""
        out = b"".join((body[:brace], comma, mark, body[brace:end], tail))
        if len(places) == 1 or mark in bytes(_answer.decode(streams.payload(out) or out).usage):
            return out
    return body[:end] + tail


def is_silent(event: bytes) -> bool:
    """Whether an event shows nothing of the answer: it only announces it, or opens what is still empty. Errors: msgspec's."""
    data = streams.payload(event)
    if data is None or not data.strip():
        return True
    seen = streams.decoder.decode(data)
    if seen.type != "content_block_start" or seen.content_block is None:
        return seen.type in ("message_start", "ping")
    block = seen.content_block
    return block.type in ("text", "thinking") and not (block.text or block.thinking or block.signature)


class Stream(streamed.Passing):
    """A stream on its way through."""

    def __init__(self, settle: Settle, is_silent: streamed.IsSilent | None = None) -> None:
        super().__init__(settle, is_silent)
        self._settled = False
        self._counts = usage.Counts()
        self._usage: Usage | None = None

    def is_plain(self, data: bytes) -> bool:
        """Whether there is nothing here but words."""
        return _NOTABLE.search(data) is None

    def take(self, event: bytes) -> bytes:
        """What is passed on of an event."""
        data = streams.payload(event) if _NOTABLE.search(event) else None
        if data is None:
            return event
        seen = streams.decoder.decode(data)
        if seen.type == "error" or (seen.type is None and bytes(seen.error) != b"null"):
            raise errors.read_within(data)
        self._count(seen.message.usage if seen.message is not None else seen.usage)
        if seen.type == "message_delta" and seen.delta is not None and seen.delta.stop_reason is not None and not self._settled:
            self._settled = self.whole = True
            return _insert(event, bytes(seen.usage), *self.settle(self._usage))
        if seen.type != "message_stop":
            return event
        comment = self._comment()
        self.done = True
        return comment + event

    def _count(self, raw: msgspec.Raw) -> None:
        if bytes(raw) != b"null":
            self._counts = self._counts.merged(usage.read(raw))
            self._usage = self._counts.usage()

    def _comment(self) -> bytes:
        """The receipt, where no event was there to carry it."""
        if self._settled:
            return b""
        self._settled = self.whole = True
        return b": shoal %b\n\n" % self.settle(self._usage)[1]

    def end(self) -> bytes:
        """The last event, which the upstream has left out."""
        self.done = True
        return b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
