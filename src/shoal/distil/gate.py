"""Whether a student may take its teacher's place: judged on rows that nobody has trained on, and let through by its lower bound alone.

Beside the verdict stand what the student costs in money, time and energy, where it is weaker (slices.py), and what it has forgotten of
what its base could do (general.py).
"""

import time
from collections.abc import Mapping, Sequence

import msgspec

from shoal.distil.rows import Message
from shoal.distil.served import Spent
from shoal.distil.slices import Slice, find_slices
from shoal.distil.student import Answers, Task
from shoal.evals import graders, stats
from shoal.evals.judge import Opinion
from shoal.mini.card import Speed

LEAST_ROWS = 20
_TIMED = 40  # questions that are asked one after the other, for the latency


class Rules(msgspec.Struct, frozen=True):
    """What the gate goes by. `usd_per_hour` is the machine's price, `watts` what one busy core of it draws (a stated figure, not a
    measured one)."""

    wanted_ratio: float = 0.95
    confidence: float = 0.95
    seed: int = 1
    usd_per_hour: float = 0.10
    watts: float = 15.0
    least_rows: int = LEAST_ROWS


class Pace(msgspec.Struct, frozen=True):
    """What answers take: milliseconds for one alone, tokens a second for many at once, USD and watt-hours for a million tokens."""

    p50_ms: float
    p95_ms: float
    tokens_per_s: float
    usd_per_1m_tokens: float
    watt_hours_per_1m_tokens: float


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`lower` is the one-sided lower bound of `ratio`, student over teacher. `against` says what graded both: "gold", or the
    "teacher" itself, whose own slips then count as the student's. `general` is what base and student still know (general.py).
    `opinion` is a judge's, where texts have one: its bound decides then, and the graders' is told beside it."""

    passed: bool
    why: str
    against: str
    rows: int
    wanted: float
    ratio: float
    lower: float
    student_score: float
    teacher_score: float
    slices: tuple[Slice, ...] = ()
    pace: Pace | None = None
    general: Mapping[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    opinion: Opinion | None = None

    @property
    def deciding(self) -> tuple[float, float]:
        """The ratio and its lower bound that decide."""
        return (self.ratio, self.lower) if self.opinion is None else (self.opinion.ratio, self.opinion.lower)


def judge(
    task: Task,
    said: Sequence[str],
    rules: Rules,
    teacher: Sequence[str] | None = None,
    pace: Pace | None = None,
    general: Mapping[str, tuple[float, float]] | None = None,
    opinion: Opinion | None = None,
) -> Verdict:
    """Grade what a student said to task.test, beside what its `teacher` said (None: the rows' answers are the teacher's own).

    Where answers are JSON, F1 is over all fields of all rows. Raises ValueError when the answers are not those of the rows.
    """
    if len(said) != len(task.test) or (teacher is not None and len(teacher) != len(said)):
        raise ValueError(f"{len(said)} answers do not belong to {len(task.test)} rows")
    against = "teacher" if teacher is None else "gold"
    golds = [row.answer for row in task.test]
    told = golds if teacher is None else teacher
    ours = [graders.grade(task.kind, answer, gold) for answer, gold in zip(said, golds, strict=True)]
    theirs = [graders.grade(task.kind, answer, gold) for answer, gold in zip(told, golds, strict=True)]
    refused = Verdict(
        passed=False,
        why="",
        against=against,
        rows=len(said),
        wanted=rules.wanted_ratio,
        ratio=0.0,
        lower=0.0,
        student_score=0.0,
        teacher_score=0.0,
        slices=find_slices(task.test, ours, theirs, task.kind) if said else (),
        pace=pace,
        general=general or {},
        opinion=opinion,
    )
    try:
        scores, (ratio, lower) = _compare(task, said, told, golds, (ours, theirs), rules)
    except ValueError as error:
        return msgspec.structs.replace(refused, why=f"Nothing can be told: {error}.")
    graded = msgspec.structs.replace(refused, ratio=ratio, lower=lower, student_score=scores[0], teacher_score=scores[1])
    rows, bound = (len(said) if opinion is None else opinion.rows), graded.deciding[1]
    if rules.wanted_ratio and opinion is not None and opinion.doubt:
        return msgspec.structs.replace(graded, why=f"Nothing can be told: {opinion.doubt}.")
    if rows < rules.least_rows:
        why = f"{rows} rows are too few to be sure of anything: at least {rules.least_rows} are needed."
        return msgspec.structs.replace(graded, why=why)
    by = "" if opinion is None else f", as {opinion.judge} judges"
    why = f"Surely {bound:.1%} of its teacher's quality{by}, where {rules.wanted_ratio:.1%} is wished for."
    return msgspec.structs.replace(graded, passed=bound >= rules.wanted_ratio, why=why)


def time_answers(student: Answers, spent: Spent, questions: Sequence[Sequence[Message]], speed: Speed | None, rules: Rules) -> Pace | None:
    """The pace of a student: a few questions one by one, then all of them at once. `spent` is its own account of tokens and seconds.

    Without a `speed` measured when it was made, the pace of this moment sets the price. None where nothing was asked.
    """
    alone = []
    for question in questions[:_TIMED]:
        began = time.perf_counter()
        student.answer([question])
        alone.append((time.perf_counter() - began) * 1000)
    before = msgspec.structs.replace(spent)
    student.answer(questions)
    tokens = spent.prompt_tokens + spent.answer_tokens - before.prompt_tokens - before.answer_tokens
    seconds, cpu_seconds = spent.seconds - before.seconds, spent.cpu_seconds - before.cpu_seconds
    if not tokens or not alone or seconds <= 0:
        return None
    rate = tokens / seconds if speed is None else mix(speed, spent)
    alone.sort()
    return Pace(
        p50_ms=alone[len(alone) // 2],
        p95_ms=alone[min(len(alone) - 1, int(0.95 * len(alone)))],
        tokens_per_s=rate,
        usd_per_1m_tokens=rules.usd_per_hour / 3600 / rate * 1e6,
        watt_hours_per_1m_tokens=cpu_seconds / tokens * 1e6 * rules.watts / 3600,
    )


def mix(speed: Speed, spent: Spent) -> float:
    """Tokens a second when tokens are read and written in the proportion of what was spent."""
    seconds = spent.prompt_tokens / speed.prefill_tokens_per_s + spent.answer_tokens / speed.decode_tokens_per_s
    return (spent.prompt_tokens + spent.answer_tokens) / seconds


def _compare(
    task: Task, said: Sequence[str], told: Sequence[str], golds: Sequence[str], grades: tuple[list[float], list[float]], rules: Rules
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Scores of student and teacher, and the ratio with its bound. Raises ValueError."""
    if task.kind == "json":
        ours, theirs = ([graders.tally(answer, gold) for answer, gold in zip(answers, golds, strict=True)] for answers in (said, told))
        bound = stats.f1_ratio_lower_bound(ours, theirs, rules.confidence, rules.seed)
        return (stats.micro_f1(ours), stats.micro_f1(theirs)), bound
    bound = stats.ratio_lower_bound(*grades, rules.confidence, rules.seed)
    return (sum(grades[0]) / len(said), sum(grades[1]) / len(said)), bound
