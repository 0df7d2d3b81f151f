"""The ladder: what kind a task is, and which student wins."""

import random

import pytest

from shoal.distil import ladder


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
