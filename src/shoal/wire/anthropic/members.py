"""Members of a caller's JSON, decoded where they stand, so that what is wrong is named by its place: `messages[0].content[1].text`."""

import re
from typing import TypeVar

import msgspec

from shoal.core.errors import Fault

T = TypeVar("T")
_PATH = re.compile(r" - at `\$(.*)`$")
_MISSING = re.compile(r"Object missing required field `(.+?)`")


class Cache(msgspec.Struct):
    """A breakpoint of the prompt cache."""

    type: str = "ephemeral"
    ttl: str | None = None


def lifetime(cache: Cache | None, where: str) -> str | None:
    """How long a breakpoint lasts. Errors: Fault for anything but 5m or 1h."""
    if cache is None:
        return None
    if cache.ttl not in (None, "5m", "1h"):
        param = f"{where}.cache_control.ttl"
        raise Fault("invalid_value", f"Invalid value for '{param}': expected 5m or 1h, got '{cache.ttl}'.", param=param)
    return cache.ttl or "5m"


def decode(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw, where: str) -> T:
    """What `raw`, found at `where`, holds. Errors: Fault invalid_type or missing_parameter."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _explain(str(error), where) from None


def _explain(text: str, where: str) -> Fault:
    found = _PATH.search(text)
    place = where + (found[1] if found else "")
    missing = _MISSING.match(text)
    if missing:
        param = f"{place}.{missing[1]}"
        return Fault("missing_parameter", f"Missing required parameter: '{param}'.", param=param)
    what = _PATH.sub("", text).replace("`", "'").replace(" | null", "")
    return Fault("invalid_type", f"Invalid value for '{place}': {what[:1].lower()}{what[1:]}.", param=place)
