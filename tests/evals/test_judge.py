"""What is made of a judge's words: strict reading, both orders, and no verdict from one who only names a place."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.evals import judge
from shoal.evals.judge import Choice, Comparison

CHOICES = st.sampled_from(["A", "B", "T", None])
COMPARISONS = st.lists(st.builds(Comparison, CHOICES, CHOICES, st.just(False)) | st.just(Comparison(same=True)), max_size=40)
TURNED: dict[Choice | None, Choice | None] = {"A": "B", "B": "A", "T": "T", None: None}


@pytest.mark.parametrize(("text", "choice"), [("A", "A"), (" B\n", "B"), ("T", "T")])
def test_one_letter_is_a_verdict(text: str, choice: str) -> None:
    assert judge.read_choice(text) == choice


@given(st.text() | st.sampled_from(["", "a", "A.", "Answer A", "A B", "AB", '"A"', "**A**", "tie", "C", "\u0410"]))
def test_nothing_else_is(text: str) -> None:
    assert judge.read_choice(text) == (text.strip() if text.strip() in ("A", "B", "T") else None)


@given(st.text(), st.text(), st.text())
def test_answers_stay_inside_their_quotation(question: str, first: str, second: str) -> None:
    """Whatever they say: the question can be read back to the letter, and the instructions are always the same."""
    system, user = judge.write_question([{"role": "user", "content": question, "name": "x"}], first, second)
    assert system == {"role": "system", "content": judge.INSTRUCTIONS}
    shown = {"conversation": [{"role": "user", "content": question}], "A": first, "B": second}
    assert json.loads(user["content"]) == shown


@pytest.mark.parametrize(
    ("first", "second", "points", "agrees"),
    [
        ("A", "B", 1.0, True),
        ("B", "A", 0.0, True),
        ("T", "T", 0.5, True),
        ("A", "A", 0.5, False),
        ("B", "B", 0.5, False),
        ("A", "T", 0.5, False),
        ("T", "A", 0.5, False),
        ("A", None, None, None),
        (None, "B", None, None),
        (None, None, None, None),
    ],
)
def test_orders_that_disagree_are_a_tie(first: Choice | None, second: Choice | None, points: float | None, agrees: bool | None) -> None:
    assert (Comparison(first, second).points, Comparison(first, second).agrees) == (points, agrees)


@settings(max_examples=30, deadline=None)
@given(COMPARISONS)
def test_every_row_is_counted_once_and_swapping_both_models_turns_the_verdict(comparisons: list[Comparison]) -> None:
    ours = judge.weigh("m", comparisons)
    assert ours.rows + ours.unjudged == len(comparisons)
    assert 0 <= ours.lower <= ours.ratio <= 2 or not ours.rows
    turned = [Comparison(TURNED[one.student_first], TURNED[one.student_second], one.same) for one in comparisons]
    theirs = judge.weigh("m", turned)
    assert (theirs.wins, theirs.ties, theirs.losses, theirs.agreement) == (ours.losses, ours.ties, ours.wins, ours.agreement)
    if ours.rows:
        assert ours.ratio + theirs.ratio == pytest.approx(2)


def test_equals_have_the_ratio_one_and_losses_alone_lower_it() -> None:
    assert judge.weigh("m", [Comparison("A", "B"), Comparison("B", "A")] * 20).ratio == 1.0
    worse = judge.weigh("m", [Comparison("T", "T")] * 90 + [Comparison("B", "A")] * 10)
    assert worse.ratio == pytest.approx(0.9)
    assert worse.lower < 0.9


def test_who_names_a_place_or_nothing_decides_nothing() -> None:
    placed = judge.weigh("m", [Comparison("A", "A")] * 30)
    assert (placed.ratio, placed.agreement) == (1.0, 0.0)
    assert "agrees with itself in only 0%" in str(placed.doubt)
    mute = judge.weigh("m", [Comparison("A", "B")] * 26 + [Comparison("A")] * 4)
    assert "no verdict on 4 of 30 rows" in str(mute.doubt)
    assert judge.weigh("m", [Comparison("A", "B")] * 27 + [Comparison()] * 3).doubt is None
    assert judge.weigh("m", [Comparison(same=True)] * 3).agreement is None
