"""The steps of the recipe for one job, each of which takes up what an earlier process of the same job has finished.

HOME/jobs/ID holds dataset.json, rungs/NAME for every kind of student that was tried, student (the one that was chosen, servable),
figures.json, card.md and report.html.
"""

import asyncio
import functools
import importlib
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shoal.core.errors import Fault
from shoal.core.fine_tuning import Hyperparameters, Method
from shoal.distil import card, examined, gate, general, judging, ladder, publish, report
from shoal.distil.asking import Away, Gateway, Refused
from shoal.distil.dataset import task_of
from shoal.distil.gathering import make_dataset
from shoal.distil.student import Estimate, Options, Rung, Student, Task
from shoal.distil.telling import Order
from shoal.distil.watch import Watch
from shoal.evals import graders
from shoal.mini import catalogue
from shoal.mini.card import Speed, read_card, read_speed, write_card
from shoal.storage.jobs import Outcome, Trouble

if TYPE_CHECKING:
    from shoal.distil import quantise

MADE_BY = "made_by.json"
"""In a published student's directory: the job that made it."""

_SEEN_S = 10.0
_LEARNING_RATE = 1e-3  # what a multiplier of 1 is


RUNGS = {
    "tfidf": ("shoal.distil.baseline", "BaselineRung"),
    "head": ("shoal.distil.head", "HeadRung"),
    "encoder": ("shoal.distil.encoder", "EncoderRung"),
    "small": ("shoal.distil.small", "Small"),
    "lora": ("shoal.distil.lora", "Lora"),
}
"""The kinds of students, cheapest to serve first, and where each is made."""

TRIED = ("tfidf", "head", "lora")
"""What is tried where a job names none."""


