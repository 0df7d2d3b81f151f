"""How a request's body is read: strictly, straight into what its handler declares, and what is said of one that does not fit.

Litestar would decode first and convert later, leniently and by way of floats. Here a number never is a text, an amount never a float,
and a member that is not known is refused by name.
"""

import re
from typing import Any

import msgspec
from litestar import Request

from shoal.core.errors import Fault
from shoal.core.toml_lines import explain

MOST_BYTES = 1024 * 1024
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class AdminRequest(Request[Any, Any, Any]):
    """A request whose JSON is decoded as its handler's `data`."""

    async def json(self) -> Any:
        """The body. Errors: Fault."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Fault(
                "unsupported_media_type", f"The content type {kind[:100]!r} is not supported; send 'Content-Type: application/json'."
            )
        field = self.route_handler.parsed_data_field
        return read(await self.body(), Any if field is None else field.annotation)


def read(body: bytes, shape: Any) -> Any:
    """A body of this shape. Errors: Fault that names the parameter."""
    if _NUL.search(body):
        raise Fault("invalid_value", "Texts must not hold the character NUL.")
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise describe(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Fault("invalid_json", "The request's body is not valid JSON.") from None


def describe(text: str) -> Fault:
    """The fault behind what msgspec says of a value that does not fit."""
    what, keys = explain(text.replace(" - at `key` in `$", " - at `$"))
    param = ".".join(keys) or None
    if "there is no such key" in what:
        return Fault("unsupported_parameter", f"There is no parameter {param!r} here.", param=param)
    if (missing := re.search(r"missing required field '(.+)'", what)) is not None:
        param = ".".join([*keys, missing[1]])
        return Fault("missing_parameter", f"The parameter {param!r} is missing.", param=param)
    kind = "invalid_type" if what.startswith("Expected") and ", got " in what else "invalid_value"
    return Fault(kind, f"{param}: {what}." if param else f"{what}.", param=param)
