"""List prices: tiers and caches, names that mean what they mean in genai-prices, and prices that change with the time."""

import msgspec
import pytest
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.money import Price, Tier
from shoal.core.usage import Usage, charge
from shoal.providers.prices import Clause, Listed, PriceList, Rate, ask, find_list, find_price

PROVIDERS = ["openai", "anthropic", "google", "deepseek", "groq", "mistral", "x-ai", "minimax"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_names_mean_what_they_mean_there(provider: str) -> None:
    snapshot = data_snapshot.get_snapshot()
    models = PriceList(find_list(provider))
    for known in models.models[:60]:
        for name in (known.id, known.id.upper(), f"{known.id}-2025-01-01", f"x-{known.id}"):
            theirs = snapshot.find_provider(None, provider, None).find_model(name, all_providers=snapshot.providers)
            ours = models.find(name)
            assert (ours and ours.id) == (theirs and theirs.id), name


def test_the_other_process_says_the_same() -> None:
    answer = ask(["groq", "no-such-provider"], ["openai/gpt-4o", "openai/no-such-model"])
    assert answer.lists == {"groq": find_list("groq")}
    known = Price(2_500_000, 10_000_000, 1_250_000, 2_500_000, None, (), 2_500_000, web_search_pico=10**10)
    found = find_price("openai/gpt-4o")
    assert answer.prices["openai/gpt-4o"] == found
    assert msgspec.structs.replace(found, service_tiers={}) == known
    assert "no-such-model" in str(answer.prices["openai/no-such-model"])


def test_nothing_is_started_when_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    assert ask().lists == {}


def test_the_last_price_that_holds_counts() -> None:
    model = Listed("m", ("m",), None, (Rate(Price(1, 1)), Rate(Price(2, 2), since_s=1_000.0), Rate(Price(3, 3), daily=(82_800, 3_600))))
    assert model.price(10_000.0) == Price(2, 2)
    assert model.price(86_400 + 3_599.0) == Price(3, 3)  # half past midnight, and before it
    assert model.price(82_800.0) == Price(3, 3)
    assert Listed("m", (), None, model.rates[1:]).price(5_000.0) == Price(2, 2)
    assert Listed("m", (), None, ()).price(0.0) is None


@pytest.mark.parametrize(
    ("clause", "name", "meant"),
    [
        (Clause("starts_with", "gpt-"), "gpt-4", True),
        (Clause("ends_with", "-mini"), "gpt-4", False),
        (Clause("contains", "pt"), "gpt-4", True),
        (Clause("regex", "^(?!.*tts)"), "gpt-tts", False),
        (Clause("or", of=(Clause("equals", "a"), Clause("equals", "b"))), "b", True),
        (Clause("and", of=(Clause("starts_with", "a"), Clause("ends_with", "b"))), "a", False),
    ],
)
def test_clauses(clause: Clause, name: str, meant: bool) -> None:
    assert clause.matches(name) is meant


def test_the_first_that_matches_is_found() -> None:
    loose, exact = Listed("loose", (), Clause("starts_with", "a"), ()), Listed("exact", ("ab",), None, ())
    assert PriceList([loose, exact]).find("AB") is loose
    assert PriceList([exact, loose]).find("ab") is exact
    assert PriceList([exact, loose]).find("b") is None


TIERED = Price(10, 20, 1, 12, tiers=(Tier(100, 20, 40, 2, 24, 30), Tier(200, 30, 60, 3, 36, 40)), cache_write_1h_pico=16)


@given(st.integers(0, 400), st.integers(0, 50), st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_a_tier_holds_for_all_tokens(read: int, written: int, cached: int, stored: int, longer: int) -> None:
    nano = charge(Usage(input=read, output=written, cache_read=cached, cache_write=stored, cache_write_1h=longer), TIERED)
    if cached + stored > read or longer > stored:
        assert nano is None
        return
    factor = 1 if read <= 100 else 2 if read <= 200 else 3
    hour = (16, 30, 40)[factor - 1]
    pico = factor * ((read - cached - stored) * 10 + written * 20 + cached + (stored - longer) * 12) + longer * hour
    assert nano == -(-pico // 1000)


def test_an_unknown_rate_of_a_tier_is_not_free() -> None:
    price = Price(1, 1, 1, 1, tiers=(Tier(10, 2, 2),), cache_write_1h_pico=None)
    assert charge(Usage(input=10, output=0, cache_read=5), price) == 1
    assert charge(Usage(input=11, output=0, cache_read=5), price) is None
    assert charge(Usage(input=10, output=0, cache_write=5, cache_write_1h=5), price) is None


SPOKEN = Price(10, 20, 1, 12, request_pico=5_000, web_search_pico=7_000, audio_input_pico=100, audio_output_pico=300, reasoning_pico=21)


@pytest.mark.parametrize(
    ("usage", "pico"),
    [
        (Usage(input=100, output=10), 5_000 + 1_000 + 200),
        (Usage(input=100, output=10, audio_input=40), 5_000 + 600 + 4_000 + 200),
        (Usage(input=100, output=10, cache_read=50, audio_input=40, audio_cache_read=30), 5_000 + 500 + 50 + 10 * 90 + 200),
        (Usage(input=100, output=10, audio_output=4), 5_000 + 1_000 + 6 * 20 + 4 * 300),
        (Usage(input=100, output=10, reasoning=4), 5_000 + 1_000 + 6 * 20 + 4 * 21),
        (Usage(input=100, output=10, web_searches=2), 5_000 + 1_000 + 200 + 14_000),
        (Usage(input=100, output=10, audio_input=101), None),
        (Usage(input=100, output=10, audio_output=11), None),
        (Usage(input=100, output=10, audio_input=9, audio_cache_read=10), None),
        (Usage(input=100, output=10, reasoning=11), None),
    ],
)
def test_speech_thought_searches_and_requests_have_prices_of_their_own(usage: Usage, pico: int | None) -> None:
    assert charge(usage, SPOKEN) == (None if pico is None else -(-pico // 1000))


def test_without_a_price_of_their_own_they_cost_what_other_tokens_do() -> None:
    plain = Price(1_000, 2_000, 100)
    assert charge(Usage(input=10, output=5, reasoning=4, audio_input=3, audio_output=2), plain) == 20
    assert charge(Usage(input=10, output=5, web_searches=1), plain) is None  # nobody knows what a search costs here
    assert charge(Usage(input=10, output=5, web_searches=0), plain) == 20
