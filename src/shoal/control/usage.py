"""What was used: sums by day, model, project, key or organisation, from roll-ups that are kept as requests arrive."""

from datetime import date, timedelta
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter

from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import NUMBER, Cursor, Id, Limit, Page, read_cursor, write_cursor
from shoal.core.errors import Fault
from shoal.core.money import usd_text
from shoal.storage.consumption import By, Span, Used
from shoal.storage.identifiers import now_ms
from shoal.storage.store import Store
from shoal.storage.windows import DAY_MS

_EPOCH = date(1970, 1, 1)
MOST_DAYS = 400
_USUAL_DAYS = 31
_GROUPS: dict[str, By] = {"day": "day", "model": "model", "project": "project", "key": "key", "organisation": "organisation"}

GroupBy = Annotated[
    str, Parameter(max_length=64, description="Of day, model, project, key, organisation (the operator's), one or several with commas.")
]
Day = Annotated[str | None, Parameter(pattern=r"^\d{4}-\d\d-\d\d$", description="A UTC day, such as 2026-11-25.")]
FilterId = Annotated[str | None, Parameter(max_length=64)]
FilterModel = Annotated[str | None, Parameter(max_length=512)]


class UsageView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one group used; only what it is grouped by is there. `unpriced` requests are those whose cost is not known: no sum has them."""

    day: str | None = None
    model: str | None = None
    project_id: str | None = None
    key_id: str | None = None
    organisation_id: str | None = None
    requests: int
    errors: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: str
    charged_usd: str


@get("/organisations/{org_id:str}/usage")
async def get_usage(
    org_id: Id,
    actor: GivenActor,
    store: GivenStore,
    by: GroupBy = "day",
    since: Day = None,
    until: Day = None,
    project_id: FilterId = None,
    key_id: FilterId = None,
    model: FilterModel = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[UsageView]:
    """What an organisation used; the last 31 days unless it says otherwise."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    first, last = read_days(since, until)
    span = Span(first_day=first, last_day=last, org_id=org_id, project_id=project_id, key_id=key_id, model=model)
    return await _read(store, span, by, limit, cursor)


@get("/usage")
async def get_all_usage(
    actor: GivenActor,
    store: GivenStore,
    by: GroupBy = "organisation",
    since: Day = None,
    until: Day = None,
    model: FilterModel = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[UsageView]:
    """What everybody used (the operator)."""
    actor.require_operator()
    first, last = read_days(since, until)
    return await _read(store, Span(first_day=first, last_day=last, model=model), by, limit, cursor)


HANDLERS = [get_usage, get_all_usage]


async def _read(store: Store, span: Span, by: str, limit: int, cursor: str | None) -> Page[UsageView]:
    names = by.split(",")
    if not set(names) <= _GROUPS.keys() or len(set(names)) != len(names):
        raise Fault("invalid_value", f"by must be of {', '.join(_GROUPS)}, each once, with commas between.", param="by")
    mark = read_cursor(cursor, NUMBER)
    skip = 0 if mark is None else max(0, min(mark[0], 10**9))
    rows = await store.consumption.read(span, [_GROUPS[name] for name in names], skip=skip, limit=limit + 1)
    return Page([show(row) for row in rows[:limit]], write_cursor((skip + limit,)) if len(rows) > limit else None)


def read_days(since: str | None, until: str | None) -> tuple[int, int]:
    """The first and the last day, in days since 1970. Errors: Fault invalid_value."""
    last = now_ms() // DAY_MS if until is None else _day(until, "until")
    first = last - _USUAL_DAYS + 1 if since is None else _day(since, "since")
    if not first <= last < first + MOST_DAYS:
        raise Fault("invalid_value", f"The days must be in order, and at most {MOST_DAYS}.", param="since")
    return first, last


def _day(text: str, param: str) -> int:
    try:
        return (date.fromisoformat(text) - _EPOCH).days
    except ValueError:
        raise Fault("invalid_value", f"{param} must be a day, such as 2026-11-25.", param=param) from None


def show(used: Used) -> UsageView:
    """What was used, as it is shown."""
    return UsageView(
        day=None if used.day is None else (_EPOCH + timedelta(days=used.day)).isoformat(),
        model=used.model,
        project_id=used.project,
        key_id=used.key,
        organisation_id=used.organisation,
        requests=used.requests,
        errors=used.errors,
        unpriced=used.unpriced,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cache_read_tokens=used.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens,
        reasoning_tokens=used.reasoning_tokens,
        cost_usd=usd_text(used.cost_nano),
        charged_usd=usd_text(used.charged_nano),
    )
