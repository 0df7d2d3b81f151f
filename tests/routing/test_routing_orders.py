"""In which order each policy asks: by price, speed, load or chance."""

from collections import Counter

import msgspec
import pytest
from routing_world import World, deployment, providers

from shoal.core.health import Health
from shoal.core.models import Deployment
from shoal.core.money import Price
from shoal.routing.balanced import Balanced
from shoal.routing.cheapest import Cheapest
from shoal.routing.fastest import Fastest
from shoal.routing.least_busy import LeastBusy
from shoal.routing.ordered import Ordered
from shoal.routing.strategy import Ranking
from shoal.routing.throughput import Throughput
from shoal.routing.weighted import Weighted

DRAWS = 10_000
A, B, C = deployment("a", 1.0), deployment("b", 2.0), deployment("c", 4.0)


def order(policy: Ranking, candidates: list[Deployment], world: World | None = None) -> list[str]:
    """Whose deployments a policy asks, in order."""
    return providers(policy.choose(candidates, world or World()).order)


def shares(policy: Ranking, candidates: list[Deployment], health: dict[str, Health] | None = None) -> dict[str, float]:
    """How often each is asked first."""
    firsts = Counter(order(policy, candidates, World(health, seed=seed))[0] for seed in range(DRAWS))
    return {name: count / DRAWS for name, count in firsts.items()}


@pytest.mark.parametrize("policy", [Ordered(), Weighted(), Balanced(), Cheapest(), Fastest(), Throughput(), LeastBusy()], ids=repr)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_nobody_is_lost_or_invented(policy: Ranking, count: int) -> None:
    candidates = [deployment(f"p{number}", number or None) for number in range(count)]
    for seed in range(20):
        assert sorted(order(policy, candidates, World(seed=seed))) == providers(candidates)


@pytest.mark.parametrize("policy", [Weighted(), Balanced(), Fastest(), Throughput(), LeastBusy()], ids=repr)
def test_chance_depends_on_the_request_alone(policy: Ranking) -> None:
    orders = [order(policy, [A, B, C], World(seed=seed)) for seed in range(50)]
    assert orders == [order(policy, [A, B, C], World(seed=seed)) for seed in range(50)]
    assert len(set(map(tuple, orders))) > 1


def test_limits_reach_the_course() -> None:
    course = Ordered(retries=1, fallbacks=3, first_byte_s=7.0).choose([A, B], World())
    assert (course.retries, course.fallbacks, course.first_byte_s) == (1, 3, 7.0)


def test_ordered_keeps_the_order() -> None:
    assert order(Ordered(), [C, A, B]) == ["c", "a", "b"]


def test_weights_are_kept_over_many_draws() -> None:
    found = shares(Weighted(weights={"a": 5, "b/m": 3, "c": 2}), [A, B, C])
    assert found == pytest.approx({"a": 0.5, "b": 0.3, "c": 0.2}, abs=0.02)


def test_without_the_first_the_others_keep_their_proportions() -> None:
    policy = Weighted(weights={"a": 5, "b": 3, "c": 2})
    seconds = Counter(order(policy, [A, B, C], World(seed=seed))[1] for seed in range(DRAWS))
    assert seconds["b"] / DRAWS == pytest.approx(0.5 * 0.6 + 0.2 * 0.3 / 0.8, abs=0.02)


def test_a_deployments_own_weight_counts_where_none_is_given() -> None:
    heavy = msgspec.structs.replace(A, weight=3.0)
    assert shares(Weighted(), [heavy, B]) == pytest.approx({"a": 0.75, "b": 0.25}, abs=0.02)


def test_a_weight_of_nothing_is_a_fallback_only() -> None:
    assert {order(Weighted(weights={"a": 0, "b": 1}), [A, B], World(seed=seed))[0] for seed in range(200)} == {"b"}


def test_weights_that_choose_nobody_are_refused() -> None:
    with pytest.raises(ValueError, match="all weights are 0"):
        Weighted(weights={"a": 0})


