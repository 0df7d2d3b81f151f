"""A streamed answer as a caller of the Messages API reads it (https://platform.claude.com/docs/en/build-with-claude/streaming).

Blocks come one after another and never overlap: where an upstream tells several calls at once, the later ones wait until the arguments of
the one before are whole. Of several choices only the first is told.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from shoal.core.answer import (
    Began,
    CitationDelta,
    Delta,
    Ended,
    MediaDelta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Used,
)
from shoal.core.conversation import Conversation, Reasoning, ToolCall
from shoal.core.usage import Usage
from shoal.wire.anthropic import answers, citations, seals, usage

_encode = msgspec.json.Encoder().encode


class Writer:
    """See core.ports.AnswerWriter."""

    def __init__(self, conversation: Conversation) -> None:
        self._began: Began = Began(model=conversation.model)
        self._started = False
        self._usage = Usage()
        self._ended = Ended(None)
        self._refused = False
        self._index = -1
        self._open: tuple[str, int] | None = None
        self._cited = False
        self._arguments: list[str] = []
        self._waiting: list[ToolCallDelta] = []
        self._out: list[bytes] = []

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Bytes to send now; may be empty."""
        for delta in deltas:
            if isinstance(delta, Began):
                self._began = delta
            elif isinstance(delta, Used):
                self._usage = delta.usage
            elif delta.choice == 0:
                self._start()
                self._take(delta)
        if deltas:
            self._start()
        return self._taken()

    def close(self, cost: str | None, receipt: bytes) -> bytes:
        """The end: what is open, the reason, usage with its cost, the receipt."""
        self._start()
        self._flush(final=True)
        self._stop()
        used = {**usage.write(self._usage), "cost": msgspec.Raw((cost or "null").encode())}
        ending = answers.ending(self._ended.finish, self._ended.stop_sequence, self._refused)
        self._event("message_delta", {"delta": ending, "usage": used, "shoal": msgspec.Raw(receipt)})
        self._event("message_stop", {})
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _event(self, kind: str, members: dict[str, Any]) -> None:
        self._out.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **members})))

    def _start(self) -> None:
        """The beginning, with the counts that are known by then; those that are not stand as 0 until `message_delta` tells them."""
        if self._started:
            return
        self._started = True
        counts = usage.write(self._usage)
        message: dict[str, Any] = {
            "id": self._began.id,
            "type": "message",
            "role": "assistant",
            "model": self._began.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**counts, "input_tokens": counts["input_tokens"] or 0, "output_tokens": counts["output_tokens"] or 0},
        }
        self._event("message_start", {"message": message})

    def _take(self, delta: Delta) -> None:
        if isinstance(delta, ToolCallDelta):
            self._waiting.append(delta)
            self._flush()
            return
        if not isinstance(delta, Ended):
            self._flush(final=True)
        match delta:
            case TextDelta(text=text) | RefusalDelta(text=text):
                self._refused = self._refused or isinstance(delta, RefusalDelta)
                self._say(text)
            case ReasoningDelta():
                self._think(delta)
            case CitationDelta(citation=citation):
                if self._open is None or self._open[0] != "text":
                    self._begin(("text", 0), {"type": "text", "text": ""})
                self._cited = True
                self._piece({"type": "citations_delta", "citation": citations.write(citation)})
            case MediaDelta(part=part):
                for block in answers.write_part(part):
                    self._begin(("media", 0), block)
            case Ended():
                self._ended = delta

    def _say(self, text: str) -> None:
        if not text:
            return
        if self._open != ("text", 0) or self._cited:  # what was cited is complete
            self._begin(("text", 0), {"type": "text", "text": ""})
        self._piece({"type": "text_delta", "text": text})

    def _think(self, delta: ReasoningDelta) -> None:
        place = ("thinking", delta.block)
        if delta.origin == seals.ORIGIN and delta.redacted:
            self._begin(("redacted", delta.block), {"type": "redacted_thinking", "data": delta.redacted})
            return
        if self._open != place:
            self._begin(place, {"type": "thinking", "thinking": "", "signature": ""})
        if delta.text:
            self._piece({"type": "thinking_delta", "thinking": delta.text})
        signature = seals.seal(Reasoning("", delta.signature, delta.redacted, delta.origin, delta.id))
        if signature:
            self._piece({"type": "signature_delta", "signature": signature})

    def _flush(self, *, final: bool = False) -> None:
        """Tell what waits of calls, as far as the order allows; `final`: no more of them comes."""
        while self._waiting:
            index = self._open[1] if self._open is not None and self._open[0] == "call" else None
            for delta in [one for one in self._waiting if one.index == index]:
                self._waiting.remove(delta)
                self._argue(delta.arguments)
            if not self._waiting or not (final or index is None or _whole("".join(self._arguments))):
                return
            self._call(self._waiting.pop(0))

    def _call(self, delta: ToolCallDelta) -> None:
        call = ToolCall(delta.id or "", delta.name or "", signature=delta.signature)
        proof = seals.proof(call)
        for block in answers.write_part(proof) if proof else ():
            self._begin(("proof", 0), {**block, "signature": ""})
            self._piece({"type": "signature_delta", "signature": block["signature"]})
        self._begin(("call", delta.index), {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        self._arguments = []
        self._argue(delta.arguments)

    def _argue(self, text: str) -> None:
        if text:
            self._arguments.append(text)
            self._piece({"type": "input_json_delta", "partial_json": text})

    def _begin(self, place: tuple[str, int], block: dict[str, Any]) -> None:
        self._stop()
        self._index += 1
        self._open = place
        self._event("content_block_start", {"index": self._index, "content_block": block})

    def _piece(self, delta: dict[str, Any]) -> None:
        self._event("content_block_delta", {"index": self._index, "delta": delta})

    def _stop(self) -> None:
        if self._open is not None:
            self._event("content_block_stop", {"index": self._index})
        self._open = None
        self._cited = False


def _whole(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
