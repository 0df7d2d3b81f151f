"""A student, or its base, asked many questions at once through the very engine that serves it: what is measured is what callers get.

Answers are the likeliest texts, as the mini gives them to callers who ask for nothing else.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from shoal.distil.pretrained import ChatTokenizer
from shoal.distil.rows import Message
from shoal.mini.card import read_card
from shoal.mini.catalogue import load_directory
from shoal.mini.engine import Engine, Piece, Sampling

_AT_ONCE = 48
_MOST_TOKENS = 512


class EngineFailed(Exception):
    """The engine could not answer; the message is its own."""


class Spent(msgspec.Struct):
    """What the questions so far have taken: tokens read and written, seconds of time and of all processors."""

    questions: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0


class Served:
    """student.Answers of a servable directory. `spent` tells what its answers took."""

    def __init__(self, directory: Path, engine: Engine, most_tokens: int) -> None:
        self._engine, self._most_tokens = engine, most_tokens
        self._tokenizer = ChatTokenizer(directory, read_card(directory))
        self.spent = Spent()

    def answer(self, questions: Sequence[Sequence[Message]]) -> list[str]:
        """One answer a question, in order. Raises EngineFailed, and core.errors.Fault for a question that cannot be asked."""
        prompts = [self._tokenizer.prompt(question) for question in questions]
        started, cpu = time.monotonic(), time.process_time()
        answers = asyncio.run(self._answer_all(prompts))
        self.spent.seconds += time.monotonic() - started
        self.spent.cpu_seconds += time.process_time() - cpu
        self.spent.questions += len(prompts)
        self.spent.prompt_tokens += sum(map(len, prompts))
        self.spent.answer_tokens += sum(map(len, answers))
        return [self._tokenizer.decode(answer) for answer in answers]

    async def _answer_all(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(prompt: Sequence[int]) -> list[int]:
            async with gate:
                return await self._ask(prompt)

        return list(await asyncio.gather(*map(ask, prompts)))

    async def _ask(self, prompt: Sequence[int]) -> list[int]:
        tokens: list[int] = []
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def take(piece: Piece) -> None:
            tokens.extend(piece.tokens)
            if piece.finish == "error":
                ended.set_exception(EngineFailed(piece.error or "the engine gave no reason"))
            elif piece.finish is not None:
                ended.set_result(None)

        room = self._engine.capabilities.context_tokens - len(prompt)
        self._engine.submit(prompt, Sampling(max_tokens=max(1, min(self._most_tokens, room)), temperature=0.0), take)
        await ended
        return tokens


@contextlib.contextmanager
def open_served(directory: Path, threads: int, most_tokens: int = _MOST_TOKENS) -> Iterator[Served]:
    """Load what lies in `directory`, and free it at the end. Raises mini.pull.PullFailed if it is not servable."""
    broken: Callable[[str], None] = lambda reason: None  # noqa: E731 - every run that is under way is told
    engine = load_directory(directory, directory.name, threads, broken)
    try:
        yield Served(directory, engine, most_tokens)
    finally:
        engine.close()
