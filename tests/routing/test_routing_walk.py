"""The one walk behind all policies: it ends, within bounds, and asks again only where that may help."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_world import World, asked, deployment, deployments, failing, late, play, said

from shoal.core.attempt import Answered, Failed, Late, Try
from shoal.core.errors import KINDS, Fault
from shoal.core.health import Health
from shoal.routing.course import Course
from shoal.routing.judgement import Judgement
from shoal.routing.walk import FIRST_DELAY_S, LEAST_SILENCE_S, LONGEST_DELAY_S, LONGEST_WAIT_S, ONLY, SILENCE_FACTOR, walk

FAULTS = st.builds(
    lambda kind, retry_after_s: Fault(kind, "x", retry_after_s=retry_after_s),
    st.sampled_from(sorted(KINDS)),
    st.none() | st.floats(0, 100),
)
DOWN = Health(available=False)


def busy(retry_after_s: float | None = None) -> Fault:
    """429."""
    return Fault("upstream_busy", "x", retry_after_s=retry_after_s)


@st.composite
def courses(draw: st.DrawFn) -> tuple[Course, World]:
    """Any course over deployments of a few models, some known to be out of order."""
    count = draw(st.integers(1, 8))
    order = [
        deployment(f"p{n}", model=draw(st.sampled_from("abc")), context_tokens=draw(st.none() | st.integers(1, 9))) for n in range(count)
    ]
    course = Course(
        order=order + order[: draw(st.integers(0, count))],  # a deployment may be listed twice
        retries=draw(st.integers(0, 3)),
        fallbacks=draw(st.integers(0, 8)),
        hedges=draw(st.integers(0, 3)),
        hedge_after_s=draw(st.sampled_from([None, 0.5])),
        despite_rejection=draw(st.booleans()),
    )
    down = {one.id: Health(available=draw(st.booleans()), first_token_p95_s=1.0) for one in order}
    return course, World(down, seed=draw(st.integers()), hedges=draw(st.booleans()))


@given(courses(), st.lists(st.tuples(st.integers(0, 9), st.booleans(), st.none() | FAULTS), max_size=60))
def test_any_plan_ends_within_its_bounds(drawn: tuple[Course, World], events: list[tuple[int, bool, Fault | None]]) -> None:
    course, world = drawn
    plan = walk(course, world)
    running: list[Try] = []
    warned: set[int] = set()
    tries: list[Try] = []
    left: set[str] = set()
    owed: dict[str, float] = {}
    wish = next(plan)
    while True:
        if wish is None:
            assert running, "nothing runs that could be waited for"
        else:
            assert wish.deployment.id not in left, "told to leave it, and asked again"
            assert wish.delay_s >= owed.get(wish.deployment.id, 0.0), "Retry-After undercut"
            assert wish.deployment.id not in [one.deployment.id for one in running], "asked twice at a time"
            running.append(wish)
            tries.append(wish)
        place, is_late, fault = events.pop() if events else (0, False, Fault("upstream_error", "x"))
        one = running[place % len(running)]
        try:
            if is_late and one.late_after_s is not None and id(one) not in warned:
                warned.add(id(one))
                wish = plan.send(late(one))
                continue
            if fault is None:
                wish = plan.send(Answered())
                raise AssertionError("a plan goes on after an answer")
            running.remove(one)
            if not fault.row.retry_same:
                left.add(one.deployment.id)
            owed[one.deployment.id] = fault.retry_after_s or 0.0
            wish = plan.send(Failed(fault, one.deployment))
        except StopIteration:
            break
    assert fault is None or not running, "the plan ended while a try ran"
    names = [one.deployment.id for one in tries]
    assert len(set(names)) <= 1 + course.fallbacks
    assert all(names.count(name) <= 1 + course.retries for name in names)
    assert sum(one.delay_s for one in tries) <= LONGEST_WAIT_S
    assert sum(one.late_after_s is not None for one in tries) == 0 or course.hedges


def test_an_answer_ends_the_plan() -> None:
    assert asked(walk(Course(deployments(3)), World()), lambda _: Answered()) == ["p0"]


def test_nobody_to_ask_is_a_fault() -> None:
    with pytest.raises(Fault, match="No deployment") as caught:
        next(walk(Course(()), World()))
    assert caught.value.kind == "model_not_found"


@pytest.mark.parametrize("kind", [kind for kind, row in KINDS.items() if not row.try_another])
def test_the_callers_own_mistake_is_not_tried_elsewhere(kind: str) -> None:
    expected = ["p0", "p1", "p2"] if kind == "unsupported_parameter" else ["p0"]
    assert asked(walk(Course(deployments(3)), World()), failing(kind)) == expected


@pytest.mark.parametrize("kind", ["upstream_auth", "upstream_not_found", "upstream_timeout"])
def test_what_no_retry_helps_is_left_at_once(kind: str) -> None:
    tries = play(walk(Course(deployments(2)), World()), failing(kind))
    assert [(one.deployment.provider, one.delay_s) for one in tries] == [("p0", 0.0), ("p1", 0.0)]


def test_an_error_is_retried_and_then_tried_elsewhere() -> None:
    assert asked(walk(Course(deployments(2)), World()), failing("upstream_error")) == ["p0"] * 3 + ["p1"] * 3


@pytest.mark.parametrize(("draw", "factor"), [(0.0, 0.5), (0.999999, 1.0)])
def test_delays_double_up_to_a_limit_and_are_jittered(draw: float, factor: float) -> None:
    tries = play(walk(Course(deployments(1), retries=9), World(draw=draw)), failing("upstream_error"))
    wanted = [0.0] + [factor * min(FIRST_DELAY_S * 2**n, LONGEST_DELAY_S) for n in range(9)]
    expected = [delay for delay, so_far in zip(wanted, accumulate(wanted), strict=True) if so_far <= LONGEST_WAIT_S]
    assert [one.delay_s for one in tries] == pytest.approx(expected, rel=1e-3)


def test_whoever_is_busy_is_asked_again_after_all_others() -> None:
    outcome = failing(busy(), "upstream_auth", busy(2.0), Fault("upstream_auth", "x"))
    tries = play(walk(Course(deployments(3)), World(draw=0.0)), outcome)
    assert [(one.deployment.provider, one.delay_s) for one in tries] == [("p0", 0), ("p1", 0), ("p2", 0), ("p0", 0.125), ("p2", 2.0)]


def test_retry_after_is_waited_for_where_nobody_else_is_left() -> None:
    assert [one.delay_s for one in play(walk(Course(deployments(1)), World()), failing(busy(2.0)))] == [0.0, 2.0, 2.0]
    assert [one.delay_s for one in play(walk(Course(deployments(1)), World()), failing(busy(9.0)))] == [0.0, 9.0]
    assert [one.delay_s for one in play(walk(Course(deployments(1)), World()), failing(busy(11.0)))] == [0.0]


def test_a_long_retry_after_goes_elsewhere_at_once() -> None:
    tries = play(walk(Course(deployments(2)), World()), lambda number: Answered() if number else Failed(busy(60.0)))
    assert [(one.deployment.provider, one.delay_s) for one in tries] == [("p0", 0.0), ("p1", 0.0)]


def test_an_open_circuit_is_passed_over() -> None:
    world = World({"p0/m": DOWN})
    assert asked(walk(Course(deployments(3), retries=0), world), failing("upstream_error")) == ["p1", "p2", "p0"]


def test_who_is_all_that_is_left_is_asked_in_spite_of_its_circuit() -> None:
    assert asked(walk(Course(deployments(1), retries=0), World({"p0/m": DOWN})), failing("upstream_error")) == ["p0"]
    everybody = World({f"p{n}/m": DOWN for n in range(3)})
    assert asked(walk(Course(deployments(3), retries=0), everybody), failing("upstream_error")) == ["p0", "p1", "p2"]


def test_a_circuit_that_opens_under_a_retry_sends_it_elsewhere() -> None:
    world = World()

    def outcome(number: int) -> Failed:
        world.known["p0/m"] = DOWN
        return Failed(Fault("upstream_error", "x"))

    assert asked(walk(Course(deployments(2), retries=1), world), outcome) == ["p0", "p1", "p1", "p0"]


def test_what_is_too_long_goes_to_larger_ones_only() -> None:
    sizes = {"small": 10, "same": 10, "smaller": 5, "large": 20, "unknown": None}
    order = [deployment(name, context_tokens=size) for name, size in sizes.items()]
    assert asked(walk(Course(order), World()), failing("context_length")) == ["small", "large"]
    assert asked(walk(Course(order, despite_rejection=True), World()), failing("context_length")) == ["small", "large", "unknown"]
    elsewhere = [order[0], order[4]]
    assert asked(walk(Course(elsewhere), World()), failing("context_length")) == ["small"]
    assert asked(walk(Course(elsewhere, despite_rejection=True), World()), failing("context_length")) == ["small", "unknown"]


def test_a_rejected_request_is_put_to_other_models_where_the_course_says_so() -> None:
    order = [deployment("p0"), deployment("p1"), deployment("p2", model="other")]
    assert asked(walk(Course(order), World()), failing("upstream_rejected")) == ["p0"]
    assert asked(walk(Course(order, despite_rejection=True), World()), failing("upstream_rejected")) == ["p0", "p2"]


def test_a_late_try_gets_one_beside_it_and_the_rest_is_waited_for() -> None:
    plan = walk(Course(deployments(3), hedges=1, hedge_after_s=0.5), World())
    first = next(plan)
    assert first is not None
    second = plan.send(late(first))
    assert second is not None
    assert (second.deployment.provider, second.delay_s, second.late_after_s) == ("p1", 0.0, None)  # no hedge is left to wait for
    assert plan.send(Failed(Fault("upstream_error", "x"), second.deployment)) is None
    third = plan.send(Failed(Fault("upstream_error", "x"), first.deployment))
    assert third is not None
    assert (third.deployment.provider, third.delay_s > 0) == ("p0", True)  # nothing runs any more: it goes on as usual
    with pytest.raises(StopIteration):
        plan.send(Answered())


def test_a_failure_without_a_name_is_the_oldest_tries() -> None:
    plan = walk(Course(deployments(2), retries=0, hedges=1, hedge_after_s=0.5), World())
    assert plan.send(late(next(plan))) is not None
    assert plan.send(Failed(Fault("upstream_error", "x"))) is None
    with pytest.raises(StopIteration):
        plan.send(Failed(Fault("upstream_error", "x")))


@pytest.mark.parametrize("world", [World(hedges=False), World({"p1/m": DOWN})], ids=["no budget", "circuit open"])
def test_no_second_try_without_budget_or_a_healthy_deployment(world: World) -> None:
    plan = walk(Course(deployments(2), hedges=1, hedge_after_s=0.5), world)
    assert plan.send(late(next(plan))) is None


def test_the_delay_of_a_second_try_is_the_deployments_own() -> None:
    world = World({"p0/m": Health(first_token_p95_s=1.5)})
    first, *_ = play(walk(Course(deployments(2), hedges=1), world), lambda _: Answered())
    assert first.late_after_s == 1.5
    first, *_ = play(walk(Course(deployments(2), hedges=1), World()), lambda _: Answered())
    assert first.late_after_s is None  # nothing is known yet
    alone, *_ = play(walk(Course(deployments(1), hedges=1, hedge_after_s=1.0), World()), lambda _: Answered())
    assert alone.late_after_s is None


def test_an_answer_that_will_not_do_is_put_to_the_next_model() -> None:
    order = [deployment("p0", model="a"), deployment("p1", model="a"), deployment("p2", model="b"), deployment("p3", model="b")]
    tries = play(walk(Course(order, judge=Judgement(min_chars=10)), World()), lambda number: said("short") if number == 0 else Answered())
    assert [(one.deployment.provider, one.hold) for one in tries] == [("p0", True), ("p2", False)]
    tries = play(walk(Course(order, judge=Judgement()), World()), lambda _: said("long enough"))
    assert len(tries) == 1


def test_fallbacks_are_counted() -> None:
    tries = play(walk(Course(deployments(9), retries=1), World()), failing("upstream_error"))
    names = [one.deployment.provider for one in tries]
    assert names == [f"p{n}" for n in range(6) for _ in range(2)]
    assert all(one.delay_s == 0 for before, one in pairwise(tries) if before.deployment != one.deployment)


def test_the_first_byte_limit_reaches_every_try() -> None:
    assert {one.first_byte_s for one in play(walk(Course(deployments(2), first_byte_s=3.0), World()), failing("upstream_timeout"))} == {3.0}


@pytest.mark.parametrize(("usual_s", "silence_s"), [(None, None), (0.01, LEAST_SILENCE_S), (2.0, 2.0 * SILENCE_FACTOR)])
def test_silence_is_measured_by_what_is_usual(usual_s: float | None, silence_s: float | None) -> None:
    first, second, third = deployments(3)
    world = World({one.id: Health(first_token_p95_s=usual_s) for one in (first, second, third)})
    tries = play(walk(Course([first, second, third]), world), failing("upstream_timeout"))
    assert [one.silence_s for one in tries] == [silence_s, None, None]  # once: the next one may be no quicker
    tries = play(walk(Course([first, second], retries=0), world), failing("upstream_error"))
    assert [one.silence_s for one in tries] == [silence_s, None]  # and not without anybody to go on to


def test_late_without_anybody_left_waits() -> None:
    plan = walk(Course(deployments(1)), World())
    wish = next(plan)
    assert wish is not None
    assert plan.send(Late(wish.deployment, 1.0)) is None


def test_every_try_says_why() -> None:
    first, second, third = deployments(3)
    world = World({first.id: DOWN})
    tries = play(walk(Course([first, second, third], retries=1), world), failing("upstream_busy", "upstream_error", "upstream_error"))
    assert [(one.deployment.provider, one.why) for one in tries[:4]] == [
        ("p1", "first of 3; out of order: p0"),
        ("p2", "next, after rate_limit_exceeded; out of order: p0"),
        ("p2", "again, after upstream_error"),
        ("p1", "again, after upstream_error"),
    ]
    assert play(walk(Course([first]), world), failing("invalid_request"))[0].why == ONLY
    all_down = World({first.id: DOWN, second.id: DOWN})
    assert play(walk(Course([first, second]), all_down), lambda _: Answered())[0].why == "first of 2; though out of order, like all others"


def test_what_a_policy_decided_by_is_told() -> None:
    course = Course(deployments(2), why="rules[0] holds")
    assert play(walk(course, World()), lambda _: Answered())[0].why == "first of 2; rules[0] holds"
    assert course.because("the session's own order").why == "the session's own order; rules[0] holds"


def test_a_try_beside_another_says_so() -> None:
    plan = walk(Course(deployments(2), hedges=1, hedge_after_s=0.1), World())
    beside = plan.send(late(next(plan)))
    assert beside is not None
    assert beside.why == "beside one that is late"
