"""Ranges of numbers as grammar expressions: exactly the decimal texts between two bounds, so that a bound can never be overrun.

Expressions are EBNF as xgrammar and llama.cpp read it. Unbounded sides end at 15 digits, the whole numbers every JSON reader keeps exactly.
"""

from collections.abc import Iterator
from decimal import Decimal
from itertools import islice

LARGEST = 10**15 - 1
_WIDEST = Decimal(10) ** 15 - Decimal(10) ** -9  # cut to any number of digits it is all nines, which gives the shortest expression
_LISTED = 200  # multiples that are spelled out, where no simpler rule exists
_FRACTION_DIGITS = 9


class EmptyRange(Exception):
    """No number lies in the range."""


def write_integers(low: int | None, high: int | None) -> str:
    """The integers from `low` to `high`, both included; None is unbounded. Raises EmptyRange."""
    if low is None and high is None:
        return '("0" | "-"? [1-9] [0-9]{0,14})'
    return _write_scaled(-LARGEST if low is None else low, LARGEST if high is None else high, 0)


def write_decimals(low: Decimal | None, high: Decimal | None, above: bool = False, below: bool = False) -> str:
    """Numbers from `low` to `high`; `above` and `below` exclude the bound itself. Whole numbers and fractions. Raises EmptyRange."""
    if low is None and high is None:
        return '("-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,6})?)'
    exact = max(2, *(_count_fraction(bound) for bound in (low, high) if bound is not None))
    parts = []
    for digits in sorted({0, exact, _FRACTION_DIGITS}):
        try:
            parts.append(write_scaled(low, high, digits, above, below))
        except EmptyRange:
            continue
        if digits:
            break
    if not parts:
        raise EmptyRange
    return f"({' | '.join(parts)})"


def write_scaled(low: Decimal | None, high: Decimal | None, digits: int, above: bool = False, below: bool = False) -> str:
    """Numbers from `low` to `high` with exactly `digits` digits after the point. Raises EmptyRange."""
    low, high = -_WIDEST if low is None else low, _WIDEST if high is None else high
    first, last = _ceil(low.scaleb(digits)), _floor(high.scaleb(digits))
    if above and first == low.scaleb(digits):
        first += 1
    if below and last == high.scaleb(digits):
        last -= 1
    return _write_scaled(first, last, digits)


def write_multiples(step: Decimal, low: Decimal | None, high: Decimal | None) -> str:
    """Multiples of `step` > 0 between bounds, both included: exact for powers of ten, else the first 200 from the bound nearest zero."""
    digits = _count_fraction(step)
    if step == Decimal(1).scaleb(-digits):
        return write_scaled(low, high, digits)
    found = [f'"{value:f}"' for value in islice(_list_multiples(step, low, high), _LISTED)]
    if not found:
        raise EmptyRange
    return f"({' | '.join(found)})"


def _list_multiples(step: Decimal, low: Decimal | None, high: Decimal | None) -> Iterator[Decimal]:
    if high is not None and high < 0:
        count = _floor(high / step)
        while low is None or count * step >= low:
            yield count * step
            count -= 1
        return
    count = 0 if low is None or low <= 0 else _ceil(low / step)
    while high is None or count * step <= high:
        yield count * step
        count += 1


def _count_fraction(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -int(exponent))


def _ceil(value: Decimal) -> int:
    return int(value.to_integral_value("ROUND_CEILING"))


def _floor(value: Decimal) -> int:
    return int(value.to_integral_value("ROUND_FLOOR"))


def _write_scaled(first: int, last: int, digits: int) -> str:
    """The integers `first`..`last`, each shown with its last `digits` digits after a point."""
    if first > last:
        raise EmptyRange
    parts = []
    if first < 0:
        parts += [f'"-" {part}' for part in _write_magnitudes(max(1, -last), -first, digits)]
    if last >= 0:
        parts += _write_magnitudes(max(0, first), last, digits)
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _write_magnitudes(first: int, last: int, digits: int) -> list[str]:
    """One expression per number of digits."""
    parts: list[str] = []
    width = max(digits + 1, len(str(first)))
    while True:
        low = max(first, 0 if width == digits + 1 else 10 ** (width - 1))
        if low > last:
            return parts
        parts.append(_write_span(_show(low, width, digits), _show(min(last, 10**width - 1), width, digits)))
        width += 1


def _show(value: int, width: int, digits: int) -> str:
    text = str(value).zfill(width)
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def _write_span(low: str, high: str) -> str:
    """All texts of one shape from `low` to `high`: digits, with the point at the same place in both."""
    if low == high:
        return f'"{low}"'
    if set(low) <= {"0", "."} and set(high) <= {"9", "."}:
        return _write_any(low)
    if low[0] == high[0]:
        return f'"{low[0]}" {_write_span(low[1:], high[1:])}'
    if len(low) == 1:
        return f"[{low}-{high}]"
    floor, ceiling = low[1:].translate(_TO_ZERO), low[1:].translate(_TO_NINE)
    begin, end = int(low[0]), int(high[0])
    parts = []
    if low[1:] != floor:
        parts.append(f'"{begin}" {_write_span(low[1:], ceiling)}')
        begin += 1
    tail = None
    if high[1:] != ceiling:
        tail = f'"{end}" {_write_span(floor, high[1:])}'
        end -= 1
    if begin <= end:
        parts.append(f"[{begin}-{end}] {_write_any(floor)}")
    return f"({' | '.join([*parts, tail] if tail else parts)})"


_TO_ZERO = str.maketrans("123456789", "000000000")
_TO_NINE = str.maketrans("012345678", "999999999")


def _write_any(shape: str) -> str:
    """Any digits in the shape of `shape`."""
    runs = shape.split(".")
    return ' "." '.join(f"[0-9]{{{len(run)}}}" if run else '""' for run in runs)
