"""Bounds: known values, coverage, and what must hold for any scores."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.evals import stats
from shoal.evals.graders import Tally

SCORES = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=40)


def test_wilson_as_published() -> None:
    low, high = stats.wilson_interval(15, 148)  # Newcombe 1998, table I
    assert (round(low, 4), round(high, 4)) == (0.0624, 0.1605)
    assert stats.wilson_interval(0, 0) == (0, 1)
    assert math.isclose(stats.wilson_interval(0, 20)[0], 0, abs_tol=1e-12)
    assert math.isclose(stats.wilson_interval(20, 20)[1], 1)


@given(SCORES)
@settings(max_examples=40)
def test_the_bound_is_below_the_ratio_and_repeats(scores: list[tuple[float, float]]) -> None:
    student, teacher = [s for s, _ in scores], [t for _, t in scores]
    ratio, lower = stats.ratio_lower_bound(student, teacher, resamples=400)
    assert math.isclose(ratio, sum(student) / sum(teacher), rel_tol=1e-9, abs_tol=1e-12)
    assert lower <= max(s / t for s, t in scores) + 1e-9
    assert (ratio, lower) == stats.ratio_lower_bound(student, teacher, resamples=400)
    assert stats.ratio_lower_bound(student, teacher, confidence=0.99, resamples=400)[1] <= lower


def test_pairing_makes_equal_models_certain() -> None:
    scores = list(np.random.default_rng(3).random(100))
    assert stats.ratio_lower_bound(scores, scores) == (1.0, 1.0)


def test_the_bound_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    below = 0
    for trial in range(200):
        teacher = rng.random(300) < 0.9
        student = np.where(rng.random(300) < 0.9, teacher, ~teacher)  # right in 0.9 * 0.9 + 0.1 * 0.1 = 0.82 of the cases
        below += stats.ratio_lower_bound(list(student), list(teacher), seed=trial, resamples=400)[1] <= 0.82 / 0.9
    assert 180 <= below <= 200


def test_f1_over_all_rows_is_not_the_mean_of_rows() -> None:
    tallies = [Tally(1, 1, 1), Tally(0, 9, 9)]
    assert stats.micro_f1(tallies) == 0.1
    ratio, lower = stats.f1_ratio_lower_bound(tallies, [Tally(1, 1, 1), Tally(9, 9, 9)])
    assert math.isclose(ratio, 0.1)
    assert lower == 0
    assert stats.micro_f1([]) == 1


def test_a_mean_has_an_interval() -> None:
    mean, low, high = stats.mean_interval([0, 1] * 200)
    assert mean == 0.5
    assert 0.44 < low < 0.46
    assert 0.54 < high < 0.56


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        stats.ratio_lower_bound([], [])
    with pytest.raises(ValueError, match="pair up"):
        stats.ratio_lower_bound([1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="scored nothing"):
        stats.ratio_lower_bound([1.0], [0.0])
    with pytest.raises(ValueError, match="no rows"):
        stats.mean_interval([])
