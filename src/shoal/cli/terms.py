"""The terms of a key as they are typed: amounts in USD, lists with commas, times such as 30d or 2027-01-31."""

import re
from datetime import UTC, datetime, timedelta

import msgspec

from shoal.core.errors import Fault
from shoal.core.money import nano_from_usd
from shoal.core.terms import ENDPOINTS, Terms, unknown_endpoint

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def read_terms(**typed: str | int | list[str] | None) -> Terms:
    """Terms from what was typed, by the names of their fields; amounts by `daily`, `weekly`, `monthly`, `total`. Errors: Fault."""
    values: dict[str, object] = {}
    for name, value in typed.items():
        if value is None or value == []:
            continue
        if name in ("daily", "weekly", "monthly", "total"):
            values[f"{name}_nano"] = _nano(str(value))
        elif name == "metadata":
            values[name] = dict(_pair(str(one)) for one in value)  # type: ignore[union-attr]
        elif isinstance(value, list):
            values[name] = [part.strip() for one in value for part in one.split(",") if part.strip()]
        else:
            values[name] = value
    unknown = unknown_endpoint(tuple(values.get("endpoints", ())))  # type: ignore[arg-type]
    if unknown is not None:
        raise Fault("invalid_value", f"--endpoints: there is no {unknown[:64]!r}; there are {', '.join(ENDPOINTS)}.")
    try:
        return msgspec.convert(values, Terms)
    except (msgspec.ValidationError, ValueError) as error:
        what, _, where = str(error).partition(" - at `$.")
        place = where.rstrip("`").partition("[")[0].removesuffix("_nano")
        raise Fault("invalid_value", f"{f'--{place}: ' if place else ''}{what.replace('`', '')}", param=place or None) from None


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise Fault("invalid_value", f"--metadata: {text[:64]!r} is not NAME=VALUE.")
    return name.strip(), value.strip()


def _nano(text: str) -> int:
    try:
        return nano_from_usd(text)
    except ValueError as error:
        raise Fault("invalid_value", str(error)) from None


def read_expiry(text: str | None, now: datetime) -> int | None:
    """Milliseconds since 1970: so long from now (90m, 12h, 30d, 4w), or a date or time (UTC, unless it says otherwise). Errors: Fault."""
    if text is None:
        return None
    span = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    try:
        if span:
            then = now + timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            then = datetime.fromisoformat(text)
            then = then if then.tzinfo else then.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Fault("invalid_value", f"--expires: {text!r} is neither a time from now, such as 30d or 12h, nor a date.") from None
    if then <= now:
        raise Fault("invalid_value", f"--expires: {text} has passed.")
    return int(then.timestamp() * 1000)
