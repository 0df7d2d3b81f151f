"""OpenAI's dialect, forwarded: a request with what the upstream needs changed, an answer with its own bytes and two insertions.

The insertions are `cost` (USD) at the end of `usage` and the receipt `shoal` at the end of the object. In a stream they go into the
usage chunk, or, where the caller asked for no usage, the receipt is an SSE comment before `[DONE]` and the usage chunk is taken out.
"""

import re
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Annotated

import msgspec

from shoal.core.chat import Request, members_of, splice
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire import sse

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**40)]


class _PromptDetails(msgspec.Struct):
    cached_tokens: _Count | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


# msgspec takes no Raw in a union: what is absent reads as null
_ABSENT = msgspec.Raw(b"null")


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    usage: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT
    choices: list[_Choice] = []


class _Error(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    param: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error | str | None = None
    message: str | None = None
    detail: msgspec.Raw = _ABSENT


_usage = msgspec.json.Decoder(_Usage)
_answer = msgspec.json.Decoder(_Answer)
_chunk = msgspec.json.Decoder(_Chunk)
_error = msgspec.json.Decoder(_ErrorBody)

# what a caller learns at the end: the cost as a JSON number (or None) and the receipt as a JSON object
Settle = Callable[[Usage | None], tuple[str | None, bytes]]


def encode(request: Request, upstream_model: str) -> bytes:
    """The body to send: the caller's own bytes wherever nothing must change.

    Changed are the model's name and, in a stream, `stream_options.include_usage`; `store` and `metadata` are the gateway's.
    """
    fields = request.fields
    changes: dict[str, bytes] = {}
    if fields.model != upstream_model:
        changes["model"] = msgspec.json.encode(upstream_model)
    if request.stream and not request.wants_usage:
        changes["stream_options"] = _with_usage(request)
    without = ("store", "metadata") if fields.store is not None or fields.metadata is not None else ()
    return splice(request.body, changes, without) if changes or without else request.body


def _with_usage(request: Request) -> bytes:
    """The caller's `stream_options` with `include_usage` on; options this gateway does not know stay."""
    ours = b'{"include_usage":true}'
    if request.fields.stream_options is None:
        return ours
    return splice(bytes(members_of(request.body)["stream_options"]), {"include_usage": b"true"})


def read_usage(raw: bytes) -> Usage | None:
    """Usage from OpenAI's usage object; None when it does not have that shape."""
    try:
        seen = _usage.decode(raw)
    except msgspec.ValidationError:
        return None
    return Usage(
        input=seen.prompt_tokens,
        output=seen.completion_tokens,
        cache_read=seen.prompt_tokens_details.cached_tokens if seen.prompt_tokens_details else None,
        reasoning=seen.completion_tokens_details.reasoning_tokens if seen.completion_tokens_details else None,
    )


def complete(body: bytes, settle: Settle) -> bytes:
    """A whole answer with its two insertions. Errors: Fault when it is not a JSON object, or is an error in a 200."""
    try:
        if not body.isascii():
            body.decode()  # raw members are not decoded
        seen = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Fault("upstream_garbled", "The upstream answered with something that is not a JSON object.") from None
    if seen.error is not _ABSENT and bytes(seen.error) != b"null":
        raise _fault_within(body)
    raw = bytes(seen.usage)
    cost, receipt = settle(None if raw == b"null" else read_usage(raw))
    return _insert(body, raw, cost, receipt)


def _insert(body: bytes, raw_usage: bytes, cost: str | None, receipt: bytes) -> bytes:
    """`cost` into the usage object, the receipt to the end; both only by cutting the bytes, never by writing them anew."""
    end = body.rindex(b"}")
    at = body.rfind(b'"usage":', 0, end) + 8
    is_object = raw_usage.endswith(b"}") and len(raw_usage) > 2
    # nearly everybody writes the object once, and without spaces
    if is_object and at > 8 and body.startswith(raw_usage, at) and body.find(b'"usage":') == at - 8:
        brace = at + len(raw_usage) - 1
        return b"".join((body[:brace], b',"cost":', (cost or "null").encode(), body[brace:end], b',"shoal":', receipt, body[end:]))
    tail = b',"shoal":%b%b' % (receipt, body[end:])
    if not is_object:
        return body[:end] + tail
    mark = b',"cost":%b}' % (cost or "null").encode()
    for brace in _places(body, raw_usage, end):
        out = body[:brace] + mark + body[brace + 1 : end] + tail
        if body.count(raw_usage) == 1 or _usage_of(out).endswith(mark):
            return out
    return body[:end] + tail


def _places(body: bytes, raw_usage: bytes, end: int) -> Iterator[int]:
    """Where objects with these bytes end. With its quotes unescaped one cannot be part of a string, but others may be just like it."""
    at = end
    while (at := body.rfind(raw_usage, 0, at + len(raw_usage) - 1)) >= 0:
        yield at + len(raw_usage) - 1


def _usage_of(body: bytes) -> bytes:
    """The raw `usage` of an answer, or of an event that holds one."""
    return bytes(_answer.decode(sse.data_of(body) or body).usage)  # no line of a JSON object begins with `data:`


def fault(status: int, headers: dict[bytes, bytes], body: bytes) -> Fault:
    """An upstream's error answer as a Fault; kinds come from the status alone.

    What the upstream says about the caller's own mistake is passed on; what it says about our key or its own troubles is not.
    """
    said = _read_error(body)
    plain = f"The upstream answered with status {status}."
    message = (said.message if said else None) or plain
    retry_after_s = _retry_after_s(headers)
    if status in (401, 403):
        return Fault("upstream_auth", "The upstream refused this gateway's credentials; the operator must check the provider's api_key.")
    if status == 404:
        return Fault("upstream_not_found", message, param=said.param if said else None, upstream_status=status)
    if status == 408:
        return Fault("upstream_timeout", plain, upstream_status=status)
    if status == 429:
        text = "The upstream is busy, or has reached the limit of what it does for this gateway; try again later."
        return Fault("upstream_busy", text, retry_after_s=retry_after_s, upstream_status=status)
    if 400 <= status < 500:
        return _Rejected(message, status, said)
    if 300 <= status < 400:
        text = f"The upstream redirects (status {status}), which is not followed; the operator must correct the provider's base_url."
        return Fault("upstream_error", text, upstream_status=status)
    return Fault("upstream_error", plain, retry_after_s=retry_after_s, upstream_status=status)


def _fault_within(body: bytes) -> Fault:
    """An error inside a 200: its numeric code is the status that was not sent, its type tells whether the caller is to blame."""
    said = _read_error(body)
    if said is not None and isinstance(said.code, int) and 400 <= said.code < 600:
        return fault(said.code, {}, body)
    if said is not None and said.type == "invalid_request_error":
        return fault(400, {}, body)
    return Fault("upstream_error", "The upstream answered with an error of its own.", upstream_status=200)


class _Rejected(Fault):
    """A caller's mistake as the upstream described it: its status, type and code are kept."""

    def __init__(self, message: str, status: int, said: _Error | None) -> None:
        super().__init__("upstream_rejected", message, param=said.param if said else None, upstream_status=status)
        self._said = said

    def error(self) -> dict[str, str | None]:
        """OpenAI's error object with the upstream's own type and code where it gave them."""
        out = super().error()
        if self._said is not None:
            out["type"] = self._said.type or out["type"]
            out["code"] = str(self._said.code) if self._said.code is not None else out["code"]
        return out


def _read_error(body: bytes) -> _Error | None:
    try:
        seen = _error.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(seen.error, _Error):
        return seen.error
    detail = bytes(seen.detail)
    text = seen.error or seen.message or (detail.decode("utf-8", "replace")[:500] if detail != b"null" else None)
    return _Error(message=text) if text else None


_LONGEST_RETRY_S = 86_400.0


def _retry_after_s(headers: dict[bytes, bytes]) -> float | None:
    for name, scale in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        return min(max(0.0, seconds), _LONGEST_RETRY_S) if isfinite(seconds) else None
    return None


class Stream:
    """A stream on its way through: `feed` gives the bytes to forward, whole events only; `close` gives what ends it.

    `usage` and `finished` tell what has been seen; `failed` is set once an error event of the upstream has passed, after which nothing may.
    """

    __slots__ = ("_settle", "_settled", "_splitter", "_wants_usage", "done", "events", "failed", "finished", "usage")

    def __init__(self, wants_usage: bool, settle: Settle) -> None:
        self._splitter = sse.Splitter()
        self._wants_usage = wants_usage
        self._settle = settle
        self._settled = False
        self.usage: Usage | None = None
        self.events = 0
        self.finished = False
        self.done = False
        self.failed: Fault | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes to forward now. Errors: Fault for an event without end, or one that is not JSON."""
        if self.done or self.failed is not None:
            return b""
        if self._splitter.whole(data) and not _notable(data):
            self.events += 1
            return data
        try:
            events = self._splitter.split(data)
        except sse.Overlong as error:
            raise Fault("upstream_garbled", f"The upstream's stream is not usable: {error}.") from None
        out = [self._pass(event) for event in events]
        return out[0] if len(out) == 1 else b"".join(out)

    def _pass(self, event: bytes) -> bytes:
        if self.done or self.failed is not None:
            return b""
        if not _notable(event):
            self.events += 1
            return event
        return self._look(event)

    def _look(self, event: bytes) -> bytes:
        data = sse.data_of(event)
        if data is None:
            return event
        self.events += 1
        if data.strip() == b"[DONE]":
            comment = self._receipt_comment()
            self.done = True
            return comment + event
        try:
            chunk = _chunk.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Fault("upstream_garbled", "The upstream's stream holds an event that is not a JSON object.") from None
        if bytes(chunk.error) != b"null":
            self.failed = _fault_within(data)
            return b""
        self.finished = self.finished or any(choice.finish_reason for choice in chunk.choices)
        raw = bytes(chunk.usage)
        return event if raw == b"null" else self._pass_usage(event, raw, chunk)

    def _pass_usage(self, event: bytes, raw: bytes, chunk: _Chunk) -> bytes:
        self.usage = read_usage(raw) or self.usage
        if not self._wants_usage:
            return event if chunk.choices else b""
        last = not chunk.choices or any(choice.finish_reason for choice in chunk.choices)
        if not last or self._settled:
            return event
        self._settled = True
        cost, receipt = self._settle(self.usage)
        return _insert(event, raw, cost, receipt)

    def _receipt_comment(self) -> bytes:
        if self._settled:
            return b""
        self._settled = True
        return b": shoal %b\n\n" % self._settle(self.usage)[1]

    def close(self) -> bytes:
        """What ends a stream that the upstream has ended. Errors: Fault upstream_cut when the answer was not complete."""
        if self.failed is not None:
            raise self.failed
        if self.done:
            return b""
        rest = self._splitter.rest
        out = b""
        if rest.strip():  # an upstream may leave out the last blank line
            out = self._look(rest.rstrip(b"\r\n") + b"\n\n")
            if self.failed is not None:
                raise self.failed
        if self.done:
            return out
        if not self.finished:
            raise Fault("upstream_cut", "The upstream ended the stream before its answer was complete.")
        comment = self._receipt_comment()
        self.done = True
        return out + comment + b"data: [DONE]\n\n"


_SOME_USAGE = re.compile(rb'"usage"\s*:(?!\s*null)')
_FINISH = re.compile(rb'"finish_reason"\s*:\s*"')


def _notable(data: bytes) -> bool:
    """Whether bytes of a stream hold something the gateway must look at. Searching is cheap; most chunks hold nothing."""
    return b"[DONE]" in data or b'"error"' in data or _FINISH.search(data) is not None or _SOME_USAGE.search(data) is not None


def error_event(body: bytes) -> bytes:
    """One typed error event, which is the last thing a broken stream says."""
    return b"data: %b\n\n" % body
