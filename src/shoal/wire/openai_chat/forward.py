"""OpenAI's dialect, forwarded: a request with what the upstream needs changed, an answer with its own bytes and two insertions.

The insertions are `cost` (USD) at the end of `usage` and the receipt `shoal` at the end of the object. In a stream they go into the
usage chunk, or, where the caller asked for no usage, the receipt is an SSE comment before `[DONE]` and the usage chunk is taken out.
An upstream that tells its usage elsewhere gets a usage chunk made for it, and contents that are lists become texts (contents.py).
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from shoal.core.chat import Request, members_of, splice
from shoal.core.errors import Fault
from shoal.core.ports import Settle
from shoal.core.usage import Usage
from shoal.wire import sse, streamed
from shoal.wire.openai_chat import chunks, contents, errors, shapes, usage
from shoal.wire.openai_chat.manners import Adapted, chooser

_answer = msgspec.json.Decoder(shapes.Answer)
_whole = msgspec.json.Decoder(shapes.Whole)
_chunk = msgspec.json.Decoder(shapes.Chunk)
_HEAD = ("id", "object", "created", "model", "system_fingerprint", "service_tier")

OURS: tuple[str, ...] = ("models", "provider", "route", "fallbacks", "session_id", "store", "metadata")
"""Members of a request that tell the gateway what to do, and would puzzle an upstream."""


def encode(request: Request, upstream_model: str, provider: str = "", adapted: Adapted | None = None) -> bytes:
    """The body to send: the caller's own bytes wherever nothing must change.

    Changed are the model's name, in a stream `stream_options.include_usage`, and what is `adapted`; what is the gateway's own (OURS) stays
    here, but for wishes that are meant for a `provider` that chooses among others itself.
    """
    fields = request.fields
    changes, without = (dict(adapted.changes), adapted.without) if adapted is not None else ({}, ())
    if fields.model != upstream_model:
        changes["model"] = msgspec.json.encode(upstream_model)
    if request.stream and not request.wants_usage:
        changes["stream_options"] = _with_usage(request)
    if changes or without or fields.has_ours:
        kept = "provider" if provider and chooser(request.model, fields.provider) == provider else None
        return splice(request.body, changes, (*without, *(name for name in OURS if name != kept)))
    return request.body


def _with_usage(request: Request) -> bytes:
    """The caller's `stream_options` with `include_usage` on; options this gateway does not know stay."""
    ours = b'{"include_usage":true}'
    if request.fields.stream_options is None:
        return ours
    return splice(bytes(members_of(request.body)["stream_options"]), {"include_usage": b"true"})


