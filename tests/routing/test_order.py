"""The ordered policy: it ends, asks in order, and asks again only where that may help."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.attempt import Answered, Failed, Try
from shoal.core.errors import KINDS, Fault
from shoal.core.models import Deployment
from shoal.routing.order import FIRST_DELAY_S, LONGEST_DELAY_S, RETRIES, plan

FAULTS = st.builds(
    lambda kind, retry_after_s: Fault(kind, "x", retry_after_s=retry_after_s),
    st.sampled_from(sorted(KINDS)),
    st.none() | st.floats(0, 20),
)


class View:
    """A world in which every draw is the same."""

    def __init__(self, draw: float = 0.0) -> None:
        self.draw = draw

    def uniform(self, key: str) -> float:
        """The draw."""
        return self.draw


def deployments(count: int) -> list[Deployment]:
    """Distinct deployments."""
    return [Deployment(f"d{n}", "m", "p", "m") for n in range(count)]


def follow(candidates: list[Deployment], faults: list[Fault | None], draw: float = 0.0) -> list[tuple[Try, Fault | None]]:
    """Drive a plan with these outcomes (None: an answer), each used once, the last one for ever."""
    policy = plan(candidates, View(draw))
    tries = []
    wish = next(policy)
    while True:
        fault = faults[min(len(tries), len(faults) - 1)]
        tries.append((wish, fault))
        try:
            wish = policy.send(Answered() if fault is None else Failed(fault))
        except StopIteration:
            return tries


@given(st.integers(1, 5), st.lists(st.none() | FAULTS, min_size=1, max_size=20), st.floats(0, 0.999))
def test_a_plan_ends_in_order_and_within_bounds(count: int, faults: list[Fault | None], draw: float) -> None:
    candidates = deployments(count)
    tries = follow(candidates, faults, draw)
    asked = [key for key, _ in groupby(wish.deployment.id for wish, _ in tries)]
    assert asked == [one.id for one in candidates[: len(asked)]]  # in order, none twice
    for _, group in groupby(tries, key=lambda one: one[0].deployment.id):
        again = list(group)
        assert len(again) <= 1 + RETRIES
        assert again[0][0].delay_s == 0  # another deployment is asked at once
        assert all(fault is not None and fault.row.retry_same for _, fault in again[:-1])
    for (wish, _), (_, before) in zip(tries[1:], tries, strict=False):
        assert 0 <= wish.delay_s <= LONGEST_DELAY_S
        assert before is not None
        if wish.delay_s:
            assert wish.delay_s >= (before.retry_after_s or 0)
    last = tries[-1][1]
    assert last is None or not last.row.try_another or tries[-1][0].deployment == candidates[-1]


def test_an_answer_ends_the_plan() -> None:
    assert len(follow(deployments(3), [None])) == 1


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if not row.try_another])
def test_the_callers_own_mistake_is_not_tried_elsewhere(kind: str) -> None:
    assert len(follow(deployments(3), [Fault(kind, "x")])) == 1


def test_an_upstream_without_our_key_is_left_at_once() -> None:
    assert [wish.deployment.id for wish, _ in follow(deployments(2), [Fault("upstream_auth", "x")])] == ["d0", "d1"]


def test_retry_after_is_never_undercut() -> None:
    busy = Fault("upstream_busy", "x", retry_after_s=2.0)
    assert [wish.delay_s for wish, _ in follow(deployments(1), [busy])] == [0.0, 2.0, 2.0]


def test_who_asks_for_too_long_a_wait_is_left_alone() -> None:
    tries = follow(deployments(2), [Fault("upstream_busy", "x", retry_after_s=60.0), None])
    assert [(wish.deployment.id, wish.delay_s) for wish, _ in tries] == [("d0", 0.0), ("d1", 0.0)]


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.5), (0.999999, 1.0)])
def test_delays_double_and_are_jittered(draw: float, factor: float) -> None:
    delays = [wish.delay_s for wish, _ in follow(deployments(1), [Fault("upstream_error", "x")], draw)]
    assert delays == pytest.approx([0.0, FIRST_DELAY_S * factor, FIRST_DELAY_S * 2 * factor], rel=1e-3)