def test_balanced_weighs_by_the_inverse_square_of_the_price() -> None:
    assert shares(Balanced(), [A, B, C]) == pytest.approx({"a": 16 / 21, "b": 4 / 21, "c": 1 / 21}, abs=0.02)


def test_an_outage_is_remembered_for_half_a_minute() -> None:
    assert "a" not in shares(Balanced(), [A, B, C], {"a/m": Health(outage_age_s=29.0)})
    assert shares(Balanced(), [A, B, C], {"a/m": Health(outage_age_s=31.0)})["a"] == pytest.approx(16 / 21, abs=0.02)
    assert order(Balanced(), [A, B], World({"a/m": Health(outage_age_s=1.0)})) == ["b", "a"]


def test_an_unknown_price_is_never_taken_for_free() -> None:
    unknown = deployment("x")
    assert shares(Balanced(), [A, C, unknown]) == pytest.approx({"a": 16 / 18, "c": 1 / 18, "x": 1 / 18}, abs=0.02)
    assert order(Cheapest(), [unknown, C, A]) == ["a", "c", "x"]
    assert shares(Balanced(), [deployment("x"), deployment("y")]) == pytest.approx({"x": 0.5, "y": 0.5}, abs=0.02)


def test_what_is_free_comes_first() -> None:
    assert order(Balanced(), [A, deployment("free", 0.0)], World(seed=1))[0] == "free"


def test_the_cheapest_depends_on_the_request() -> None:
    reader = msgspec.structs.replace(A, price=Price(1_000_000, 10_000_000))
    writer = msgspec.structs.replace(B, price=Price(3_000_000, 2_000_000))
    assert order(Cheapest(), [reader, writer], World(tokens=10_000, max_tokens=10)) == ["a", "b"]
    assert order(Cheapest(), [reader, writer], World(tokens=10, max_tokens=10_000)) == ["b", "a"]
    brief = msgspec.structs.replace(reader, max_output_tokens=1)
    assert order(Cheapest(), [writer, brief], World(tokens=10, max_tokens=10_000)) == ["a", "b"]


def test_the_slowest_of_three_is_never_asked_first_but_the_second_is_at_times() -> None:
    speeds = {"a/m": Health(first_token_s=0.1), "b/m": Health(first_token_s=0.2), "c/m": Health(first_token_s=0.9)}
    found = shares(Fastest(), [A, B, C], speeds)
    assert found == pytest.approx({"a": 2 / 3, "b": 1 / 3}, abs=0.02)
    assert order(Fastest(), [C, B], World(speeds)) == ["b", "c"]


def test_load_counts_as_slowness() -> None:
    speeds = {"a/m": Health(first_token_s=0.1, in_flight=9), "b/m": Health(first_token_s=0.2, in_flight=0)}
    assert order(Fastest(), [A, B], World(speeds)) == ["b", "a"]


def test_what_is_not_measured_is_tried_once_at_a_time() -> None:
    known = {"a/m": Health(first_token_s=0.1, tokens_per_s=50.0)}
    for policy in (Fastest(), Throughput()):
        assert order(policy, [A, B], World(known)) == ["b", "a"]
        assert order(policy, [A, B], World({**known, "b/m": Health(in_flight=1)})) == ["a", "b"]


def test_throughput_takes_the_most_tokens_a_second() -> None:
    speeds = {"a/m": Health(tokens_per_s=50.0), "b/m": Health(tokens_per_s=90.0), "c/m": Health(tokens_per_s=10.0)}
    assert order(Throughput(), [A, B, C], World(speeds)) == ["b", "a", "c"]


def test_least_busy_takes_the_fewest_requests_for_its_weight() -> None:
    busy = {"a/m": Health(in_flight=4), "b/m": Health(in_flight=1), "c/m": Health(in_flight=2)}
    assert order(LeastBusy(), [A, B, C], World(busy)) == ["b", "c", "a"]
    strong = msgspec.structs.replace(A, weight=8.0)
    assert order(LeastBusy(), [strong, B, C], World(busy)) == ["a", "b", "c"]
    assert shares(LeastBusy(), [A, B]) == pytest.approx({"a": 0.5, "b": 0.5}, abs=0.02)
