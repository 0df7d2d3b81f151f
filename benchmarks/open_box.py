"""What small and sparse students keep: `python benchmarks/open_box.py --data DIRECTORY --weights DIRECTORY [--only small,sparse]`.

    small     the minnow fine-tuned on 77 intents of a bank's customers, said as text, and a student of a fifth of its parameters that
              learns from its distributions: scores against gold, and tokens a second, both through the engine that serves
    sparse    a mixture of experts against the dense student that it was made of, with as many parameters at work: held-out loss after
              the same steps on the same data, for each seed

The recorded answers are those of benchmarks/distil.py: 8% of them are wrong. Nothing here goes through the gateway. See lessons.py for
the data.
"""

import random
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import harness
import lessons
import report
from lessons import Lesson
from report import Verdict, print_table

from shoal.distil import loop, lora, pretrained, shrink, small, sparse
from shoal.distil.examples import encode
from shoal.distil.rows import Row
from shoal.distil.served import open_served
from shoal.distil.student import Options, Task
from shoal.evals import graders, stats

SYSTEM = "Name the intent of the customer's message."  # no list of names: the student has learnt them
DEV_SHARE = 0.05
SEEDS = (1, 2, 3)
SPARSE_LAYERS, SPARSE_GROUPS, SPARSE_WORDS = 4, 1, 4096
EXPERTS = sparse.Experts(count=8, active=2)
MOST_TOKENS = 32
WANTED_SCORE, WANTED_SPEED, MOST_MINUTES = 0.90, 3.0, 60.0
_COLUMNS = ("who", "parameters", "score", "of teacher", "at least", "tokens/s", "times as fast", "minutes")


class Given(NamedTuple):
    """What the command line says."""

    home: Path
    threads: int
    epochs: float | None
    place: Path
    markdown: bool


class Show:
    """A watch that prints a line in ten seconds."""

    def __init__(self) -> None:
        self._at = 0.0

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        """Progress."""
        if time.monotonic() > self._at + 10:
            self._at = time.monotonic()
            print(f"    {stage} {done}/{total} " + " ".join(f"{name}={value:.4g}" for name, value in figures.items()), flush=True)

    def say(self, message: str, level: str = "info") -> None:
        """One event."""
        print(f"    {level}: {message}", flush=True)

    def checkpoint(self, step: int, **figures: float) -> None:
        """Nothing."""


def make_task(lesson: Lesson, rows: int | None, test_rows: int | None) -> Task:
    """The lesson as rows, its answers the teacher's, the last of them to choose by; gold where it is to be judged by."""
    said = lesson.answers()
    train = [Row(tuple(lesson.messages(question)), said[question]) for question, _ in lesson.train[:rows]]
    dev = max(1, round(len(train) * DEV_SHARE))
    test = [Row(tuple(lesson.messages(question)), golds[0]) for question, golds in lesson.test[:test_rows]]
    random.Random(lessons.SEED).shuffle(test)
    return Task("text", train[:-dev], train[-dev:], test)


def ask(directory: Path, task: Task, threads: int) -> tuple[list[float], float]:
    """The score of every answer against gold, and tokens a second (prompts and answers) of the served engine."""
    questions = [row.messages for row in task.test]
    with open_served(directory, threads, MOST_TOKENS) as served:
        served.answer(questions[:8])  # the first answers also build kernels
        before = (served.spent.prompt_tokens + served.spent.answer_tokens, served.spent.seconds)
        answers = served.answer(questions)
        tokens = served.spent.prompt_tokens + served.spent.answer_tokens - before[0]
        pace = tokens / (served.spent.seconds - before[1])
    return [graders.grade("label", answer, row.answer) for answer, row in zip(answers, task.test, strict=True)], pace


