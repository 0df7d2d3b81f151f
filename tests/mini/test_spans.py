"""spans.py: tags become spans and these the answers' JSON; windows cover every token once."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.mini.spans import WINDOW, Form, Mark, find_marks, plan_windows, write

TEXT = "Ann met Bo in Rome, and Ann left."
MARKS = [Mark(14, 18, "place"), Mark(0, 3, "name"), Mark(8, 10, "name"), Mark(24, 27, "name")]


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        (Form("kinds"), {"name": ["Ann", "Bo", "Ann"], "place": ["Rome"]}),
        (Form("kinds", repeats=False), {"name": ["Ann", "Bo"], "place": ["Rome"]}),
        (
            Form("kinds", single=("place", "date"), always={"date": None, "name": [], "place": ""}),
            {"date": None, "name": ["Ann", "Bo", "Ann"], "place": "Rome"},
        ),
        (Form("strings", repeats=False, wrapper="said"), {"said": ["Ann", "Bo", "Rome"]}),
        (
            Form("objects", fields=("what", "is"), kind_field="is", repeats=False),
            [{"what": "Ann", "is": "name"}, {"what": "Bo", "is": "name"}, {"what": "Rome", "is": "place"}],
        ),
    ],
)
def test_answers_are_written_in_the_order_of_the_text(form: Form, answer: object) -> None:
    assert write(form, TEXT, MARKS) == json.dumps(answer, separators=(",", ":"))


def test_what_goes_on_has_begun() -> None:
    scores = np.full((4, 5), -9, dtype=np.float32)
    for token, tag in enumerate((2, 2, 4, 0)):  # the likeliest tag of each alone is no beginning
        scores[token, tag] = 3
        scores[token, 1] = 2 if token == 0 else -9
    scores[2, 3] = 2
    marks, chance = find_marks(scores, [(0, 2), (2, 4), (5, 7), (8, 9)], ("a", "b"))
    assert marks == [Mark(0, 4, "a"), Mark(5, 7, "b")]
    assert 0 < chance < 0.5


def test_nothing_is_said_of_an_empty_text() -> None:
    assert find_marks(np.empty((0, 3), np.float32), [], ("a",)) == ([], 1.0)


@given(st.integers(0, 2_000))
def test_windows_count_for_every_token_once(count: int) -> None:
    counted = []
    for begin, end, first, last in plan_windows(count):
        assert begin <= first <= last <= end <= begin + WINDOW
        counted += range(first, last)
    assert counted == list(range(count))
