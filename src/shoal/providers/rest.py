"""How long a key rests that met a rate limit: as the answer says, in any of the ways in which providers say it.

`retry-after` is said for this very purpose. Where it is missing, the headers that the provider's row names tell when what is used up is
there again. Pure: the time is an argument.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from math import isfinite

from shoal.providers.row import RateLimits
from shoal.wire.retry import retry_after_s

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS_S = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def rest_s(headers: Mapping[bytes, bytes], limits: RateLimits, now_s: float) -> float | None:
    """Seconds, never less than 0, until there is room again; None where nothing usable is said. `now_s` counts from 1970."""
    told = retry_after_s(headers)
    if told is not None:
        return told
    pairs = ((limits.requests_remaining, limits.requests_reset), (limits.tokens_remaining, limits.tokens_reset))
    resets = [_seconds(_text(headers, reset), limits.reset, now_s) for left, reset in pairs if _text(headers, left) in ("", "0")]
    return max((max(0.0, one) for one in resets if one is not None and isfinite(one)), default=None)


def _text(headers: Mapping[bytes, bytes], name: str | None) -> str:
    return "" if name is None else headers.get(name.encode(), b"").decode("latin-1").strip()


def _seconds(text: str, form: str, now_s: float) -> float | None:
    """Seconds from now to a time that is written in one of the forms of `RateLimits.reset`."""
    try:
        match form:
            case "duration":
                found = _DURATION.fullmatch(text)
                parts = found.groups() if found and text else ()
                return sum(float(part) * unit for part, unit in zip(parts, _UNITS_S, strict=True) if part) if parts else None
            case "seconds":
                return float(text)
            case "timestamp":
                return datetime.fromisoformat(text).timestamp() - now_s
            case "unix_s":
                return float(text) - now_s
            case _:
                return float(text) / 1_000 - now_s
    except (ValueError, OverflowError):
        return None
