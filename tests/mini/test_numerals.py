"""numerals.py: exactly the numbers between two bounds, read back by a regular expression made of the grammar."""

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.mini.numerals import EmptyRange, write_decimals, write_integers, write_multiples

whole = st.integers(-5000, 5000)
fraction = st.decimals(-500, 500, places=3)


def compile_expression(expression: str) -> re.Pattern[str]:
    """The grammar's expressions are regular: quoted literals aside, they read as one."""
    return re.compile(re.sub(r'"([^"]*)"', lambda match: re.escape(match[1]), expression).replace(" ", ""))


@given(whole, whole, st.lists(whole, min_size=5))
def test_integers_are_exact(one: int, other: int, tried: list[int]) -> None:
    low, high = sorted((one, other))
    pattern = compile_expression(write_integers(low, high))
    for value in {*tried, low - 1, low, high, high + 1, 0}:
        assert bool(pattern.fullmatch(str(value))) == (low <= value <= high)


@given(fraction, fraction, st.booleans(), st.booleans(), st.lists(fraction, min_size=5))
def test_decimals_never_leave_their_bounds(one: Decimal, other: Decimal, above: bool, below: bool, tried: list[Decimal]) -> None:
    low, high = sorted((one, other))
    try:
        pattern = compile_expression(write_decimals(low, high, above, below))
    except EmptyRange:
        assert low == high
        assert above or below
        return
    for value in {*tried, low, high}:
        inside = (low < value if above else low <= value) and (value < high if below else value <= high)
        for text in (f"{value:f}", f"{value:.2f}", f"{value:.0f}"):
            if pattern.fullmatch(text):
                assert inside or Decimal(text) != value
        if inside:
            assert pattern.fullmatch(f"{value:.3f}") or pattern.fullmatch(f"{value:.2f}"), (low, high, value)


@pytest.mark.parametrize("value", ["-0", "01", "1.", "1e5", "+1", ".5", "", "0x1"])
def test_only_json_numbers(value: str) -> None:
    assert not compile_expression(write_integers(None, None)).fullmatch(value)
    assert not compile_expression(write_integers(-10, 10)).fullmatch(value)


def test_open_sides_end_at_fifteen_digits() -> None:
    pattern = compile_expression(write_integers(1, None))
    assert pattern.fullmatch("9" * 15)
    assert not pattern.fullmatch("9" * 16)
    assert not compile_expression(write_decimals(Decimal(0), None)).fullmatch("9" * 16)


@given(st.sampled_from(["1", "5", "7", "10", "0.1", "0.25", "0.01"]), whole)
def test_multiples_are_multiples(step: str, low: int) -> None:
    pattern = compile_expression(write_multiples(Decimal(step), Decimal(low), Decimal(low + 100)))
    for value in (Decimal(low) + Decimal(n) / 20 for n in range(0, 2000, 3)):
        if pattern.fullmatch(f"{value.normalize():f}"):
            assert value % Decimal(step) == 0


@pytest.mark.parametrize(("low", "high"), [(5, 4), (10**15, None)])
def test_an_empty_range_is_said(low: int, high: int | None) -> None:
    with pytest.raises(EmptyRange):
        write_integers(low, high)
