"""What kind of task it is, and the cheapest student that can hold it: rungs are tried from the cheapest up, and measured on dev.

The first that is good enough wins; where none is, the best of them, and the caller is told so.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from shoal.core.errors import Fault
from shoal.distil.student import Kind, Options, Rung, Student, Task
from shoal.distil.watch import Watch
from shoal.evals import graders

HEADS = frozenset({"tfidf", "head"})
"""Rungs that cost next to nothing to train and to serve: all that fit are tried, and the best of them counts."""

_LONGEST_LABEL = 100  # characters; longer answers are sentences
_MOST_UNSEEN = 0.1
_MOST_STRAY = 0.05  # teachers ramble now and then
_MOST_RATINGS = 20


class Tried(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rung of the ladder: its score on dev and the seconds it took, or why it was not tried."""

    rung: str
    dev_score: float | None = None
    seconds: float = 0.0
    why_not: str = ""


class Chosen(msgspec.Struct, frozen=True):
    """The student that won, and everything that was tried, in order."""

    student: Student
    tried: tuple[Tried, ...]


def choose(
    task: Task,
    rungs: Sequence[Rung],
    options: Options,
    wanted_ratio: float,
    watch: Watch,
    place: Path,
    score: Callable[[Student], float],
) -> Chosen:
    """Try rungs, cheapest first, until one scores `wanted_ratio` on dev; else the best of all. Each works in `place`/its name.

    Dev is graded by the teacher's own answers, so the teacher's score is 1. `score` asks a student; a rung that has learnt from dev for
    the student it serves says in its figures ("dev_score") what it scored before. Errors: Fault when no rung can hold the task;
    watch.Cancelled.
    """
    tried: list[Tried] = []
    best: tuple[float, Student] | None = None
    for rung in rungs:
        if best is not None and best[0] >= wanted_ratio and not (rung.name in HEADS and best[1].rung in HEADS):
            tried.append(Tried(rung.name, why_not=f"{best[1].rung} is cheaper and good enough"))
            continue
        if (reason := rung.unfit(task)) is not None:
            tried.append(Tried(rung.name, why_not=reason))
            continue
        estimate = rung.estimate(task, options)
        how = "measured here" if estimate.measured else "a guess"
        watch.say(f"{rung.name}: about {tell_duration(estimate.seconds)} ({how}; {estimate.why})")
        student = rung.train(task, place / rung.name, options, watch)
        reached = student.figures["dev_score"] if "dev_score" in student.figures else score(student)
        seconds = student.figures.get("train_seconds", 0.0)
        watch.say(f"{rung.name}: {reached:.1%} on rows to choose by, trained in {tell_duration(seconds)}")
        tried.append(Tried(rung.name, reached, seconds))
        if best is None or reached > best[0]:
            best = reached, student
    if best is None:
        why = "; ".join(f"{one.rung}: {one.why_not}" for one in tried)
        raise Fault("invalid_value", f"No kind of student can hold this task. {why}.", param="training_file")
    return Chosen(best[1], tuple(tried))


def tell_duration(seconds: float) -> str:
    """Seconds, or minutes where they are many."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def kind_of(answers: Sequence[str]) -> tuple[Kind, tuple[str, ...]]:
    """What a task's answers are, and the closed set of them where they are labels (in their commonest spelling, sorted).

    A set is closed when few answers were seen only once, which estimates how often a new one would come (Good 1953). Up to 5% of the
    answers may be of another kind. Raises ValueError when there are no answers.
    """
    if not answers:
        raise ValueError("there are no answers, so nothing can be learnt from them")
    most_stray = _MOST_STRAY * len(answers)
    if sum(not _is_object(answer) for answer in answers) <= most_stray:
        return "json", ()
    short = [answer.strip() for answer in answers if _may_be_label(answer)]
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in short:
        spellings[graders.normalise_label(answer)][answer] += 1
    once = sum(spelt.total() == 1 for spelt in spellings.values())
    closed = len(answers) - len(short) <= most_stray and once <= _MOST_UNSEEN * len(short)
    if sum(not graders.is_number(answer) for answer in answers) <= most_stray and not (closed and len(spellings) <= _MOST_RATINGS):
        return "number", ()
    if closed:
        return "label", tuple(sorted(min(spelt, key=lambda text: (-spelt[text], text)) for spelt in spellings.values()))
    return "text", ()


def _may_be_label(answer: str) -> bool:
    return 0 < len(answer.strip()) <= _LONGEST_LABEL and "\n" not in answer.strip()


def _is_object(answer: str) -> bool:
    """Whether an answer is a JSON object or list."""
    try:
        return isinstance(graders.read_json(answer), dict | list)
    except ValueError:
        return False
