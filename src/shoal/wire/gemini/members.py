"""Checked access to a caller's JSON.

Google's servers read protobuf's JSON, which takes a member by its camelCase or its snake_case name and a number as a string too; Google's
own SDK mixes the cases. See https://protobuf.dev/programming-guides/json/.
"""

import re
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

import msgspec

from shoal.core.errors import Fault

_UPPER = re.compile(r"(?<!^)(?=[A-Z])")


def snake(name: str) -> str:
    """inlineData -> inline_data."""
    return _UPPER.sub("_", name).lower()


def camel(name: str) -> str:
    """inline_data -> inlineData."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class Members:
    """An object's members; `path` is where it stands in the request, for errors."""

    __slots__ = ("_value", "path")

    def __init__(self, value: dict[str, Any], path: str = "") -> None:
        self._value = value
        self.path = path

    def where(self, name: str) -> str:
        """The member's place in the request."""
        return f"{self.path}.{name}" if self.path else name

    def get(self, name: str) -> Any:
        """A member by its camelCase name, however the caller wrote it; None where it is absent or null."""
        found = self._value.get(name)
        return self._value.get(snake(name)) if found is None else found

    def text(self, name: str) -> str | None:
        """A string."""
        found: str | None = self._typed(name, str, "a string")
        return found

    def flag(self, name: str) -> bool | None:
        """A boolean."""
        found: bool | None = self._typed(name, bool, "a boolean")
        return found

    def number(self, name: str) -> float | None:
        """A number, or the text of one."""
        found = self.get(name)
        if found is None:
            return None
        try:
            number = float(found)
            if isinstance(found, bool) or not isfinite(number):
                raise ValueError
            return number
        except (TypeError, ValueError, OverflowError):
            raise self._wrong(name, "a number") from None

    def integer(self, name: str) -> int | None:
        """A whole number, or the text of one."""
        found = self.number(name)
        if found is None:
            return None
        if not found.is_integer():
            raise self._wrong(name, "an integer")
        return int(found)

    def object(self, name: str) -> "Members | None":
        """An object."""
        found = self._typed(name, dict, "an object")
        return None if found is None else Members(found, self.where(name))

    def objects(self, name: str) -> Iterator["Members"]:
        """An array of objects; a single object is an array of one, as Google's servers have it."""
        found = self.get(name)
        for index, one in enumerate(found if isinstance(found, list) else [] if found is None else [found]):
            if not isinstance(one, dict):
                raise self._wrong(f"{name}[{index}]", "an object")
            yield Members(one, f"{self.where(name)}[{index}]")

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings."""
        found = self._typed(name, list, "an array")
        if found is None:
            return ()
        if not all(isinstance(one, str) for one in found):
            raise self._wrong(name, "an array of strings")
        return tuple(found)

    def raw(self, name: str) -> msgspec.Raw | None:
        """A member as JSON."""
        found = self.get(name)
        return None if found is None else msgspec.Raw(msgspec.json.encode(found))

    def others(self, known: Iterable[str]) -> dict[str, msgspec.Raw]:
        """Members that are not among `known`, as JSON by their camelCase names; nulls are left out."""
        named = frozenset(known)
        found = {camel(name): value for name, value in self._value.items() if value is not None}
        return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in found.items() if name not in named}

    def _typed(self, name: str, kind: type[Any], called: str) -> Any:
        found = self.get(name)
        if found is not None and not isinstance(found, kind):
            raise self._wrong(name, called)
        return found

    def _wrong(self, name: str, called: str) -> Fault:
        place = self.where(name)
        return Fault("invalid_type", f"Invalid value for '{place}': it must be {called}.", param=place)


def decode(body: bytes) -> Members:
    """A request's body as an object. Errors: Fault invalid_json or invalid_type."""
    if not body:
        raise Fault("invalid_json", "The request body is empty; send a JSON object.")
    try:
        found = msgspec.json.decode(body)
    except RecursionError:
        raise Fault("invalid_json", "The request body's JSON is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault("invalid_json", f"The request body is not valid JSON: {error}.") from None
    if not isinstance(found, dict):
        raise Fault("invalid_type", "The request body must be a JSON object.")
    return Members(found)
