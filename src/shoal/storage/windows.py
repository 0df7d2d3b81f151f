"""The windows of budgets: the UTC day, the ISO week, the calendar month, and all time."""

from datetime import UTC, datetime, timedelta

DAY_MS = 86_400_000


def first_days(now_ms: int) -> dict[str, int]:
    """Each window's first day, in days since 1970."""
    today = now_ms // DAY_MS
    date = _date(today)
    return {"daily": today, "weekly": today - date.weekday(), "monthly": today - date.day + 1, "total": 0}


def end_ms(window: str, now_ms: int) -> int | None:
    """When a window ends, in milliseconds since 1970; None: never."""
    first = first_days(now_ms)[window]
    if window == "total":
        return None
    days = {"daily": 1, "weekly": 7, "monthly": (_date(first + 31).replace(day=1) - _date(first)).days}
    return (first + days[window]) * DAY_MS


def _date(day: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
