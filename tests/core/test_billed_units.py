"""What is charged where the upstream counts otherwise than it bills: Cohere's billed units, and searches."""

from shoal.core.money import Price
from shoal.core.usage import Usage, charge

PRICE = Price(input_pico=2_000, output_pico=10_000)


def test_billed_units_are_charged_and_not_the_tokens_counted() -> None:
    usage = Usage(input=2935, output=4, cache_read=2928, billed_input=2406, billed_output=2)
    assert charge(usage, PRICE) == 2406 * 2 + 2 * 10


def test_a_search_is_charged_by_the_search() -> None:
    assert charge(Usage(searches=3), Price(0, 0, search_pico=2_000_000_000)) == 6_000_000


def test_a_search_has_no_price_where_none_is_known() -> None:
    assert charge(Usage(searches=1, input=40), PRICE) is None
    assert charge(Usage(searches=1), None) is None
