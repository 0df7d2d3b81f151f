"""Long lists by pages. A page begins behind the last row of the one before, so the thousandth costs no more than the first."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, tuple_

Mark = Sequence[int | str | bytes]
"""The values of a row in the columns that its list is ordered by."""


def cut(
    query: Select[Any], columns: Sequence[ColumnElement[Any]], after: Mark | None, limit: int | None, *, newest_first: bool = False
) -> Select[Any]:
    """The query, ordered by `columns`, which together are unique: at most `limit` rows of those behind `after`; None is no bound."""
    order = [column.desc() for column in columns] if newest_first else list(columns)
    if after is not None:
        here, mark = tuple_(*columns), tuple_(*after)
        query = query.where(here < mark if newest_first else here > mark)
    query = query.order_by(*order)
    return query if limit is None else query.limit(limit)
