"""Regular expressions and formats of JSON Schema as grammar expressions for the inside of a JSON string.

Tightened, never widened: the whole string matches (JSON Schema only asks that some part does), and characters that JSON must escape
as \\u.... are left out. What a grammar cannot say (lookaround, backreferences, word boundaries) is refused.
"""

import re
import warnings
from collections.abc import Iterable
from typing import Any

CHARACTER = r'([^"\\\x00-\x1f\x7f] | "\\" ["\\/bfnrt])'
"""One character inside a JSON string, escaped or not."""

_MOST_REPEATS = 256  # each costs the compiler a state
_PRINTABLE = [(0x20, 0x7E), (0xA0, 0xD7FF), (0xE000, 0xFFFD), (0x10000, 0x10FFFF)]
_ESCAPED = {0x22: r'"\\\""', 0x5C: r'"\\\\"', 0x08: r'"\\b"', 0x0C: r'"\\f"', 0x0A: r'"\\n"', 0x0D: r'"\\r"', 0x09: r'"\\t"'}
_SPECIAL = (0x2D, 0x5B, 0x5D, 0x5E)  # - [ ] ^ mean something in a set even when they are written as a code, so they stand outside
_DIGIT, _SPACE = [(0x30, 0x39)], [(0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)]
_WORD = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)]
Ranges = list[tuple[int, int]]

_DATE = r"(19|20)\d\d-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,3})?(Z|[+-](0\d|1[0-4]):[0-5]\d)"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_LABEL = r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,3}}\.[a-z]{{2,10}}"
_DURATION_TIME = r"T(\d{1,4}H(\d{1,4}M)?(\d{1,4}S)?|\d{1,4}M(\d{1,4}S)?|\d{1,4}S)"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": rf"{_DATE}T{_TIME}",
    "duration": rf"P(\d{{1,4}}W|(\d{{1,4}}Y)(\d{{1,4}}M)?(\d{{1,4}}D)?({_DURATION_TIME})?|\d{{1,4}}D({_DURATION_TIME})?|{_DURATION_TIME})",
    "email": rf"[A-Za-z0-9]([A-Za-z0-9_+-]|\.[A-Za-z0-9]){{0,30}}@{_HOST}",
    "hostname": _HOST,
    "ipv4": rf"{_BYTE}(\.{_BYTE}){{3}}",
    "ipv6": r"[0-9a-f]{1,4}(:[0-9a-f]{1,4}){7}",
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "uri": rf"https?://{_HOST}(/[A-Za-z0-9._~-]*){{0,6}}(\?[A-Za-z0-9._~=&-]*)?(#[A-Za-z0-9._~-]*)?",
}
"""format -> expression: RFC 3339 (date, time, duration; 28 days in February), 5321, 1123, 4291, 4122, 3986, each a common subset."""


def quote(text: str) -> str:
    """A literal of the grammar."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\x7f", "\\x7f")
    return f'"{escaped}"'


class BadPattern(Exception):
    """The expression cannot be turned into a grammar; the message says which part of it."""


def write_pattern(pattern: str) -> tuple[str, int, int | None]:
    """A grammar expression for strings that match `pattern` as a whole, and their least and greatest length. Raises BadPattern."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            compiled = re.compile(pattern)
            parsed = re._parser.parse(pattern)  # type: ignore[attr-defined]
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise BadPattern(f"is not a regular expression that can be read: {error}") from error
    if compiled.flags & ~re.UNICODE:
        raise BadPattern("uses inline flags, which cannot be enforced")
    least, most = parsed.getwidth()
    return _write_all(list(parsed), True, True), least, most if most < 10_000 else None


def _write_all(items: list[Any], first: bool, last: bool) -> str:
    parts = [_write_item(item, first and i == 0, last and i == len(items) - 1) for i, item in enumerate(items)]
    return " ".join(part for part in parts if part) or '""'


