"""How a job is to make a student: the `method` of OpenAI's fine-tuning jobs, with one of our own beside "supervised".

https://platform.openai.com/docs/api-reference/fine-tuning/create. "distillation" has a model of the gateway answer what nobody has answered
yet, chooses the cheapest student that is good enough, and publishes none that is worse than was wished for.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Moment = Annotated[int, Meta(ge=0, lt=2**48)]
Auto = Literal["auto"]
Personal = Literal["redact", "reject", "keep"]
"""What becomes of personal data in rows to learn from."""

HeldOut = Annotated[float, Meta(ge=0.02, le=0.5)]
"""Which share of the rows is never learnt from, but judged by. Rows of a validation file are judged by instead, where there is one."""

Judge = Annotated[str, Meta(max_length=256)]
"""A model of the gateway that compares a student's answers with its teacher's, where they are texts; "": nobody does."""

Kind = Annotated[str, Meta(min_length=1, max_length=32)]
"""A kind of student, as the ladder names its rungs."""


class Hyperparameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What OpenAI lets callers choose; "auto" leaves it to us."""

    batch_size: Annotated[int, Meta(ge=1, le=256)] | Auto = "auto"
    learning_rate_multiplier: Annotated[float, Meta(gt=0, le=100)] | Auto = "auto"
    n_epochs: Annotated[int, Meta(ge=1, le=50)] | Auto = "auto"


class Logs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which stored completions to learn from: those with all of these `metadata`, of this `model`, of this time (milliseconds since 1970),
    with at least this `score` where somebody gave one. `stored`: only those that were asked to be stored."""

    metadata: dict[str, str] = {}
    model: str | None = None
    since_ms: Moment | None = None
    until_ms: Moment | None = None
    score: float | None = None
    stored: bool = False


class Supervised(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Learning from answers that are there. With a `target_quality` the student is published only if it is that good."""

    hyperparameters: Hyperparameters = Hyperparameters()
    target_quality: Share = 0.0
    pii: Personal = "redact"
    held_out: HeldOut = 0.2
    students: tuple[Kind, ...] = ()
    judge: Judge = ""


class Distillation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Learning from `teacher`, a model of the gateway, which answers what has no answer, for at most `budget_usd` (its judge included).

    `target_quality`: the student/teacher ratio on rows that it has not seen whose lower 95% bound decides. `samples`: how often the
    teacher is asked each question; where its answers differ too much, the row is left out. `students`: which kinds to try; all, without.
    """

    teacher: Annotated[str, Meta(max_length=256)] = ""
    target_quality: Share = 0.95
    hyperparameters: Hyperparameters = Hyperparameters()
    budget_usd: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    samples: Annotated[int, Meta(ge=1, le=16)] = 1
    pii: Personal = "redact"
    held_out: HeldOut = 0.2
    students: tuple[Kind, ...] = ()
    logs: Logs | None = None
    judge: Judge = ""


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way of making a student. Only the member that `type` names counts."""

    type: Literal["supervised", "distillation"] = "supervised"
    supervised: Supervised | None = None
    distillation: Distillation | None = None

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Of whichever type it is."""
        return self.plan.hyperparameters

    @property
    def plan(self) -> Supervised | Distillation:
        """What the member that counts says, or the defaults."""
        if self.type == "supervised":
            return self.supervised or Supervised()
        return self.distillation or Distillation()
