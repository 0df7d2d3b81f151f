"""Money: integers, rounded once, up, and never made up."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.money import NANO_PER_USD, Price, nano_from_pico, pico_per_token, usd_text
from shoal.core.usage import Usage, charge

COUNTS = st.integers(0, 2**40)
RATES = st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("usd_per_million", "pico"), [("2.5", 2_500_000), (2.5, 2_500_000), ("0.075", 75_000), (0, 0), ("0.0000005", 0), ("15", 15_000_000)]
)
def test_customary_prices_become_pico(usd_per_million: float | str, pico: int) -> None:
    assert pico_per_token(usd_per_million) == pico


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (1500, "0.0000015"),
        (10**9, "1"),
        (1_500_000_000, "1.5"),
        (-1500, "-0.0000015"),
        (10**18, "1000000000"),
    ],
)
def test_amounts_are_plain_decimals(nano: int, text: str) -> None:
    assert usd_text(nano) == text


@given(st.integers(-(2**60), 2**60))
def test_an_amount_reads_back_exactly(nano: int) -> None:
    assert Decimal(usd_text(nano)) * NANO_PER_USD == nano


@given(st.integers(0, 2**80))
def test_what_is_owed_is_rounded_up_by_less_than_one(pico: int) -> None:
    assert 0 <= nano_from_pico(pico) - Fraction(pico, 1000) < 1


@given(COUNTS, COUNTS, RATES, RATES)
def test_a_charge_is_the_exact_sum_rounded_once(read: int, written: int, read_pico: int, written_pico: int) -> None:
    nano = charge(Usage(input=read, output=written), Price(read_pico, written_pico))
    assert nano == -(-(read * read_pico + written * written_pico) // 1000)


@given(COUNTS, COUNTS, COUNTS, COUNTS, RATES, RATES, RATES, RATES)
def test_a_charge_is_never_negative(read: int, written: int, cached: int, stored: int, a: int, b: int, c: int, d: int) -> None:
    nano = charge(Usage(input=read, output=written, cache_read=cached, cache_write=stored), Price(a, b, c, d))
    if cached + stored > read:
        assert nano is None  # such counts contradict each other
    else:
        assert nano == -(-((read - cached - stored) * a + written * b + cached * c + stored * d) // 1000)


@pytest.mark.parametrize(
    ("usage", "price"),
    [
        (Usage(input=1, output=1), None),
        (Usage(), Price(1, 1)),
        (Usage(output=5), Price(1, 1)),
        (Usage(input=5, output=1, cache_read=2), Price(1, 1)),
        (Usage(input=5, output=1, cache_write=2), Price(1, 1, cache_read_pico=1)),
    ],
)
def test_the_unknown_is_not_free(usage: Usage, price: Price | None) -> None:
    assert charge(usage, price) is None


def test_cache_reads_have_their_own_price() -> None:
    usage = Usage(input=100, output=10, cache_read=60, cache_write=20)
    assert charge(usage, Price(1000, 5000, cache_read_pico=100, cache_write_pico=1250)) == 20 + 50 + 6 + 25
