"""Policies around another: what each changes of the inner one's course."""

from collections import Counter

import pytest
from routing_world import World, asked, deployment, failing, late, play, providers, said

from shoal.core.attempt import Answered
from shoal.core.health import Health
from shoal.routing.balanced import Balanced
from shoal.routing.cascade import Cascade
from shoal.routing.cheapest import Cheapest
from shoal.routing.conditional import Conditional, Rule
from shoal.routing.context import Context
from shoal.routing.fallback import Fallback
from shoal.routing.fastest import Fastest
from shoal.routing.hedged import Hedged
from shoal.routing.judgement import Judgement
from shoal.routing.least_busy import LeastBusy
from shoal.routing.ordered import Ordered
from shoal.routing.preferred import Preferred
from shoal.routing.sticky import Sticky
from shoal.routing.strategy import Strategy
from shoal.routing.throughput import Throughput
from shoal.routing.weighted import Weighted

A, B, C = deployment("a", 1.0), deployment("b", 2.0), deployment("c", 4.0)
SMALL, MIDDLE, LARGE = (deployment(name, context_tokens=size) for name, size in (("small", 100), ("middle", 1000), ("large", 9000)))
UNKNOWN = deployment("unknown")


def first(policy: Strategy, world: World) -> str:
    """Whose deployment of A, B and C is asked first."""
    return policy.choose([A, B, C], world).order[0].provider


@pytest.mark.parametrize("inner", [Weighted(), Balanced(), Fastest(), Throughput(), LeastBusy()], ids=repr)
def test_a_session_stays_whatever_the_request_and_the_load(inner: Strategy) -> None:
    load = {"a/m": Health(first_token_s=9.0, in_flight=9, tokens_per_s=1.0, outage_age_s=1.0)}
    for session in map(str, range(30)):
        chosen = {first(Sticky(inner), World(health, seed=seed, session=session)) for seed in range(5) for health in ({}, load)}
        assert len(chosen) == 1
    assert {first(Sticky(inner), World(session=str(session))) for session in range(200)} == {"a", "b", "c"}


def test_sessions_are_spread_by_the_inner_policys_weights() -> None:
    policy = Sticky(Weighted(weights={"a": 6, "b": 3, "c": 1}))
    found = Counter(first(policy, World(session=f"s{number}")) for number in range(10_000))
    assert {name: count / 10_000 for name, count in found.items()} == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.02)


def test_only_the_sessions_of_a_deployment_that_goes_move() -> None:
    policy = Sticky(Weighted())
    moved = Counter[str]()
    for number in range(300):
        world = World(session=str(number))
        before = policy.choose([A, B, C], world).order
        after = policy.choose([A, B], world).order
        assert providers(after) == [name for name in providers(before) if name != "c"]
        if before[0] is C:
            moved[after[0].provider] += 1
    assert min(moved["a"], moved["b"]) > 20  # and they do not all run to the same place


def test_a_session_goes_elsewhere_while_its_circuit_is_open() -> None:
    order = providers(Sticky(Weighted()).choose([A, B, C], World(session="s")).order)
    world = World({f"{order[0]}/m": Health(available=False)}, session="s")
    assert asked(Sticky(Weighted()).plan([A, B, C], world), lambda _: Answered()) == [order[1]]


def test_without_a_session_the_inner_policy_decides() -> None:
    assert {first(Sticky(Weighted()), World(seed=seed)) for seed in range(100)} == {"a", "b", "c"}
    assert first(Sticky(LeastBusy()), World({"a/m": Health(in_flight=1), "b/m": Health(in_flight=1)})) == "c"


def test_fallback_asks_one_model_after_the_other() -> None:
    candidates = [deployment("x", 9.0, model="one"), deployment("y", 1.0, model="two"), deployment("z", 1.0, model="one")]
    course = Fallback(Cheapest()).choose(candidates, World())
    assert providers(course.order) == ["z", "x", "y"]
    assert course.despite_rejection
    assert Fallback(Cheapest(retries=0)).choose(candidates, World()).retries == 0
    assert asked(Fallback(Cheapest()).plan(candidates, World()), failing("upstream_rejected")) == ["z", "y"]
    assert asked(Fallback(Cheapest(), despite_rejection=False).plan(candidates, World()), failing("upstream_rejected")) == ["z"]
    assert Fallback().choose([], World()).order == ()


