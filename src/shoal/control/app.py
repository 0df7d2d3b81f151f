"""What the desk serves put together: the admin API and what callers keep, what they share, how errors are said, and the OpenAPI document
of the former."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

from litestar import Litestar, Request, Response, Router, get
from litestar.config.response_cache import ResponseCacheConfig  # noqa: F401
from litestar.di import Provide
from litestar.exceptions import HTTPException, ValidationException

from shoal.control import (
    alerts,
    audit,
    books,
    codes,
    document,
    erasure,
    keys,
    members,
    organisations,
    projects,
    requests,
    statements,
    stripe,
    students,
    usage,
    wallets,
)
from shoal.control.actor import Actor
from shoal.control.callers.routes import routes
from shoal.control.gate import ACTOR, NO_STORE, Gate, store_away
from shoal.control.given import GivenActor
from shoal.control.options import Options
from shoal.control.request import MOST_BYTES, AdminRequest
from shoal.core.errors import Fault
from shoal.net.exchange import fault_headers
from shoal.net.limits import body_too_large
from shoal.storage.store import STORE_ERRORS, Store

log = logging.getLogger("shoal.control")

PREFIX = "/admin/v1"
_NOUNS = (
    *(organisations, projects, members, keys, wallets, statements, codes, stripe),
    *(alerts, usage, requests, students, erasure, audit, books),
)
HANDLERS: Sequence[Any] = [handler for noun in _NOUNS for handler in noun.HANDLERS]


def build(store: Store, options: Options) -> Gate:
    """The ASGI application, which lives as long as its store."""
    written: list[bytes] = []

    @get("/openapi.json", include_in_schema=False)
    async def get_document(actor: GivenActor) -> Response[bytes]:
        return Response(written[0], media_type="application/json")

    app = Litestar(
        [Router(PREFIX, route_handlers=[*HANDLERS, get_document], guards=[_refuse_unknown_queries]), routes(options.most_body_bytes)],
        dependencies={
            "store": Provide(lambda: store, sync_to_thread=False),
            "options": Provide(lambda: options, sync_to_thread=False),
            "actor": Provide(_find_actor, sync_to_thread=False),
        },
        exception_handlers={Exception: answer_error},
        request_class=AdminRequest,
        request_max_body_size=MOST_BYTES,
        response_headers=NO_STORE,
        openapi_config=document.CONFIG,
        logging_config=None,
        debug=False,
    )
    written.append(document.write(app, HANDLERS))
    return Gate(app, store)


def _find_actor(request: Request[Any, Any, Any]) -> Actor:
    actor = request.scope.get(ACTOR)
    if not isinstance(actor, Actor):  # the gate lets nobody by without
        raise Fault("invalid_api_key", "No API key was given.")
    return actor


def _refuse_unknown_queries(connection: Any, handler: Any) -> None:
    """A filter that is not understood must not be taken for none."""
    known = {field.name for field in handler.parsed_fn_signature.parameters.values()}
    for name in connection.query_params:
        if name not in known:
            raise Fault("unsupported_parameter", f"There is no parameter {name[:64]!r} here.", param=name[:64])
        if any("\0" in value for value in connection.query_params.getall(name)):
            raise Fault("invalid_value", "Texts must not hold the character NUL.", param=name)


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Any error in OpenAI's shape; what was not foreseen is logged, and not told."""
    fault = _explain(request, error)
    headers = {name.decode(): value.decode() for name, value in fault_headers(fault)} | NO_STORE
    return Response(fault.body(), status_code=fault.status, headers=headers, media_type="application/json")


def _explain(request: Request[Any, Any, Any], error: Exception) -> Fault:
    if isinstance(error, Fault):
        return error
    if isinstance(error, ValidationException):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _http(request, error)
    if isinstance(error, STORE_ERRORS):
        log.error("the database cannot be asked: %s", getattr(error, "orig", None) or error)
        return store_away()
    log.exception("%s %s failed for a reason of our own", request.method, request.url.path, exc_info=error)
    return Fault("internal", "The server failed on this request; it was logged.")


def _invalid(error: ValidationException) -> Fault:
    """A parameter of path, query or headers that does not fit."""
    found = error.extra[0] if isinstance(error.extra, list) and error.extra else {}
    param = str(found.get("key") or "") if isinstance(found, dict) else ""
    if param in ("", "data"):
        return Fault("invalid_json", "The request needs a JSON object as its body.")
    return Fault("invalid_value", f"{param}: {found.get('message', 'it does not fit')}.", param=param)


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Fault:
    kinds: dict[int, Literal["unknown_url", "method_not_allowed"]] = {404: "unknown_url", 405: "method_not_allowed"}
    if error.status_code == 413:
        return body_too_large(MOST_BYTES)  # of a caller's, the gateway has looked at that already
    if error.status_code in kinds:
        allowed = (error.headers or {}).get("Allow", "")
        where = f": {PREFIX}/openapi.json lists what there is" if request.url.path.startswith(PREFIX) else ""
        text = f"There is no {request.method} {request.url.path[:200]}{where}."
        return Fault(kinds[error.status_code], text, param=allowed or None)
    return Fault("invalid_request", "The request cannot be understood.")