class Later:
    """A rung whose libraries are loaded when it is its turn, and which measures how long it will take only once."""

    def __init__(self, name: str, module: str, kind: str, memory: Path) -> None:
        self.name, self._module, self._kind, self._memory = name, module, kind, memory / f"{name}.json"

    @functools.cached_property
    def _rung(self) -> Rung:
        made: Rung = getattr(importlib.import_module(self._module), self._kind)()
        return made

    def unfit(self, task: Task) -> str | None:
        """See Rung."""
        return self._rung.unfit(task)

    def estimate(self, task: Task, options: Options) -> Estimate:
        """See Rung."""
        if self._memory.exists():
            return msgspec.json.decode(self._memory.read_bytes(), type=Estimate)
        made = self._rung.estimate(task, options)
        self._memory.parent.mkdir(parents=True, exist_ok=True)
        draft = self._memory.with_suffix(".partial")
        draft.write_bytes(msgspec.json.encode(made))
        draft.replace(self._memory)
        return made

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
        self.losses: list[quantise.Loss] = []

    def gather(self) -> Task:
        """What is to be learnt."""
        if self.plan.judge:
            judging.require_judge(self.order, self.plan, self.watch)
        built, self.made = asyncio.run(make_dataset(self.order, self.plan, self.place, self.watch))
        self.dataset = built
        task = task_of(built)
        judging.require_texts(task, self.plan)
        kinds = {"label": f"one of {len(task.labels)} labels", "json": "JSON", "number": "a number", "text": "a text"}
        self.watch.say(f"The answer is {kinds[task.kind]}")
        return task

    def choose(self, task: Task) -> Student:
        """The cheapest student that is good enough on dev, or else the best of them."""
        rungs, place = self._rungs(), self.place / "rungs"
        self.chosen = ladder.choose(
            task, rungs, self.options, self.plan.target_quality, self.watch, place, lambda student: self._score(task, student)
        )
        return self.chosen.student

    def _rungs(self) -> list[Rung]:
        """The kinds of students that may be tried, cheapest first. Errors: Fault."""
        if strange := [name for name in self.plan.students if name not in RUNGS]:
            known = ", ".join(RUNGS)
            raise Fault("invalid_value", f"There are no students of the kind {strange[0]!r}: {known} there are.", param="students")
        names = [name for name in RUNGS if (name in self.plan.students if self.plan.students else name in TRIED)]
        return [Later(name, *RUNGS[name], self.place / "estimates") for name in names]

    def _score(self, task: Task, student: Student) -> float:
        with examined.open_student(student.directory, self.home, self.options.threads) as asked:
            said = asked.answer([row.messages for row in task.dev])
        scores = [graders.grade(task.kind, answer, row.answer) for answer, row in zip(said, task.dev, strict=True)]
        return sum(scores) / len(scores) if scores else 0.0

    def quantise(self, task: Task, student: Student) -> Student:
        """The fastest form of it that loses no more than it may, in 8 or 4 bits a weight; a head has none to lose."""
        if read_card(student.directory).engine != "openvino":
            return student
        from shoal.distil import quantise

        best, speed = student, _speed_of(student.directory)
        forms: tuple[quantise.Bits, ...] = ("int8", "int4")
        for bits in forms:
            made, loss = quantise.quantise(student, task, self.place / bits, bits, self.options, self.watch)
            self.losses.append(loss)
            if made is not None:
                self.watch.say(
                    f"{bits}: {loss.share:.1%} of the score, {loss.decode_tokens_per_s:.0f} tokens a second instead of {speed:.0f}"
                )
                if loss.decode_tokens_per_s > _speed_of(best.directory):
                    best = made
        return best

    def judge(self, task: Task, student: Student) -> gate.Verdict:
        """Against its teacher, on rows that nobody has seen."""
        wanted, order = self.plan.target_quality, self.order
        rules = gate.Rules(
            wanted_ratio=wanted,
            seed=self.job.seed,
            usd_per_hour=order.usd_per_hour,
            watts=order.watts_per_core,
            least_rows=gate.LEAST_ROWS if wanted else 1,
        )
        questions = [row.messages for row in task.test]
        speed = _read_speed(student.directory)
        with examined.open_student(student.directory, self.home, self.options.threads) as asked:
            self.watch.step("judging", 0, 2)
            said = asked.answer(questions)
            self.watch.step("judging", 1, 2)
            pace = gate.time_answers(asked, asked.spent, questions, speed, rules)
            after = general.check(asked) if read_card(student.directory).kind == "chat" else None
        forgotten = None if after is None else general.compare(self._check_base(), after)
        self.watch.step("judging", 2, 2)
        opinion = None
        if self.plan.judge:
            opinion = judging.compare(self.order, self.plan, task, said, rules, self.place, self.made.teacher_nano, self.watch)
        verdict = gate.judge(task, said, rules, pace=pace, general=forgotten, opinion=opinion)
        ratio, lower = verdict.deciding
        self.watch.say(f"On {verdict.rows} rows that it has not seen: {ratio:.1%} of its teacher's quality, surely {lower:.1%}")
        if pace is not None:
            self.watch.say(f"{pace.usd_per_1m_tokens:.4f} USD and {pace.watt_hours_per_1m_tokens:.2f} Wh for a million tokens")
        return verdict

    def _check_base(self) -> dict[str, float]:
        with examined.open_student(catalogue.find_directory(self.home, self.job.model), self.home, self.options.threads) as base:
            return general.check(base)

    def report(self, task: Task, student: Student, verdict: gate.Verdict) -> None:
        """For whoever wants to know: a page with curves, the model card, and every figure as JSON."""
        name = f"{self.job.suffix or 'student'} ({self.job.id})"
        made = card.make_card(name, self.job.model, task, self.dataset.manifest, student, self.chosen.tried, verdict, time.time())
        curves = _read_curves(student.directory)
        figures = {"job": self.job.id, "teacher_nano": self.made.teacher_nano, "quantised": self.losses, "card": made}
        (self.place / "report.html").write_text(report.write_page(made, curves), "utf-8")
        (self.place / "card.md").write_text(card.write_markdown(made), "utf-8")
        (self.place / "figures.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures)))
        if curves:
            (self.place / "curves.png").write_bytes(report.draw_curves(curves))

    def publish(self, student: Student, verdict: gate.Verdict) -> Outcome:
        """Put it on the shelf, unless it is refused."""
        kept = self.place / "student"
        if not kept.exists():
            shutil.copytree(student.directory, kept.with_suffix(".partial"), dirs_exist_ok=True)
            partial = kept.with_suffix(".partial")
            write_card(partial, msgspec.structs.replace(read_card(partial), base=self.job.model))  # its name begins with what was asked for
            (partial / MADE_BY).write_bytes(msgspec.json.encode(_MadeBy(self.job.id)))
            partial.replace(kept)
        tokens = int(student.figures.get("trained_tokens", 0))
        if not verdict.passed:
            text = f"The student is not published. {verdict.why} `shoal distil publish {self.job.id}` publishes it all the same."
            return Outcome(status="failed", trained_tokens=tokens, error=Trouble("gate_refused", text, "target_quality"))
        return Outcome(status="succeeded", fine_tuned_model=self.put_on_the_shelf(), trained_tokens=tokens)

    def put_on_the_shelf(self) -> str:
        """A job's student is published once, also where the process died before it could say so."""
        for one in publish.list_students(self.home):
            if one.card.org_id == self.job.org_id and _made_by(one.directory) == self.job.id:
                return one.id
        name = publish.publish(self.home, self.place / "student", self.job.org_id, self.order.org_name, self.job.suffix or "student")
        if self.order.key:
            asyncio.run(self._await_served(name))
        return name

    async def _await_served(self, name: str) -> None:
        """Whoever hears that the job has ended asks its student at once; servers see it within a second or two."""
        gateway = Gateway(self.order.url, self.order.key, self.order.authority, 1)
        deadline = time.monotonic() + _SEEN_S
        try:
            while time.monotonic() < deadline:
                try:
                    await gateway.find_price(name)
                    return
                except Refused:
                    await asyncio.sleep(0.2)
        except Away:
            pass  # no server runs here: the next one finds it when it starts
        finally:
            gateway.close()


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


class _Point(msgspec.Struct):
    step: int
    dev_loss: float
    loss: float | None = None


def _read_curves(directory: Path) -> dict[str, list[tuple[float, float]]]:
    """What was seen of the training, where it was one of steps."""
    try:
        points = msgspec.json.decode((directory / "history.json").read_bytes(), type=list[_Point])
    except (OSError, msgspec.MsgspecError):
        return {}
    train = [(float(one.step), one.loss) for one in points if one.loss is not None]
    return {"loss": train, "dev loss": [(float(one.step), one.dev_loss) for one in points]}


def _read_speed(directory: Path) -> Speed | None:
    try:
        return read_speed(directory)
    except (OSError, msgspec.MsgspecError):
        return None


def _speed_of(directory: Path) -> float:
    """Tokens written a second; 0 where that was not measured."""
    speed = _read_speed(directory)
    return 0.0 if speed is None else speed.decode_tokens_per_s
