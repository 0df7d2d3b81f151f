"""One answer in the making: an engine's pieces become text, calls and logprobs, told to whoever writes them down.

`answer` sees several of them through. It runs without a task per token: the engine's sink writes to the caller directly.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from shoal.core.errors import Fault
from shoal.mini.engine import Engine, Full, Piece, Run, Sampling
from shoal.mini.text import Chosen, TextStream
from shoal.mini.tools import CallDelta, Reader
from shoal.net.exchange import Exchange


class Said(msgspec.Struct, frozen=True):
    """What came of one piece. `finish` is OpenAI's finish_reason, in the last one only."""

    text: str = ""
    calls: Sequence[CallDelta] = ()
    chosen: Sequence[Chosen] = ()
    finish: str | None = None


class Counted(Protocol):
    """What usage is made of: an answer's tokens, and those of its prompt that were read from a cache (None: not counted)."""

    @property
    def tokens(self) -> int: ...

    @property
    def cached_tokens(self) -> int | None: ...


class Writer(Protocol):
    """Where an answer goes: a stream, or one JSON object. `started` turns True with the first byte sent."""

    started: bool

    def write(self, index: int, said: Said) -> None:
        """Take what a choice said."""

    def complete(self, choices: Sequence[Counted]) -> None:
        """All choices have finished."""

    def fail(self, fault: Fault) -> None:
        """End a started answer with an error."""


class Choice:
    """One run, and the state of its text."""

    def __init__(self, index: int, text: TextStream, reader: Reader | None = None, *, named: bool = False) -> None:
        """`named`: a call was demanded by name, for which OpenAI's finish_reason stays "stop"."""
        self.index = index
        self._text = text
        self._reader = reader
        self._named = named
        self._run: Run | None = None
        self._tell: Callable[[Choice, Said], None] = lambda choice, said: None
        self._break: Callable[[str], None] = lambda reason: None
        self.done = False
        self.cached_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """Tokens generated so far."""
        return self._text.tokens

    def start(
        self,
        engine: Engine,
        prompt: Sequence[int],
        sampling: Sampling,
        tell: "Callable[[Choice, Said], None]",
        break_off: Callable[[str], None],
    ) -> None:
        """Queue the run. `tell` gets what is said, `break_off` the reason when the run fails. Raises engine.Full."""
        self._tell, self._break = tell, break_off
        self._run = engine.submit(prompt, sampling, self._take)

    def cancel(self) -> None:
        """Free the engine's slot; nothing more is told."""
        if not self.done:
            self.done = True
            if self._run is not None:
                self._run.cancel()

    def _take(self, piece: Piece) -> None:
        if self.done:
            return
        if piece.cached_tokens is not None:
            self.cached_tokens = piece.cached_tokens
        stream = self._text
        text = stream.feed(piece.tokens, piece.logprobs) if piece.tokens else ""
        chosen: Sequence[Chosen] = stream.chosen if piece.tokens else ()
        finish: str | None = piece.finish
        if finish == "error" or finish == "cancelled":
            self.done = True
            self._break(piece.error or "the run was cancelled")
            return
        if stream.stopped:
            finish = "stop"
            if piece.finish is None:
                self.cancel()
        elif finish is not None:
            text += stream.finish()
            chosen = [*chosen, *stream.chosen]
            if stream.stopped:
                finish = "stop"
        self._pass_on(text, chosen, finish)

    def _pass_on(self, text: str, chosen: Sequence[Chosen], finish: str | None) -> None:
        calls: Sequence[CallDelta] = ()
        reader = self._reader
        if reader is not None:
            text, calls = reader.feed(text)
            if finish is not None:
                rest, more = reader.finish()
                text, calls = text + rest, [*calls, *more]
                if finish == "stop" and reader.calls and not self._named:
                    finish = "tool_calls"
        if finish is not None:
            self.done = True
        if text or calls or chosen or finish is not None:
            self._tell(self, Said(text, calls, chosen, finish))


async def answer(
    engine: Engine, exchange: Exchange, choices: Sequence[Choice], prompts: Sequence[Sequence[int]], sampling: Sampling, writer: Writer
) -> None:
    """Run `choices` (the k-th on the k-th of `prompts`) and write what they say; a caller who leaves frees their slots at once.

    Raises Fault when nothing was sent yet: rate_limited when the engine is full, internal when a run failed.
    """
    ended: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    left = len(choices)

    def tell(choice: Choice, said: Said) -> None:
        nonlocal left
        writer.write(choice.index, said)
        if said.finish is not None:
            left -= 1
            if not left and not ended.done():
                ended.set_result(None)

    def break_off(reason: str) -> None:
        for choice in choices:
            choice.cancel()
        if not ended.done():
            ended.set_result(reason)

    exchange.on_gone = lambda: break_off("the caller has gone")
    if exchange.gone:
        return
    try:
        for choice, prompt in zip(choices, prompts, strict=True):
            choice.start(engine, prompt, sampling, tell, break_off)
    except Full as full:
        break_off("the queue is full")
        text = f"The model's queue is full; try again in {full.retry_after_s:.0f} seconds."
        raise Fault("rate_limited", text, retry_after_s=full.retry_after_s) from None
    try:
        reason = await ended
    except asyncio.CancelledError:
        break_off("the server ends")
        raise
    if exchange.gone:
        return
    if reason is None:
        writer.complete(choices)
        return
    fault = Fault("internal", f"The model failed in the middle of this answer ({reason}); send the request again.")
    if not writer.started:
        raise fault
    writer.fail(fault)
