"""Lists as OpenAI's SDK pages through them: in the order of time, each page behind the id that the one before ended with.

https://platform.openai.com/docs/api-reference/chat/list
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request
from litestar.params import Parameter

from shoal.core.errors import Fault

MOST_ROWS = 100
LABEL = re.compile(r"metadata\[([^\[\]]{1,64})\]")
"""A filter by metadata, as the SDK writes it."""

_MOST_LABELS = 16
After = Annotated[str | None, Parameter(max_length=256, description="The id that the page before ended with.")]
Limit = Annotated[int, Parameter(ge=1, le=MOST_ROWS)]
Order = Literal["asc", "desc"]


class ListOf(msgspec.Struct, frozen=True):
    """A part of a list. `has_more`: there is another behind it."""

    data: Sequence[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


def list_of(shown: Sequence[Any], ids: Sequence[str], has_more: bool) -> ListOf:
    """A page of what is shown, and its ids."""
    return ListOf(shown, ids[0] if ids else None, ids[-1] if ids else None, has_more)


def no_such_mark(after: str) -> Fault:
    """`after` is nothing's id."""
    return Fault("invalid_value", f"'after' must be an id of this list, and {after[:100]!r} is none.", param="after")


class Deleted(msgspec.Struct, frozen=True):
    """That something is gone."""

    id: str
    object: str
    deleted: bool = True


def read_labels(request: Request[Any, Any, Any]) -> dict[str, str]:
    """All filters `metadata[NAME]=VALUE`. Errors: Fault."""
    labels: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if (found := LABEL.fullmatch(name)) is not None:
            if found[1] in labels:
                raise Fault("invalid_value", "A name of metadata can be looked for once only.", param=name)
            labels[found[1]] = value
    if len(labels) > _MOST_LABELS:
        raise Fault("invalid_value", f"At most {_MOST_LABELS} names of metadata can be looked for.", param="metadata")
    return labels
