"""What a caller is told of its own key: OpenRouter's shape, exact amounts, and when budgets are filled again."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from shoal.core.identity import KeyRecord, principal_of
from shoal.core.lending import Spent
from shoal.core.terms import Terms
from shoal.gateway.own_key import show

NOW = datetime(2026, 12, 31, 13, 30, tzinfo=UTC).timestamp()  # a Thursday


def shown(spent: Spent, **more: object) -> dict[str, object]:
    principal = principal_of(KeyRecord("key_1", "build", b"", 1, **more))  # type: ignore[arg-type]
    data = json.loads(show(principal, spent, NOW), parse_float=Decimal)["data"]
    assert isinstance(data, dict)
    return data


def test_a_key_without_limits_shows_what_it_used() -> None:
    data = shown(Spent(1_500_000_001, 1, 20, 300))
    assert data["label"] == "build"
    assert (data["usage"], data["usage_daily"]) == (Decimal("1.500000001"), Decimal("1e-9"))
    assert (data["usage_weekly"], data["usage_monthly"]) == (Decimal("2e-8"), Decimal("3e-7"))
    assert data["limit"] is data["limit_remaining"] is data["limit_reset"] is data["expires_at"] is None
    assert data["rate_limit"] == {"requests": -1, "interval": "1m"}
    assert data["is_free_tier"] is False
    assert data["budgets"] == []


def test_the_tightest_budget_is_the_limit() -> None:
    data = shown(
        Spent(900_000_000, 100_000_000, 400_000_000, 900_000_000),
        terms=Terms(daily_nano=200_000_000, monthly_nano=950_000_000, total_nano=2_000_000_000),
    )
    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (Decimal("0.95"), Decimal("0.05"), "monthly")
    budgets = data["budgets"]
    assert isinstance(budgets, list)
    assert [one["window"] for one in budgets] == ["daily", "monthly", "total"]
    assert budgets[0] == {
        "window": "daily",
        "limit": Decimal("0.2"),
        "limit_remaining": Decimal("0.1"),
        "resets_at": "2027-01-01T00:00:00Z",
    }
    assert budgets[2]["resets_at"] is None


def test_nothing_is_left_of_a_budget_that_was_lowered_below_what_was_spent() -> None:
    assert shown(Spent(5, 5, 5, 5), terms=Terms(total_nano=3))["limit_remaining"] == 0


def test_rates_scopes_credit_and_expiry_are_shown() -> None:
    data = shown(
        Spent(wallet_nano=2_000_000_000, free_tier=True),
        terms=Terms(rpm=600, tpm=9, parallel=2, models=("up/*",)),
        expires_at_ms=int(NOW * 1000),
        prepaid=True,
    )
    assert data["rate_limit"] == {"requests": 600, "interval": "1m"}
    assert data["rate_limits"] == {"requests_per_minute": 600, "tokens_per_minute": 9, "parallel_requests": 2, "burst": 20}
    assert (data["credits_remaining"], data["is_free_tier"]) == (2, True)
    assert (data["models"], data["endpoints"]) == (["up/*"], None)
    assert data["expires_at"] == "2026-12-31T13:30:00Z"
