"""The ladder: what kind a task is, and which student wins."""

import random
from pathlib import Path

import pytest

from shoal.core.errors import Fault
from shoal.distil import ladder
from shoal.distil.ladder import Tried
from shoal.distil.rows import Row
from shoal.distil.student import Estimate, Options, Student, Task
from shoal.distil.watch import Silent, Watch


class Scripted:
    """A rung whose student scores what it is told."""

    def __init__(self, name: str, dev_score: float, unfit: str | None = None) -> None:
        self.name, self._dev_score, self._unfit = name, dev_score, unfit

    def unfit(self, task: Task) -> str | None:
        return self._unfit

    def estimate(self, task: Task, options: Options) -> Estimate:
        return Estimate(1.0, True)

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        return Student(self.name, directory, {"dev_score": self._dev_score, "train_seconds": 2.0})


def climb(place: Path, *rungs: Scripted, wanted: float = 0.9) -> ladder.Chosen:
    row = Row(({"role": "user", "content": "a"},), "b")
    task = Task("label", [row], [row], [row], ("b",))
    return ladder.choose(task, rungs, Options(place), wanted, Silent(), place, lambda student: 0.0)


def test_the_first_that_is_good_enough_wins(tmp_path: Path) -> None:
    chosen = climb(tmp_path, Scripted("head", 0.8), Scripted("lora", 0.95), Scripted("small", 0.99))
    assert chosen.student.rung == "lora"
    assert chosen.student.directory == tmp_path / "lora"
    assert chosen.tried == (
        Tried("head", 0.8, 2.0),
        Tried("lora", 0.95, 2.0),
        Tried("small", why_not="lora is cheaper and good enough"),
    )


def test_of_heads_the_best_counts_though_the_first_were_good_enough(tmp_path: Path) -> None:
    assert climb(tmp_path, Scripted("tfidf", 0.91), Scripted("head", 0.97), Scripted("lora", 0.99)).student.rung == "head"
    assert climb(tmp_path, Scripted("tfidf", 0.97), Scripted("head", 0.91), Scripted("lora", 0.99)).student.rung == "tfidf"


def test_where_none_is_good_enough_the_best_is_taken_and_a_tie_is_the_cheaper_ones(tmp_path: Path) -> None:
    chosen = climb(tmp_path, Scripted("tfidf", 0.5), Scripted("head", 0.6), Scripted("lora", 0.6))
    assert chosen.student.rung == "head"
    assert [one.dev_score for one in chosen.tried] == [0.5, 0.6, 0.6]


def test_a_task_that_no_rung_can_hold_is_refused_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="head: its answers are no labels"):
        climb(tmp_path, Scripted("head", 1.0, "its answers are no labels"))


def test_kinds_are_told_from_answers() -> None:
    rng = random.Random(1)
    labels = [f"intent_{i}" for i in range(77)]
    assert ladder.kind_of([rng.choice(labels) for _ in range(1000)]) == ("label", tuple(sorted(labels)))
    assert ladder.kind_of(['{"a": 1}', "[]", "```json\n{}\n```"]) == ("json", ())
    assert ladder.kind_of([str(i * 7) for i in range(50)]) == ("number", ())
    assert ladder.kind_of([str(i % 5) for i in range(50)]) == ("label", ("0", "1", "2", "3", "4"))
    assert ladder.kind_of([f"A summary of paper {i}." for i in range(50)]) == ("text", ())
    assert ladder.kind_of(["A long answer, the same every time. " * 10] * 50) == ("text", ())


def test_labels_have_their_commonest_spelling() -> None:
    assert ladder.kind_of(["yes"] * 20 + ["Yes."] * 3 + ["no"] * 20) == ("label", ("no", "yes"))


def test_a_teacher_that_rambles_now_and_then_does_not_change_the_kind() -> None:
    assert ladder.kind_of(["yes", "no"] * 50 + ["I am not sure.\nLet me think."] * 3) == ("label", ("no", "yes"))
    assert ladder.kind_of(["{}"] * 97 + ["Sorry."] * 3)[0] == "json"


def test_without_answers_nothing_can_be_told() -> None:
    with pytest.raises(ValueError, match="no answers"):
        ladder.kind_of([])
