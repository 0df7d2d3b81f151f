"""Rules on metadata: which comparison holds for which value, and what a rule decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_world import World, deployment, providers

from shoal.routing.conditional import Comparison, Conditional, Rule
from shoal.routing.ordered import Ordered

GOLD = deployment("strong", model="big")
FREE = deployment("weak", model="small")
POLICY = Conditional(
    rules=(
        Rule({"plan": Comparison(one_of=("gold", "team")), "region": Comparison(prefix="eu-")}, ("big",), Ordered(retries=1)),
        Rule({"plan": "gold"}, then=Ordered(retries=0)),
    ),
    models=("small",),
    otherwise=Ordered(),
)


@pytest.mark.parametrize(
    ("comparison", "fits", "does_not"),
    [
        (Comparison(eq="a"), ["a"], ["b", "", None]),
        (Comparison(eq=1), ["1", "1.0", " 1 "], ["2", "one", None]),
        (Comparison(ne="a"), ["b", "", None], ["a"]),
        (Comparison(one_of=("a", 2)), ["a", "2"], ["b", None]),
        (Comparison(none_of=("a",)), ["b", None], ["a"]),
        (Comparison(prefix="eu-"), ["eu-west", "eu-"], ["us-eu-", None]),
        (Comparison(gt=1, lte=3), ["2", "3"], ["1", "3.1", "x", "nan", "", None]),
        (Comparison(gte=1, lt=3), ["1", "2.5"], ["3", "inf", None]),
        (Comparison(exists=True), ["", "x"], [None]),
        (Comparison(exists=False), [None], ["", "x"]),
        (Comparison(ne="a", exists=True), ["b"], ["a", None]),
    ],
)
def test_comparisons(comparison: Comparison, fits: list[str | None], does_not: list[str | None]) -> None:
    assert [value for value in fits if not comparison.holds(value)] == []
    assert [value for value in does_not if comparison.holds(value)] == []


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_ranges_are_those_of_numbers(text: str, value: float, limit: float) -> None:
    assert Comparison(gt=limit).holds(repr(value)) == (value > limit)
    assert Comparison(lte=limit).holds(repr(value)) == (value <= limit)
    Comparison(gt=limit).holds(text)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "nothing is compared"),
        ({"one_of": ()}, "is empty"),
        ({"gt": 3.0, "lt": 1.0}, "no number"),
        ({"gt": 3.0, "lte": 3.0}, "no number"),
        ({"exists": False, "eq": "a"}, "not there"),
    ],
)
def test_comparisons_that_nothing_fits_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Comparison(**fields)  # type: ignore[arg-type]


def test_a_point_is_a_range() -> None:
    assert Comparison(gte=3.0, lte=3.0).holds("3")


@pytest.mark.parametrize(
    ("metadata", "expected", "retries"),
    [
        ({"plan": "team", "region": "eu-west"}, ["strong"], 1),
        ({"plan": "gold", "region": "eu-west"}, ["strong"], 1),  # both rules hold: the first decides
        ({"plan": "gold", "region": "us"}, ["weak"], 0),  # a rule without models chooses among the policy's own
        ({"plan": "team"}, ["weak"], 2),
        ({}, ["weak"], 2),
    ],
)
def test_the_first_rule_that_holds_decides(metadata: dict[str, str], expected: list[str], retries: int) -> None:
    course = POLICY.choose([FREE, GOLD], World(metadata=metadata))
    assert providers(course.order) == expected
    assert course.retries == retries


def test_all_models_are_named() -> None:
    assert POLICY.names() == ["small", "big"]
    assert list(POLICY.within()) == [POLICY.rules[0].then, POLICY.rules[1].then, POLICY.otherwise]
