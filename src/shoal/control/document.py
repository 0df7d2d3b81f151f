"""The OpenAPI document: paths as Litestar finds them at its handlers, shapes as msgspec checks them, and one shape of every error."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from shoal import __version__


class ErrorDetail(msgspec.Struct):
    """What was wrong, and what to do; `param` is where."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(msgspec.Struct):
    """OpenAI's error object."""

    error: ErrorDetail


_KEY = SecurityScheme(type="http", scheme="bearer", description="A key for administration: `shoal keys create NAME --admin`.")
CONFIG = OpenAPIConfig(
    title="Shoal: administration",
    version=__version__,
    description="Accounts, keys and money. Amounts are US dollars as decimal texts, times RFC 3339; lists come in pages.",
    use_handler_docstrings=True,
    path="/unserved",  # what Litestar would show of it by itself lies beyond the gate
    components=Components(security_schemes={"key": _KEY}),
    security=[{"key": []}],
)
_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_QUALIFIED = re.compile(r"(?<=_)shoal\.[\w.]+\.(\w+?)(?=_)")
_CLUTTER = {"deprecated", "allowEmptyValue", "allowReserved"}


def write(app: Litestar, handlers: Iterable[HTTPRouteHandler]) -> bytes:
    """The document as JSON."""
    document = _tidy(app.openapi_schema.to_schema())
    shapes = [shape for handler in handlers for shape in _shapes(handler)]
    _, components = msgspec.json.schema_components([*shapes, Error], ref_template="#/components/schemas/{name}")
    document["components"]["schemas"] = _tidy(components)
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["summary"] = operation.pop("description").rstrip(".")
            operation["responses"].pop("400", None)  # Litestar's own shape, which nobody sees
            operation["responses"]["default"] = {"description": "What was wrong, in OpenAI's shape.", "content": _ERROR}
    return msgspec.json.encode(document)


def _shapes(handler: HTTPRouteHandler) -> Iterator[Any]:
    if handler.parsed_data_field is not None:
        yield handler.parsed_data_field.annotation
    answer = handler.parsed_fn_signature.return_type.annotation
    if get_origin(answer) is Response:
        (answer,) = get_args(answer)
    if answer is not bytes and not (isinstance(answer, type) and issubclass(answer, Response)):
        yield answer


def _tidy(value: Any) -> Any:
    """Without what says nothing, and with the names that msgspec gives to shapes."""
    if isinstance(value, dict):
        if value.get("format") == "decimal":
            value = {**value, "type": ["string", "number"]}
        return {name: _tidy(one) for name, one in value.items() if not (name in _CLUTTER and one is False)}
    if isinstance(value, list):
        return [_tidy(one) for one in value]
    return _QUALIFIED.sub(r"\1", value) if isinstance(value, str) else value
