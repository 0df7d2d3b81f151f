"""Streams of chat completion chunks: an upstream's to deltas, and deltas to a caller's.

https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from shoal.core.answer import (
    Began,
    CitationDelta,
    Delta,
    Ended,
    LogprobsDelta,
    MediaDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Used,
)
from shoal.core.chat import StreamOptions
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire import sse, streamed
from shoal.wire.openai_chat import answers, chunks, errors, thoughts, tools, usage


class Reader(streamed.Reader[bytes]):
    """An upstream's stream to deltas. `n` choices were asked for; whoever gives fewer says [DONE]."""

    def __init__(self, n: int = 1) -> None:
        super().__init__(sse.Splitter())
        self._told = chunks.Told()
        self._n = n
        self._done = False

    def take(self, event: bytes, out: list[Delta]) -> None:
        """Add what an event says."""
        data = sse.data_of(event)
        if data is None or self._done or not data.strip():
            return
        if event.startswith(chunks.ERROR_EVENT):
            raise errors.read_within(data)
        if data.strip() != b"[DONE]":
            for delta in self._told.take(chunks.decode(data)):
                out.append(delta)  # one by one, so that those before a fault are kept
            self.whole = self._told.finished and len(self._told.choices) >= self._n
        elif not self._told.choices:
            raise Fault("upstream_garbled", "The upstream's stream ended without an answer.")
        else:
            self._done = self.whole = True
            out += self._told.end()

    def end(self, out: list[Delta]) -> None:
        """Add the ends of all choices, where the upstream has not said [DONE]."""
        if not self._told.ended:
            out += self._told.end()


_encode = msgspec.json.Encoder().encode
_options = msgspec.json.Decoder(StreamOptions)


class Writer:
    """Deltas to a caller's stream (core.ports.AnswerWriter). All chunks have the same id, time and model."""

    def __init__(self, conversation: Conversation) -> None:
        options = conversation.extra.get("stream_options")
        self._wants_usage = options is not None and bool(_options.decode(options).include_usage)
        self._tail = b',"usage":null}\n\n' if self._wants_usage else b"}\n\n"
        self._head = b""
        self._usage = Usage()
        self._lengths: dict[int, int] = {}
        self._thoughts: dict[int, dict[int, dict[str, Any]]] = {}
        self._begin(Began(model=conversation.model))

    def _begin(self, began: Began) -> None:
        members = answers.head("chat.completion.chunk", began.id, began.created, began.model, began.extra)
        self._head = b"data: " + _encode(members)[:-1] + b',"choices":'

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Bytes to send now; may be empty."""
        out: list[bytes] = []
        choices: list[dict[str, Any]] = []
        for delta in deltas:
            if isinstance(delta, Began):
                self._begin(delta)
            elif isinstance(delta, Used):
                self._usage = delta.usage
            elif isinstance(delta, LogprobsDelta) and choices and choices[-1]["index"] == delta.choice and not choices[-1]["logprobs"]:
                choices[-1]["logprobs"] = delta.raw  # of the text before it
            else:
                choices.append(self._choice(delta))
        for choice in choices:
            out.append(self._head + b"[" + _encode(choice) + b"]" + self._tail)
        return b"".join(out)

    def _choice(self, delta: Delta) -> dict[str, Any]:
        assert not isinstance(delta, Began | Used)
        first = delta.choice not in self._lengths
        said: dict[str, Any] = {"role": "assistant", "content": ""} if first else {}
        so_far = self._lengths.setdefault(delta.choice, 0)
        if isinstance(delta, TextDelta):
            self._lengths[delta.choice] = so_far + len(delta.text)
        return {
            "index": delta.choice,
            "delta": said | (self._think(delta) if isinstance(delta, ReasoningDelta) else _say(delta, so_far)),
            "logprobs": delta.raw if isinstance(delta, LogprobsDelta) else None,
            "finish_reason": (delta.finish or "stop") if isinstance(delta, Ended) else None,
        }

    def _think(self, delta: ReasoningDelta) -> dict[str, Any]:
        """Pieces of a thought. OpenAI's SDK joins them by their index, which it takes for a place in a list, and adds text to text: so
        thoughts are numbered from 0, and what must not be doubled is said once."""
        begun = self._thoughts.setdefault(delta.choice, {})
        told = begun.setdefault(delta.block, {"index": len(begun)})
        details = thoughts.write(delta.text, delta.signature, delta.redacted, delta.origin, delta.id, told["index"])
        for detail in details:
            for name in ("format", "id"):
                if detail.get(name) == told.get(name):
                    detail.pop(name, None)
                elif name in detail:
                    told[name] = detail[name]
        return ({"reasoning_content": delta.text} if delta.text else {}) | ({"reasoning_details": details} if details else {})

    def close(self, cost: str | None, receipt: bytes) -> bytes:
        """The usage chunk with cost and receipt where the caller asked for one, the receipt as a comment where not, and the last event."""
        used = usage.write(self._usage)
        if used is None or not self._wants_usage:
            return b": shoal %b\n\ndata: [DONE]\n\n" % receipt
        raw = _encode(used | {"cost": msgspec.Raw((cost or "null").encode())})
        return self._head + b'[],"usage":%b,"shoal":%b}\n\ndata: [DONE]\n\n' % (raw, receipt)


def _say(delta: Delta, so_far: int) -> dict[str, Any]:
    """The `delta` member; `so_far` is how many characters of text came before."""
    match delta:
        case TextDelta(text=text):
            return {"content": text}
        case RefusalDelta(text=text):
            return {"refusal": text}
        case ToolCallDelta():
            return {"tool_calls": [tools.write_piece(delta.index, delta.id, delta.name, delta.arguments, delta.signature)]}
        case CitationDelta(citation=citation):
            return {"annotations": [answers.annotation(citation, 0, so_far)]}
        case MediaDelta(part=part):
            return {"images": [answers.picture(part)]}
    return {}
