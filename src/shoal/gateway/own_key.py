"""What a caller is told of its own key, in the shape that OpenRouter gave it, and more.

https://openrouter.ai/docs/api/api-reference/api-keys/get-current-key
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from shoal.core.identity import Principal
from shoal.core.lending import Spent
from shoal.core.money import usd_text
from shoal.core.terms import burst_requests
from shoal.storage.windows import end_ms

_RESETS = {"daily": "daily", "weekly": "weekly", "monthly": "monthly", "total": None}


def show(principal: Principal, spent: Spent, now_s: float) -> bytes:
    """`{"data": {...}}`. Amounts are USD. Of several budgets `limit` is the one of which the least is left; all are in `budgets`."""
    budgets = [_budget(window, nano, spent, now_s) for window, nano in principal.terms.budgets.items()]
    tightest = min(budgets, key=lambda one: one["left_nano"], default=None)
    terms = principal.terms
    data = {
        "label": principal.name,
        "usage": _usd(spent.total_nano),
        "usage_daily": _usd(spent.daily_nano),
        "usage_weekly": _usd(spent.weekly_nano),
        "usage_monthly": _usd(spent.monthly_nano),
        "limit": None if tightest is None else tightest["limit"],
        "limit_remaining": None if tightest is None else tightest["limit_remaining"],
        "limit_reset": None if tightest is None else _RESETS[tightest["window"]],
        "is_free_tier": spent.free_tier,
        "is_management_key": False,
        "is_provisioning_key": False,
        "include_byok_in_limit": False,
        "byok_usage": 0,
        "byok_usage_daily": 0,
        "byok_usage_weekly": 0,
        "byok_usage_monthly": 0,
        "expires_at": None if principal.expires_at_ms is None else moment(principal.expires_at_ms),
        "rate_limit": {"requests": -1 if terms.rpm is None else terms.rpm, "interval": "1m"},
        "rate_limits": {
            "requests_per_minute": terms.rpm,
            "tokens_per_minute": terms.tpm,
            "parallel_requests": terms.parallel,
            "burst": None if terms.rpm is None else burst_requests(terms),
        },
        "budgets": [{name: value for name, value in one.items() if name != "left_nano"} for one in budgets],
        "credits_remaining": None if spent.wallet_nano is None else _usd(spent.wallet_nano),
        "models": terms.models,
        "endpoints": terms.endpoints,
        "routes": terms.routes,
    }
    return msgspec.json.encode({"data": data})


def _budget(window: str, nano: int, spent: Spent, now_s: float) -> dict[str, Any]:
    left_nano = max(0, nano - getattr(spent, f"{window}_nano"))
    resets = end_ms(window, int(now_s * 1000))
    return {
        "window": window,
        "limit": _usd(nano),
        "limit_remaining": _usd(left_nano),
        "resets_at": None if resets is None else moment(resets),
        "left_nano": left_nano,
    }


def moment(at_ms: int) -> str:
    """A time in RFC 3339, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _usd(nano: int) -> msgspec.Raw:
    """An amount as a JSON number with all of its digits."""
    return msgspec.Raw(usd_text(nano).encode())