def complete(body: bytes, settle: Settle, chosen: bool = False) -> bytes:
    """A whole answer, which must have choices where they were asked for (`chosen`), with its two insertions.

    Errors: Fault when it is not a JSON object, has none of its choices, or is an error in a 200.
    """
    try:
        if not body.isascii():
            body.decode()  # raw members are not decoded
        seen = _read(body)
        if any(choice.message is not None and bytes(choice.message.content)[:1] == b"[" for choice in seen.choices or ()):
            body = contents.write_out(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not a JSON object.") from None
    failed_within = seen.base_resp is not None and seen.base_resp.status_code
    if failed_within or bytes(seen.error) not in chunks.NO_ERROR:
        raise errors.read_within(body)
    if chosen and not seen.choices:
        raise errors.read_instead(body)
    for choice in seen.choices or ():
        chunks.check(choice.finish_reason, choice.error)
    raw = bytes(seen.usage)
    cost, receipt = settle(None if raw == b"null" else usage.read(raw, seen.service_tier))
    return _insert(body, raw, cost, receipt)


def _read(body: bytes) -> shapes.Whole:
    """What must be looked at of a whole answer. Choices that are not such pass as they are."""
    try:
        return _whole.decode(body)
    except msgspec.ValidationError:
        seen = _answer.decode(body)
        return shapes.Whole(seen.usage, seen.error, seen.base_resp, seen.service_tier, [shapes.Said()])


def _insert(body: bytes, raw_usage: bytes, cost: str | None, receipt: bytes) -> bytes:
    """`cost` into the usage object, the receipt to the end; both only by cutting the bytes, never by writing them anew."""
    end = body.rindex(b"}")
    at = body.rfind(b'"usage":', 0, end) + 8
    after = at + len(raw_usage)
    is_object = raw_usage.endswith(b"}") and len(raw_usage) > 2
    # nearly everybody writes the object without spaces, and no other one behind it: then it stands in none but the whole
    if is_object and at > 8 and body.startswith(raw_usage, at) and b"{" not in (rest := body[after:end]) and b"}" not in rest:
        return b"".join((body[:at], usage.add_cost(raw_usage, cost), body[after:end], b',"shoal":', receipt, body[end:]))
    tail = b',"shoal":%b%b' % (receipt, body[end:])
    if not is_object:
        return body[:end] + tail
    marked = usage.add_cost(raw_usage, cost)
    for start in _places(body, raw_usage, end):
        out = body[:start] + marked + body[start + len(raw_usage) : end] + tail
        if body.count(raw_usage) == 1 or _usage_of(out) == marked:
            return out
    return body[:end] + tail


def _places(body: bytes, raw_usage: bytes, end: int) -> Iterator[int]:
    """Where objects with these bytes start. With its quotes unescaped one cannot be part of a string, but others may be just like it."""
    at = end
    while (at := body.rfind(raw_usage, 0, at + len(raw_usage) - 1)) >= 0:
        yield at


def _usage_of(body: bytes) -> bytes:
    """The raw `usage` of an answer, or of an event that holds one."""
    return bytes(_answer.decode(sse.data_of(body) or body).usage)  # no line of a JSON object begins with `data:`


_beginning = msgspec.json.Decoder(shapes.Beginning)
_EMPTY = (b"null", b'""', b"[]", b"{}")


def is_silent(event: bytes) -> bool:
    """Whether an event shows nothing of the answer: a comment, a role, an empty text. Errors: msgspec's, for what is no chunk."""
    data = sse.data_of(event)
    if data is None or not data.strip():
        return True
    if data.strip() == b"[DONE]":
        return False
    for choice in _beginning.decode(data).choices or ():
        said = [raw for name, raw in (choice.delta or {}).items() if name != "role"]
        if choice.finish_reason or any(bytes(raw) not in _EMPTY for raw in (*said, choice.text, choice.message)):
            return False
    return True


class Stream(streamed.Passing):
    """A stream on its way through. `n` choices were asked for; whoever gives fewer says [DONE]."""

    def __init__(self, wants_usage: bool, settle: Settle, n: int = 1, is_silent: streamed.IsSilent | None = None) -> None:
        super().__init__(settle, is_silent)
        self._wants_usage = wants_usage
        self._settled = False
        self._elsewhere = b""  # the last chunk that told usage where OpenAI does not
        self._usage: Usage | None = None
        self._n = n
        self._finished: set[int] = set()

    def is_plain(self, data: bytes) -> bool:
        """Whether there is nothing here but words."""
        return not _notable(data)

    def take(self, event: bytes) -> bytes:
        """What is passed on of an event."""
        data = sse.data_of(event) if _notable(event) else None
        if data is None:
            return event
        if data.strip() == b"[DONE]":
            last = self._last_words()
            self.done = self.whole = True
            return last + event
        if event.startswith(chunks.ERROR_EVENT):
            raise errors.read_within(data)
        chunk = _chunk.decode(data)
        if bytes(chunk.error) not in chunks.NO_ERROR or chunk.object == "error":
            raise errors.read_within(data)
        if chunk.x_groq is not None:
            chunks.check(None, chunk.x_groq.error)
        choices = chunk.choices or ()
        for choice in choices:
            chunks.check(choice.finish_reason, choice.error)
        self._finished.update(choice.index or 0 for choice in choices if choice.finish_reason)
        self.whole = len(self._finished) >= self._n
        if contents.are_listed(data):
            event = b"data: %b\n\n" % contents.write_out(data)
        raw = bytes(chunk.usage)
        if raw != b"null":
            return self._pass_usage(event, raw, chunk)
        places = [*([chunk.x_groq.usage] if chunk.x_groq else ()), *(choice.usage for choice in choices)]
        if (used := usage.read_first(places, chunk.service_tier)) is not None:
            self._usage, self._elsewhere = used, data
        return event

    def _pass_usage(self, event: bytes, raw: bytes, chunk: shapes.Chunk) -> bytes:
        self._usage = usage.read(raw, chunk.service_tier) or self._usage
        if not self._wants_usage:
            return event if chunk.choices else b""
        if not (self.whole or not chunk.choices) or self._settled:
            return event
        self._settled = True
        cost, receipt = self.settle(self._usage)
        return _insert(event, raw, cost, receipt)

    def _last_words(self) -> bytes:
        """The receipt where it has not been told yet: in a usage chunk where one is missing, else as a comment."""
        if self._settled:
            return b""
        self._settled = True
        cost, receipt = self.settle(self._usage)
        used = usage.write(self._usage) if self._usage is not None and self._elsewhere and self._wants_usage else None
        if used is None:
            return b": shoal %b\n\n" % receipt
        said = members_of(self._elsewhere)
        chunk: dict[str, Any] = {name: said[name] for name in _HEAD if name in said}
        chunk |= {"choices": [], "usage": msgspec.Raw(usage.add_cost(msgspec.json.encode(used), cost)), "shoal": msgspec.Raw(receipt)}
        return b"data: %b\n\n" % msgspec.json.encode(chunk)

    def end(self) -> bytes:
        """The receipt, where nothing has told it yet, and [DONE]."""
        last = self._last_words()
        self.done = True
        return last + b"data: [DONE]\n\n"


_SOME_USAGE = re.compile(rb'"usage"\s*:(?!\s*null)')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')


def _notable(data: bytes) -> bool:
    """Whether bytes of a stream hold something the gateway must look at. Searching is cheap; most chunks hold nothing."""
    if b"[DONE]" in data or b'"error"' in data or b"event:" in data or contents.are_listed(data):
        return True
    return _FINISH.search(data) is not None or _SOME_USAGE.search(data) is not None
