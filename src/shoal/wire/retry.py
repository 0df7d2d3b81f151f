"""How long an upstream asks to be left alone: one reading of `retry-after` for every dialect and for keys that rest."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

LONGEST_S = 86_400.0


def retry_after_s(headers: Mapping[bytes, bytes]) -> float | None:
    """Seconds to wait; None where nothing usable is said.

    `retry-after` is seconds or a date (https://www.rfc-editor.org/rfc/rfc9110#field.retry-after), which counts from the answer's own
    `date`, so that no clock is needed; `retry-after-ms` is OpenAI's finer one and goes before it.
    """
    for name, scale in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        text = headers.get(name, b"").decode("latin-1").strip()
        if not text:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            found = _until(text, headers)
            if found is None:
                continue
            seconds = found
        return min(max(0.0, seconds), LONGEST_S) if isfinite(seconds) else None
    return None


def _until(date: str, headers: Mapping[bytes, bytes]) -> float | None:
    try:
        now = parsedate_to_datetime(headers.get(b"date", b"").decode("latin-1"))
        return (parsedate_to_datetime(date) - now).total_seconds()
    except (ValueError, TypeError):  # no date at all, or one of two without a zone
        return None
