"""Answers as server-sent events, written piece by piece as an engine gives them.

This is the mini's hot loop: what is constant in a chunk is encoded once per answer, and only the text is encoded per piece. While a caller
reads too slowly, text is gathered (a few bytes a token, and max_tokens bounds the tokens) and goes out as one chunk when there is room.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.mini.answers import Head, shape_completion_logprobs, shape_logprobs
from shoal.mini.choice import Counted, Said
from shoal.mini.tools import CallDelta
from shoal.net.exchange import Exchange

_EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_NO_CACHE = (b"cache-control", b"no-cache")
_DONE = b"data: [DONE]\n\n"

_encode = msgspec.json.encode


class EventStream(ABC):
    """What streams of both kinds share; subclasses shape a choice."""

    def __init__(self, exchange: Exchange, head: Head, kind: str, choices: int, *, usage: bool) -> None:
        self._exchange, self._head, self._usage = exchange, head, usage
        common: dict[str, str | int] = {"id": head.id, "object": kind, "created": head.created, "model": head.model}
        common["system_fingerprint"] = head.system_fingerprint
        self._prefix = b"data: " + _encode(common)[:-1] + b',"choices":['
        self._suffix = b'],"usage":null}\n\n' if usage else b"]}\n\n"
        self._gathered: dict[int, list[str]] = {}
        self.started = False
        exchange.on_resume = self._flush

    def write(self, index: int, said: Said) -> None:
        """See choice.Writer."""
        if self._exchange.paused or self._gathered:
            if said.text and not said.calls and not said.chosen and said.finish is None:
                self._gathered.setdefault(index, []).append(said.text)
                return
            self._flush()
        self._send(self._shape(index, said))

    def complete(self, choices: Sequence[Counted]) -> None:
        """See choice.Writer."""
        self._flush()
        last = b""
        if self._usage:
            last = self._prefix + b'],"usage":' + _encode(self._head.usage(choices)) + b"}\n\n"
        self._exchange.end(last + _DONE)

    def fail(self, fault: Fault) -> None:
        """See choice.Writer."""
        self._flush()
        self._exchange.end(b"data: " + fault.body() + b"\n\n")

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for index, texts in gathered.items():
            self._send(self._shape(index, Said("".join(texts))))

    def _send(self, data: bytes) -> None:
        if not self.started:
            self.started = True
            self._exchange.start(200, [_EVENT_STREAM, _NO_CACHE, *self._head.headers()])
        self._exchange.send(data)

    @abstractmethod
    def _shape(self, index: int, said: Said) -> bytes:
        """The events for what a choice said."""


class ChatStream(EventStream):
    """A chat completion, streamed."""

    def __init__(self, exchange: Exchange, head: Head, choices: int, *, usage: bool) -> None:
        super().__init__(exchange, head, "chat.completion.chunk", choices, usage=usage)
        self._before = [self._prefix + b'{"index":%d,"delta":' % i for i in range(choices)]
        self._after = b',"logprobs":null,"finish_reason":null}' + self._suffix
        self._greeted = [False] * choices

    def _shape(self, index: int, said: Said) -> bytes:
        before = self._before[index]
        out = b""
        if not self._greeted[index]:
            self._greeted[index] = True
            content = b"null" if said.calls and not said.text else b'""'
            out = b'%b{"role":"assistant","content":%b,"refusal":null}%b' % (before, content, self._after)
        if said.text and not said.calls and not said.chosen:
            out += b'%b{"content":%b}%b' % (before, _encode(said.text), self._after)
        elif said.text or said.calls or said.chosen:
            delta: dict[str, Any] = {"content": said.text} if said.text or not said.calls else {}
            if said.calls:
                delta["tool_calls"] = [_shape_call(call) for call in said.calls]
            logprobs = _encode(shape_logprobs(said.chosen)) if said.chosen else b"null"
            out += b'%b%b,"logprobs":%b,"finish_reason":null}%b' % (before, _encode(delta), logprobs, self._suffix)
        if said.finish is not None:
            out += b'%b{},"logprobs":null,"finish_reason":%b}%b' % (before, _encode(said.finish), self._suffix)
        return out


def _shape_call(call: CallDelta) -> dict[str, Any]:
    if call.id is None:
        return {"index": call.index, "function": {"arguments": call.arguments}}
    return {"index": call.index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


class CompletionStream(EventStream):
    """A plain completion, streamed. `echoes` are what each choice's text begins with."""

    def __init__(self, exchange: Exchange, head: Head, echoes: Sequence[str], *, usage: bool) -> None:
        super().__init__(exchange, head, "text_completion", len(echoes), usage=usage)
        self._echoes = list(echoes)

    def _shape(self, index: int, said: Said) -> bytes:
        text, self._echoes[index] = self._echoes[index] + said.text, ""
        logprobs = _encode(shape_completion_logprobs(said.chosen)) if said.chosen else b"null"
        form = b'%b{"text":%b,"index":%d,"logprobs":%b,"finish_reason":%b}%b'
        return form % (self._prefix, _encode(text), index, logprobs, _encode(said.finish), self._suffix)
