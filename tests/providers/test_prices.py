"""List prices: what genai-prices would charge is what we charge, tiers and caches included; names mean what they mean there."""

import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import data_snapshot
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.money import Price, Tier
from shoal.core.usage import Usage, charge
from shoal.providers.prices import Clause, Listed, PriceList, Rate, ask, find_list, find_price

PROVIDERS = ["openai", "anthropic", "google", "deepseek", "groq", "mistral", "x-ai", "minimax"]
SIZES = [(1_000, 100, 0, 0), (300_001, 1_000, 5_000, 200), (150_000, 7, 100_000, 0), (32_001, 1, 0, 32_000)]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_we_charge_what_genai_prices_charges(provider: str) -> None:
    own = {model.id: model for model in data_snapshot.get_snapshot().find_provider(None, provider, None).models}
    now = time.time()
    compared = 0
    for model in find_list(provider):
        price = model.price(now)
        if price is None or model.borrowed or set(vars(own[model.id].get_prices(datetime.now(UTC)))) & {"requests_kcount"}:
            continue
        for read, written, cached, stored in SIZES:
            theirs = (
                own[model.id]
                .get_prices(datetime.now(UTC))
                .calc_price(TheirUsage(input_tokens=read, output_tokens=written, cache_read_tokens=cached, cache_write_tokens=stored))
            )
            ours = charge(Usage(input=read, output=written, cache_read=cached, cache_write=stored), price)
            assert ours is not None
            assert abs(Decimal(ours) / 10**9 - theirs["total_price"]) < Decimal("2e-9"), (model.id, read)
            compared += 1
    assert compared >= 8


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
    assert (
        answer.prices["openai/gpt-4o"]
        == find_price("openai/gpt-4o")
        == Price(2_500_000, 10_000_000, 1_250_000, 2_500_000, None, (), 2_500_000)
    )
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
