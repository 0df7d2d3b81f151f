"""A student under examination, whatever its kind: asked many questions at once, as the mini would answer them, and what that took."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from shoal.distil.rows import Message
from shoal.distil.served import Served, Spent, open_served
from shoal.mini import catalogue
from shoal.mini.card import read_card
from shoal.mini.engine import Embedder
from shoal.mini.heads import Head, embed_with, load_head, text_of


class HeadAnswers:
    """student.Answers of a head. What it reads is counted in the sentence model's tokens, as callers are shown it."""

    def __init__(self, head: Head, embedder: Embedder) -> None:
        self._head, self._embedder = head, embedder
        self.spent = Spent()

    def answer(self, questions: Sequence[Sequence[Message]]) -> list[str]:
        """One answer a question, in order."""
        texts = [text_of(question, self._head.frame.system) for question in questions]
        started, cpu = time.monotonic(), time.process_time()
        answers = [answer for answer, _ in self._head.answer(texts, embed_with(self._embedder))] if texts else []
        self.spent.seconds += time.monotonic() - started
        self.spent.cpu_seconds += time.process_time() - cpu
        self.spent.questions += len(texts)
        self.spent.prompt_tokens += sum(len(self._embedder.encode(text)) for text in texts)
        self.spent.answer_tokens += sum(len(self._embedder.pieces(answer)) for answer in answers)
        return answers


@contextmanager
def open_student(directory: Path, home: Path, threads: int) -> Iterator[Served | HeadAnswers]:
    """Load the student in `directory`, and free it at the end. Raises mini.pull.PullFailed where it cannot be served."""
    if read_card(directory).kind == "head":
        yield HeadAnswers(load_head(directory, threads), catalogue.load_embedder(home, threads))
        return
    with open_served(directory, threads) as served:
        yield served
