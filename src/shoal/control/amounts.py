"""Money, shares and moments as the admin API says them: decimal texts for what must be exact, RFC 3339 for times.

Amounts come as JSON numbers or decimal texts, and become whole nano-USD without ever being a float.
"""

import decimal
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Final

from msgspec import Meta

from shoal.core.errors import Fault
from shoal.core.money import NANO_PER_USD, usd_text
from shoal.core.terms import MOST_NANO

Usd = Annotated[
    Decimal,
    Meta(description="US dollars, a number or a decimal text with at most nine decimals.", examples=["5.00"]),
]
Percent = Annotated[Decimal, Meta(description="Percent, a number or a decimal text with at most four decimals.", examples=["10"])]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its time zone.")]

_PPM_PER_PERCENT = 10_000
MOST_PPM: Final = 100_000_000
_EXACT = decimal.Context(prec=40, traps=[decimal.Inexact, decimal.InvalidOperation, decimal.Overflow, decimal.Subnormal])


def nano_of(amount: Decimal, param: str, *, least: int = 0) -> int:
    """Nano-USD. Errors: Fault invalid_value for what is below `least`, above all money there is, or finer than a nano-USD."""
    nano = _whole(amount, NANO_PER_USD)
    if nano is None:
        raise _bad(param, "must be a number of US dollars with at most nine decimals")
    if nano < least:
        raise _bad(param, f"must be at least {usd_text(least)} US dollars")
    if abs(nano) > MOST_NANO:
        raise _bad(param, f"must be at most {usd_text(MOST_NANO)} US dollars")
    return nano


def nano_or_none(amount: Decimal | None, param: str) -> int | None:
    """The same of what may be no amount."""
    return None if amount is None else nano_of(amount, param)


def ppm_of(percent: Decimal, param: str) -> int:
    """Millionths. Errors: Fault invalid_value."""
    ppm = _whole(percent, _PPM_PER_PERCENT)
    if ppm is None or not 0 <= ppm <= MOST_PPM:
        raise _bad(param, f"must be between 0 and {MOST_PPM // _PPM_PER_PERCENT} percent, with at most four decimals")
    return ppm


def percent_text(ppm: int) -> str:
    """Percent, without exponent or trailing zeros."""
    return usd_text(ppm * (NANO_PER_USD // _PPM_PER_PERCENT))


def require_usd(currency: str) -> None:
    """Errors: Fault invalid_value for a currency that is not kept here."""
    if currency.lower() != "usd":
        raise Fault("invalid_value", f"The currency {currency[:16]!r} is not kept here: amounts are US dollars (usd).", param="currency")


def moment_ms(moment: datetime, param: str) -> int:
    """Milliseconds since 1970. Errors: Fault invalid_value for a time before that."""
    ms = int(moment.timestamp() * 1000)
    if ms <= 0:
        raise _bad(param, "must be a moment after 1970")
    return ms


def moment_text(at_ms: int | None) -> str | None:
    """A time in RFC 3339, UTC; None stays None."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _whole(amount: Decimal, scale: int) -> int | None:
    """`amount` times `scale`; None unless that is a whole number of reasonable size."""
    if not amount.is_finite() or amount.adjusted() > 30:
        return None
    try:
        scaled = _EXACT.multiply(amount, Decimal(scale))
    except decimal.DecimalException:
        return None
    return int(scaled) if scaled == scaled.to_integral_value() else None


def _bad(param: str, what: str) -> Fault:
    return Fault("invalid_value", f"{param} {what}.", param=param)