def measure_small(task: Task, given: Given, verdict: Verdict) -> list[dict[str, Any]]:
    """The fine-tuned minnow and its student."""
    options = Options(given.home, threads=given.threads, epochs=given.epochs)
    teacher = lora.Lora().train(task, given.place / "teacher", Options(given.home, threads=given.threads), Show())
    began = time.monotonic()
    student = small.Small(teacher.directory).train(task, given.place / "small", options, Show())
    minutes = (time.monotonic() - began) / 60
    (theirs, their_pace), (mine, pace) = (ask(made.directory, task, given.threads) for made in (teacher, student))
    ratio, lower = stats.ratio_lower_bound(mine, theirs)
    share = student.figures["teacher_parameters"] / student.figures["parameters"]
    verdict.at_least("small: the teacher's parameters over the student's", share, float(small.SHARE))
    verdict.at_least("small: student over teacher", ratio, WANTED_SCORE)
    verdict.at_least("small: tokens a second over the teacher's", pace / their_pace, WANTED_SPEED)
    verdict.at_most("small: minutes of training", minutes, MOST_MINUTES)
    mean = sum(theirs) / len(theirs)
    first = {"who": "the minnow, fine-tuned", "parameters": teacher.figures["parameters"], "score": mean, "tokens/s": their_pace}
    last = {"who": "its student", "parameters": student.figures["parameters"], "score": sum(mine) / len(mine), "of teacher": ratio}
    last |= {"at least": lower, "tokens/s": pace, "times as fast": pace / their_pace, "minutes": minutes}
    lines = [first, last]
    cells = [[line.get(column, "") for column in _COLUMNS] for line in lines]
    print_table(f"{len(task.train)} rows, judged by {len(task.test)}", _COLUMNS, cells, given.markdown)
    return lines


def measure_sparse(task: Task, given: Given, verdict: Verdict) -> list[dict[str, Any]]:
    """A small dense student cut from the minnow, and the sparse one that is made of it, both taught the recorded answers."""
    directory = pretrained.find_directory(given.home, "minnow")
    teacher, tokenizer = pretrained.load_directory(directory)
    trimmed = small.trim_for(task, directory, tokenizer)
    own = small.make_tokenizer(trimmed, directory, given.place / "words")
    examples, dev, test = (encode(own, rows, lora.MOST_TOKENS)[0] for rows in (task.train, task.dev, task.test))
    known = shrink.trim(teacher, trimmed.kept)
    shape = shrink.Shape(SPARSE_LAYERS, SPARSE_GROUPS, known.config.intermediate_size // 2, len(trimmed.kept))
    with loop.computing(known, loop.choose_precision()):
        importance = shrink.measure(known, examples[:256])
    dense = shrink.cut(known, shape, importance)
    lora.choose_attention(dense, examples)
    plan = loop.Plan(epochs=given.epochs or 3, learning_rate=2e-3, batch_size=32, evaluations=1)
    rows = sparse.compare(dense, examples, dev, test, plan, EXPERTS, SEEDS, given.place / "sparse", Show())
    lines = [{name: getattr(row, name) for name in row.__struct_fields__} for row in rows]
    head = list(lines[0])
    print_table("Held-out loss, nats a token", head, [[line[name] for name in head] for line in lines], given.markdown)
    active = rows[0].active_parameters / rows[0].dense_parameters
    verdict.at_most("sparse: parameters at work over the dense student's", active, 1.02)
    return lines


PARTS: dict[str, Callable[[Task, Given, Verdict], list[dict[str, Any]]]] = {"small": measure_small, "sparse": measure_sparse}


def main() -> None:
    """Run the parts that were named."""
    options = report.parser(__doc__)
    options.add_argument("--data", type=Path, required=True, help="the directory that holds the data sets")
    options.add_argument("--weights", type=Path, required=True, help="a home whose weights are prepared")
    options.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    options.add_argument("--rows", type=int, help="how many rows to learn from; all, without")
    options.add_argument("--epochs", type=float, help="of the students; what the rungs choose, without")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--place", type=Path, help="where to work, and go on from what is there; a directory that is deleted, without")
    given = options.parse_args()
    machine = report.introduce("open_box", given.markdown)
    verdict = Verdict()
    lesson = lessons.banking(given.data, None)._replace(system=SYSTEM)
    task = make_task(lesson, given.rows or (1000 if given.quick else None), 300 if given.quick else None)
    place = given.place or Path(tempfile.mkdtemp(prefix="open-box-"))
    said = Given(given.weights, given.threads, given.epochs, place, given.markdown)
    try:
        lines: dict[str, object] = {name: PARTS[name](task, said, verdict) for name in given.only.split(",")}
    finally:
        if given.place is None:
            shutil.rmtree(place, ignore_errors=True)
    verdict.show(given.markdown)
    report.save("open_box", machine, lines, verdict)


if __name__ == "__main__":
    harness.run(main)
