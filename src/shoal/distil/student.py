"""What the recipe's rungs make: a student, in the form in which it is served, and what each rung must offer to be tried.

A rung is one way of making a student. The ladder asks each whether it can hold the task and what it would take, and trains the cheapest
that is good enough (ladder.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from shoal.distil.rows import Message, Row
from shoal.distil.watch import Watch

Kind = Literal["label", "json", "number", "text"]


class Task(msgspec.Struct, frozen=True):
    """What is to be learnt. `labels` is the closed set of answers where `kind` is "label". `test` is never trained on, `dev` only for
    choosing and early stopping."""

    kind: Kind
    train: Sequence[Row]
    dev: Sequence[Row]
    test: Sequence[Row]
    labels: Sequence[str] = ()


class Options(msgspec.Struct, frozen=True):
    """How to train. None leaves it to the rung. `home` is SHOAL_HOME, `base` a prepared generative model in it."""

    home: Path
    base: str = "minnow"
    seed: int = 1
    threads: int = 2
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    most_minutes: float | None = None


class Estimate(msgspec.Struct, frozen=True):
    """What training would take on this machine; honest: measured here, or marked as a guess."""

    seconds: float
    measured: bool
    why: str = ""


class Student(msgspec.Struct, frozen=True):
    """A trained student. `directory` holds model.json (mini.card.Card) and all that the mini needs to serve it; `figures` what training
    measured (dev loss, dev score, parameters, trained_tokens, train_seconds, ...)."""

    rung: str
    directory: Path
    figures: dict[str, float]


class Rung(Protocol):
    """One way of making a student."""

    name: str

    def unfit(self, task: Task) -> str | None:
        """Why this rung cannot hold the task, or None."""

    def estimate(self, task: Task, options: Options) -> Estimate:
        """What `train` would take."""

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        """Train into `directory` (made if need be, taken up again where an earlier call was killed). Raises watch.Cancelled."""


class Answers(Protocol):
    """A model that can be asked in batches: a student under test, or its teacher's recorded answers."""

    def answer(self, questions: Sequence[Sequence[Message]]) -> list[str]:
        """One answer a question, in order."""
