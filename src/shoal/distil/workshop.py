"""The steps of the recipe for one job, each of which takes up what an earlier process of the same job has finished.

HOME/jobs/ID holds dataset.json, rungs/NAME for every kind of student that was tried, student (the one that was chosen, servable),
figures.json, card.md and report.html.
"""

import asyncio
import functools
import importlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shoal.core.errors import Fault
from shoal.core.fine_tuning import Hyperparameters, Method
from shoal.distil import examined, ladder, publish
from shoal.distil.dataset import task_of
from shoal.distil.gathering import make_dataset
from shoal.distil.student import Estimate, Options, Rung, Student, Task
from shoal.distil.telling import Order
from shoal.distil.watch import Watch
from shoal.evals import graders, stats
from shoal.mini.card import read_card, write_card
from shoal.storage.jobs import Outcome, Trouble

MADE_BY = "made_by.json"
"""In a published student's directory: the job that made it."""

_LEARNING_RATE = 1e-3  # what a multiplier of 1 is


RUNGS = {
    "tfidf": ("shoal.distil.baseline", "BaselineRung"),
    "head": ("shoal.distil.head", "HeadRung"),
    "lora": ("shoal.distil.lora", "Lora"),
}
"""The kinds of students, cheapest to serve first, and where each is made."""


class Later:
    """A rung whose libraries are loaded when it is its turn."""

    def __init__(self, name: str, module: str, kind: str) -> None:
        self.name, self._module, self._kind = name, module, kind

    @functools.cached_property
    def _rung(self) -> Rung:
        made: Rung = getattr(importlib.import_module(self._module), self._kind)()
        return made

    def unfit(self, task: Task) -> str | None:
        """See Rung."""
        return self._rung.unfit(task)

    def estimate(self, task: Task, options: Options) -> Estimate:
        """See Rung."""
        return self._rung.estimate(task, options)

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        """See Rung."""
        return self._rung.train(task, directory, options, watch)


class _MadeBy(msgspec.Struct, frozen=True):
    job: str


class Workshop:
    """One job at work."""

    def __init__(self, order: Order, watch: Watch) -> None:
        self.order, self.watch, self.job = order, watch, order.job
        self.home = Path(order.home)
        self.place = self.home / "jobs" / order.job.id
        self.plan = msgspec.convert(order.job.method, Method).plan
        self.options = _options(order, self.plan.hyperparameters)

    def gather(self) -> Task:
        """What is to be learnt."""
        built, self.made = asyncio.run(make_dataset(self.order, self.plan, self.place, self.watch))
        self.dataset = built
        task = task_of(built)
        kinds = {"label": f"one of {len(task.labels)} labels", "json": "JSON", "number": "a number", "text": "a text"}
        self.watch.say(f"The answer is {kinds[task.kind]}")
        return task

    def choose(self, task: Task) -> Student:
        """The cheapest student that is good enough on dev, or else the best of them."""
        place, score = self.place / "rungs", functools.partial(self._score, task)
        chosen = ladder.choose(task, self._rungs(), self.options, self.plan.target_quality, self.watch, place, score)
        self.tried = chosen.tried
        return chosen.student

    def _rungs(self) -> list[Rung]:
        """The kinds of students that may be tried, cheapest first. Errors: Fault."""
        known: list[Rung] = [Later(name, *where) for name, where in RUNGS.items()]
        names = [rung.name for rung in known]
        if strange := [name for name in self.plan.students if name not in names]:
            raise Fault(
                "invalid_value", f"There are no students of the kind {strange[0]!r}: {', '.join(names)} there are.", param="students"
            )
        return [rung for rung in known if not self.plan.students or rung.name in self.plan.students]

    def _score(self, task: Task, student: Student) -> float:
        with examined.open_student(student.directory, self.home, self.options.threads) as asked:
            said = asked.answer([row.messages for row in task.dev])
        return _mean([graders.grade(task.kind, answer, row.answer) for answer, row in zip(said, task.dev, strict=True)])

    def quantise(self, task: Task, student: Student) -> Student:
        """Smaller, where nothing that matters is lost."""
        return student

    def judge(self, task: Task, student: Student) -> tuple[float, float]:
        """Against the teacher, on rows that nobody has seen: the ratio and its lower 95% bound."""
        with examined.open_student(student.directory, self.home, self.options.threads) as asked:
            said = asked.answer([row.messages for row in task.test])
        scores = [graders.grade(task.kind, answer, row.answer) for answer, row in zip(said, task.test, strict=True)]
        ratio, lower = stats.ratio_lower_bound(scores, [1.0] * len(scores))
        self.watch.say(f"On {len(scores)} rows that it has not seen: {ratio:.1%} of its teacher's quality, surely {lower:.1%}")
        return ratio, lower

    def report(self, task: Task, student: Student, verdict: tuple[float, float]) -> None:
        """For whoever wants to know."""

    def publish(self, student: Student, verdict: tuple[float, float]) -> Outcome:
        """Put it on the shelf, unless it is refused."""
        kept = self.place / "student"
        if not kept.exists():
            shutil.copytree(student.directory, kept.with_suffix(".partial"), dirs_exist_ok=True)
            partial = kept.with_suffix(".partial")
            card = read_card(partial)
            write_card(partial, msgspec.structs.replace(card, base=self.job.model))  # its name begins with what was asked for
            (partial / MADE_BY).write_bytes(msgspec.json.encode(_MadeBy(self.job.id)))
            partial.replace(kept)
        tokens = int(student.figures.get("trained_tokens", 0))
        if verdict[1] < self.plan.target_quality:
            reached = f"The student reaches {verdict[0]:.1%} of its teacher's quality, surely {verdict[1]:.1%}"
            text = f"{reached}; {self.plan.target_quality:.1%} was wished for."
            return Outcome(status="failed", trained_tokens=tokens, error=Trouble("gate_refused", text, "target_quality"))
        return Outcome(status="succeeded", fine_tuned_model=self.put_on_the_shelf(), trained_tokens=tokens)

    def put_on_the_shelf(self) -> str:
        """A job's student is published once, also where the process died before it could say so."""
        for one in publish.list_students(self.home):
            if one.card.org_id == self.job.org_id and _made_by(one.directory) == self.job.id:
                return one.id
        return publish.publish(self.home, self.place / "student", self.job.org_id, self.order.org_name, self.job.suffix or "student")


def _options(order: Order, asked: Hyperparameters) -> Options:
    multiplier = asked.learning_rate_multiplier
    return Options(
        home=Path(order.home),
        base=order.job.model,
        seed=order.job.seed,
        threads=order.threads,
        epochs=None if asked.n_epochs == "auto" else asked.n_epochs,
        learning_rate=None if multiplier == "auto" else multiplier * _LEARNING_RATE,
        batch_size=None if asked.batch_size == "auto" else asked.batch_size,
        most_minutes=order.most_minutes,
    )


def _made_by(directory: Path) -> str:
    try:
        return msgspec.json.decode((directory / MADE_BY).read_bytes(), type=_MadeBy).job
    except (OSError, msgspec.MsgspecError):
        return ""


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
