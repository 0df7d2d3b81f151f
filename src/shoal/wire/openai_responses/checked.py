"""Decoding what a caller sent, so that an error names its place in the request."""

import re
from collections.abc import Collection
from typing import TypeVar

import msgspec

from shoal.core.errors import Fault

ABSENT = msgspec.Raw(b"null")
"""What is absent reads as null: msgspec takes no Raw in a union."""

T = TypeVar("T")

_PLACE = re.compile(r" - at `\$\.?(.*)`$")
_MISSING = re.compile(r"Object missing required field `(.+?)`")


def decode(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw, place: str = "") -> T:
    """JSON as the decoder wants it; `place` is where it stands in the request. Errors: Fault, naming the member."""
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _explain(str(error), place) from None
    except RecursionError:
        raise Fault("invalid_json", "The request body's JSON is nested too deeply.") from None
    except msgspec.DecodeError as error:
        text = str(error).removeprefix("JSON is malformed: ").rstrip(".")
        raise Fault("invalid_json", f"The request body is not valid JSON: {text}.") from None


def check_text(body: bytes) -> None:
    """Refuse bytes that are no UTF-8, which raw members would carry along. Errors: Fault invalid_json."""
    if not body:
        raise Fault("invalid_json", "The request body is empty; send a JSON object.")
    try:
        if not body.isascii():
            body.decode()
    except UnicodeDecodeError as error:
        raise Fault("invalid_json", f"The request body is not valid UTF-8 at byte {error.start}.") from None


def wrong_value(place: str, value: str | None, allowed: Collection[str]) -> Fault:
    """A member that must be one of a few words."""
    words = ", ".join(f"'{word}'" for word in sorted(allowed))
    return Fault("invalid_value", f"Invalid value for '{place}': {value!r}. Supported values are: {words}.", param=place)


def missing(place: str) -> Fault:
    """A member that must be there."""
    return Fault("missing_parameter", f"Missing required parameter: '{place}'.", param=place)


def _explain(text: str, place: str) -> Fault:
    found = _PLACE.search(text)
    where = join(place, found.group(1) if found else "")
    absent = _MISSING.match(text)
    if absent:
        return missing(join(where, absent.group(1)))
    what = _PLACE.sub("", text).replace("`", "'").replace(" | null", "")
    what = what[:1].lower() + what[1:]
    if not where:
        return Fault("invalid_type", f"The request body must be a JSON object: {what}.")
    kind = "invalid_value" if "of length" in what or ">=" in what or "<=" in what else "invalid_type"
    return Fault(kind, f"Invalid value for '{where}': {what}.", param=where)


def join(place: str, name: str) -> str:
    """A member's place: tools and [0] make tools[0], text and format make text.format."""
    return f"{place}{'.' if place and name and not name.startswith('[') else ''}{name}"