def _write_item(item: Any, first: bool, last: bool) -> str:
    kind, value = str(item[0]), item[1]
    match kind:
        case "LITERAL":
            return _write_ranges([(value, value)])
        case "NOT_LITERAL":
            return _write_ranges(_invert([(value, value)]))
        case "ANY":
            return CHARACTER
        case "IN":
            return _write_ranges(_read_set(value))
        case "BRANCH":
            return f"({' | '.join(_write_all(list(branch), first, last) for branch in value[1])})"
        case "SUBPATTERN":
            return f"({_write_all(list(value[3]), first, last)})"
        case "MAX_REPEAT" | "MIN_REPEAT":
            return _write_repeat(value, first, last)
        case "AT":
            return _write_anchor(str(value), first, last)
    raise BadPattern(f"uses {kind.lower()}, which cannot be enforced; use literals, sets, groups, alternatives and repetition")


def _write_repeat(value: Any, first: bool, last: bool) -> str:
    least, most, body = int(value[0]), value[1], list(value[2])
    inner = _write_all(body, first and least == most == 1, last and least == most == 1)
    endless = str(most) == "MAXREPEAT"
    if least > _MOST_REPEATS or (not endless and int(most) > _MOST_REPEATS):
        raise BadPattern(f"repeats more than {_MOST_REPEATS} times, which cannot be enforced")
    unit = inner if re.fullmatch(r"\[[^\[\]]*\]", inner) else f"({inner})"
    if endless and least < 2:
        return unit + "*+"[least]
    return f"{unit}{{{least},{'' if endless else int(most)}}}"


def _write_anchor(place: str, first: bool, last: bool) -> str:
    if (place in ("AT_BEGINNING", "AT_BEGINNING_STRING") and first) or (place in ("AT_END", "AT_END_STRING") and last):
        return ""
    raise BadPattern("has an anchor or a word boundary inside, which cannot be enforced")


def _read_set(items: Iterable[Any]) -> Ranges:
    ranges: Ranges = []
    negated = False
    for item in items:
        kind, value = str(item[0]), item[1]
        if kind == "NEGATE":
            negated = True
        elif kind == "LITERAL":
            ranges.append((value, value))
        elif kind == "RANGE":
            ranges.append((value[0], value[1]))
        elif kind == "CATEGORY":
            ranges += _read_category(str(value))
        else:
            raise BadPattern(f"has {kind.lower()} in a set, which cannot be enforced")
    return _invert(ranges) if negated else ranges


def _read_category(name: str) -> Ranges:
    known = {"DIGIT": _DIGIT, "SPACE": _SPACE, "WORD": _WORD}
    plain = name.removeprefix("CATEGORY_").removeprefix("NOT_")
    if plain not in known:
        raise BadPattern(f"uses {name.lower()}, which cannot be enforced")
    return _invert(known[plain]) if "NOT_" in name else known[plain]


def _invert(ranges: Ranges) -> Ranges:
    """Printable characters that are in none of `ranges`."""
    out: Ranges = []
    for low, high in _PRINTABLE:
        at = low
        for begin, end in sorted(ranges):
            if end >= at and begin <= high:
                if begin > at:
                    out.append((at, begin - 1))
                at = max(at, end + 1)
        if at <= high:
            out.append((at, high))
    return out


def _write_ranges(ranges: Ranges) -> str:
    """One character of `ranges`, as it stands in a JSON string."""
    parts = [text for code, text in _ESCAPED.items() if any(low <= code <= high for low, high in ranges)]
    special = [code for code in _SPECIAL if any(low <= code <= high for low, high in ranges)]
    plain = _intersect(_intersect(ranges, _PRINTABLE), _invert([(code, code) for code in (0x22, 0x5C, *_SPECIAL)]))
    parts = [f'"{chr(code)}"' for code in special] + parts
    if plain:
        parts.insert(0, f"[{''.join(_write_range(low, high) for low, high in plain)}]")
    if not parts:
        raise BadPattern("asks for a control character, which is not written")
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def _intersect(left: Ranges, right: Ranges) -> Ranges:
    pairs = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return sorted({(low, high) for low, high in pairs if low <= high})


def _write_range(low: int, high: int) -> str:
    """Characters as they are: the engine reads a code such as \\x5f on into the next letter if that is a hexadecimal digit."""
    return chr(low) if low == high else f"{chr(low)}-{chr(high)}"
