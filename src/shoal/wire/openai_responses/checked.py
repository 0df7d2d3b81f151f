"""What is wrong with a request, named by its place."""

from collections.abc import Collection

import msgspec

from shoal.core.errors import Fault

ABSENT = msgspec.Raw(b"null")
"""What is absent reads as null: msgspec takes no Raw in a union."""


def wrong_value(place: str, value: str | None, allowed: Collection[str]) -> Fault:
    """A member that must be one of a few words."""
    words = ", ".join(f"'{word}'" for word in sorted(allowed))
    return Fault("invalid_value", f"Invalid value for '{place}': {value!r}. Supported values are: {words}.", param=place)


def missing(place: str) -> Fault:
    """A member that must be there."""
    return Fault("missing_parameter", f"Missing required parameter: '{place}'.", param=place)