@pytest.mark.parametrize(
    ("tokens", "max_tokens", "expected"),
    [(100, None, ["small", "middle", "large"]), (100, 1, ["middle", "large"]), (1001, None, ["large"]), (99_999, None, ["large"])],
)
def test_who_cannot_hold_the_request_is_left_out(tokens: int, max_tokens: int | None, expected: list[str]) -> None:
    world = World(tokens=tokens, max_tokens=max_tokens)
    assert providers(Context().choose([SMALL, MIDDLE, LARGE], world).order) == expected


def test_unknown_sizes_come_last_and_margins_count() -> None:
    assert providers(Context().choose([UNKNOWN, SMALL], World(tokens=50)).order) == ["small", "unknown"]
    assert providers(Context().choose([UNKNOWN, SMALL], World(tokens=500)).order) == ["unknown"]
    assert providers(Context(margin_share=0.1).choose([SMALL, LARGE], World(tokens=95)).order) == ["large"]
    with pytest.raises(ValueError, match="margin_share"):
        Context(margin_share=2.0)


def test_what_did_not_fit_after_all_goes_on_to_larger_ones() -> None:
    assert asked(Context().plan([SMALL, UNKNOWN, LARGE], World(tokens=90)), failing("context_length")) == ["small", "large"]


def test_hedged_asks_a_second_one_beside_a_late_one() -> None:
    plan = Hedged(Ordered(), after_s=0.3).plan([A, B, C], World())
    wish = next(plan)
    assert wish is not None
    assert wish.late_after_s == 0.3
    second = plan.send(late(wish))
    assert second is not None
    assert second.deployment is B


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Hedged(Cascade()), "cannot be hedged"),
        (lambda: Hedged(Hedged()), "hedged stands inside hedged"),
        (lambda: Hedged(Sticky(Ordered(fallbacks=0))), "fallbacks = 0"),
        (lambda: Cascade(Cascade()), "inside a cascade"),
        (lambda: Cascade(Ordered(fallbacks=0)), "fallbacks = 0"),
        (lambda: Conditional(()), "rules is empty"),
        (lambda: Conditional((Rule({"plan": "gold"}, ("m",)),)), "those of all other requests"),
        (lambda: Rule({}), "when is empty"),
        (lambda: Hedged(Conditional((Rule({"plan": "gold"}, then=Cascade()),))), "cannot be hedged"),
    ],
)
def test_contradictions_are_refused(build: type[Strategy], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_cascade_reads_the_cheap_answer_first() -> None:
    candidates = [deployment("mini", model="mini"), deployment("flagship", model="big")]
    plan = Cascade(judge=Judgement(min_chars=20)).plan(candidates, World())
    tries = play(plan, lambda number: Answered() if number else said("too short"))
    assert [(one.deployment.provider, one.hold) for one in tries] == [("mini", True), ("flagship", False)]
    assert asked(Cascade().plan(candidates, World()), lambda _: said()) == ["mini"]
    assert asked(Cascade().plan(candidates, World()), failing("upstream_auth")) == ["mini", "flagship"]


def test_preferred_rearranges_what_the_inner_policy_decided() -> None:
    health = {"a/m": Health(tokens_per_s=10.0, first_token_s=2.0, first_token_p95_s=5.0), "b/m": Health(tokens_per_s=80.0)}

    def order(policy: Preferred) -> list[str]:
        return providers(policy.choose([A, B, C], World(health)).order)

    assert order(Preferred(Ordered(), order=("C", "b"))) == ["c", "b", "a"]
    assert order(Preferred(Ordered(), min_tokens_per_s=20.0)) == ["b", "c", "a"]
    assert order(Preferred(Ordered(), min_tokens_per_s=10.0)) == ["a", "b", "c"]
    assert order(Preferred(Ordered(), max_first_token_s=1.0)) == ["b", "c", "a"]
    assert order(Preferred(Ordered(), max_first_token_p95_s=1.0)) == ["b", "c", "a"]
    assert order(Preferred(Ordered(), alone=True)) == ["a"]
    assert order(Preferred(Ordered(), order=("a",), max_first_token_s=1.0)) == ["b", "c", "a"]
