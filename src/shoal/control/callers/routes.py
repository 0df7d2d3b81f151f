"""Everything under /v1 that the desk serves, and what its requests have in common."""

from collections.abc import Sequence
from typing import Any

from litestar import Router
from litestar.di import Provide

from shoal.control.callers import completions, feedback, files, fine_tuning, models
from shoal.control.callers.given import find_caller
from shoal.control.callers.lists import LABEL
from shoal.core.errors import Fault

_NOUNS = (completions, feedback, files, fine_tuning, models)
_FILTERED = (completions.list_completions, fine_tuning.list_jobs)
"""Lists that may be asked for by metadata."""

HANDLERS: Sequence[Any] = [handler for noun in _NOUNS for handler in noun.HANDLERS]


def routes(most_bytes: int) -> Router:
    """All of them; no body may be longer than `most_bytes`."""
    return Router(
        "/v1",
        route_handlers=HANDLERS,
        dependencies={"caller": Provide(find_caller, sync_to_thread=False)},
        guards=[_refuse_unknown_queries],
        request_max_body_size=most_bytes,
        include_in_schema=False,
    )


def _refuse_unknown_queries(connection: Any, handler: Any) -> None:
    """A filter that is not understood must not be taken for none."""
    known = {field.name for field in handler.parsed_fn_signature.parameters.values()}
    filters = any(handler.fn is one.fn for one in _FILTERED)
    for name, value in connection.query_params.multi_items():
        if "\0" in name or "\0" in value:
            raise Fault("invalid_value", "Texts must not hold the character NUL.", param=name.replace("\0", "")[:64])
        if name not in known and not (filters and LABEL.fullmatch(name)):
            raise Fault("unsupported_parameter", f"There is no parameter {name[:64]!r} here.", param=name[:64])
