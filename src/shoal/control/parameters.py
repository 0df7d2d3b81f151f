"""What requests have in common: ids in paths, versions, pages of lists and the cursors that lead from one to the next."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from litestar import Response
from litestar.params import HeaderParameter, Parameter, QueryParameter
from msgspec import Meta

from shoal.core.errors import Fault
from shoal.storage.pages import Mark

Row = TypeVar("Row")
View = TypeVar("View")

MOST_ROWS = 200
Id = Annotated[str, Parameter(min_length=1, max_length=64)]
Limit = Annotated[int, Parameter(ge=1, le=MOST_ROWS, description="The most entries of a page.")]
Cursor = Annotated[str | None, Parameter(max_length=512, description="`next` of the page before.")]
IfMatch = Annotated[
    str | None, HeaderParameter(name="if-match", max_length=64, required=False, description="The version that was seen, as its ETag.")
]
QueryVersion = Annotated[
    int | None, QueryParameter(name="version", ge=1, lt=2**53, description="The version that was seen; If-Match may say it instead.")
]
Version = Annotated[int, Meta(ge=1, lt=2**53, description="The version that was seen; If-Match may say it instead.")]


class Page(msgspec.Struct, Generic[View], frozen=True):
    """A part of a list. `next` is the cursor of the part that follows; null: there is none."""

    data: list[View]
    next: str | None


def paged(rows: Sequence[Row], limit: int, show: Callable[[Row], View], mark: Callable[[Row], Mark]) -> Page[View]:
    """A page of `rows`, of which one more than `limit` were read, so that it is known whether there are others."""
    shown = rows[:limit]
    following = write_cursor(mark(shown[-1])) if len(rows) > limit else None
    return Page([show(row) for row in shown], following)


def by_age(row: Any) -> Mark:
    """The mark of a list that is ordered by age."""
    return (row.created_at_ms, row.id)


def by_number(row: Any) -> Mark:
    """The mark of a list that is ordered by its numbers."""
    return (row.id,)


def write_cursor(mark: Mark) -> str:
    """A cursor that begins behind this row."""
    return base64.urlsafe_b64encode(msgspec.json.encode(mark)).decode().rstrip("=")


Big = Annotated[int, Meta(ge=-(2**62), le=2**62)]
AGE = msgspec.json.Decoder(tuple[Big, Annotated[str, Meta(max_length=128)]])
NUMBER = msgspec.json.Decoder(tuple[Big])


def read_cursor(cursor: str | None, decoder: msgspec.json.Decoder[Any]) -> Any:
    """The mark behind a cursor, None for the first page. Errors: Fault invalid_value."""
    if cursor is None:
        return None
    try:
        mark = decoder.decode(base64.urlsafe_b64decode(cursor.encode("ascii", "replace") + b"=="))
    except (binascii.Error, msgspec.DecodeError):
        mark = None
    if mark is None or any(isinstance(value, str) and "\0" in value for value in mark):
        raise Fault("invalid_value", "The cursor is none of this list; take `next` of a page as it is.", param="cursor")
    return mark


class Seen(msgspec.Struct, frozen=True):
    """The version that somebody saw, and where it was said."""

    version: int
    by_header: bool

    def explain(self, fault: Fault) -> Fault:
        """A conflict as whoever sent If-Match expects it: 412 (RFC 9110, 13.1.1)."""
        if self.by_header and fault.kind == "conflict" and fault.param == "version":
            return Fault("precondition_failed", fault.message, param="If-Match")
        return fault


def seen_version(version: int | msgspec.UnsetType, if_match: str | None) -> Seen:
    """The version that a request is about. Errors: Fault missing_parameter, invalid_value."""
    if if_match is not None:
        bare = if_match.strip().removeprefix("W/").strip('"')
        if not bare.isascii() or not bare.isdigit() or len(bare) > 15:
            raise Fault("invalid_value", 'If-Match must be the ETag of what is changed, such as "3".', param="If-Match")
        return Seen(int(bare), by_header=True)
    if isinstance(version, msgspec.UnsetType):
        raise Fault("missing_parameter", "Say which version you have seen: `version`, or If-Match with its ETag.", param="version")
    return Seen(version, by_header=False)


def versioned(view: Any, status: int = 200) -> Response[Any]:
    """An answer with its version as ETag."""
    return Response(view, status_code=status, headers={"etag": f'"{view.version}"'})
