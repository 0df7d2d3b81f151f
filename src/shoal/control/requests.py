"""The log of requests, and each one's receipt; and what was asked and answered, where that was kept: who reads it is written down."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import get
from litestar.params import Parameter

from shoal.control.amounts import moment_ms, moment_text
from shoal.control.given import GivenActor, GivenStore
from shoal.control.parameters import AGE, Cursor, Id, Limit, Page, read_cursor, write_cursor
from shoal.control.usage import FilterId, FilterModel
from shoal.core.errors import Fault
from shoal.core.money import usd_text
from shoal.storage.request_log import Logged, Sought

When = Annotated[datetime | None, Parameter(description="RFC 3339, with its time zone.")]


class RequestView(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Amounts are US dollars; null is not known, or not reported."""

    id: str
    at: str | None
    key_id: str
    project_id: str
    endpoint: str
    requested_model: str
    model: str
    provider: str
    status: int
    stream: bool
    error_code: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: str | None
    charged_usd: str | None
    attempts: int
    overhead_ms: float
    first_token_ms: float | None
    duration_ms: float
    user: str | None


class ReceiptView(msgspec.Struct, frozen=True):
    """A request's receipt: who was asked, who answered, why, and what it cost."""

    receipt: msgspec.Raw


class BodyView(msgspec.Struct, frozen=True):
    """What was asked and answered: JSON as JSON, everything else as text."""

    request: msgspec.Raw
    response: msgspec.Raw


@get("/organisations/{org_id:str}/requests")
async def list_requests(
    org_id: Id,
    actor: GivenActor,
    store: GivenStore,
    project_id: FilterId = None,
    key_id: FilterId = None,
    model: FilterModel = None,
    status: Annotated[int | None, Parameter(ge=100, le=999)] = None,
    user: Annotated[str | None, Parameter(max_length=512)] = None,
    since: When = None,
    until: When = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[RequestView]:
    """The log, newest first; a page may be empty and still have a next one."""
    actor.require("viewer", org_id)
    await store.organisations.find(org_id)
    if project_id is not None:
        await store.projects.find(org_id, project_id)
    if key_id is not None:
        await store.key_changes.find(org_id, key_id)
    sought = Sought(
        org_id=org_id,
        project_id=project_id,
        key_id=key_id,
        model=model,
        status=status,
        user_id=user,
        from_ms=_moment(since, "since"),
        until_ms=_moment(until, "until"),
    )
    found = await store.request_log.read(sought, after=read_cursor(cursor, AGE), limit=limit)
    return Page([show(one) for one in found.requests], None if found.after is None else write_cursor(found.after))


@get("/organisations/{org_id:str}/requests/{request_id:str}")
async def get_request(org_id: Id, request_id: Id, actor: GivenActor, store: GivenStore) -> ReceiptView:
    """The receipt of a request."""
    actor.require("viewer", org_id)
    entry = await store.receipts.find(request_id)
    if entry is None or entry.org_id != org_id:
        raise Fault("not_found", f"There is no request {request_id[:64]!r}.", param="request")
    return ReceiptView(entry.receipt)


@get("/organisations/{org_id:str}/requests/{request_id:str}/body")
async def get_body(org_id: Id, request_id: Id, actor: GivenActor, store: GivenStore) -> BodyView:
    """What was asked and answered, where that was kept; the audit log says who has read it."""
    actor.require("admin", org_id)
    entry = await store.receipts.find(request_id)
    body = None if entry is None or entry.org_id != org_id else await store.bodies.find(request_id, entry.project_id)
    if body is None:
        raise Fault("not_found", f"Of a request {request_id[:64]!r} nothing is kept that was asked or answered.", param="request")
    await store.audit.record(actor.name, "request.read", org_id, request_id, {"project": body.project_id})
    return BodyView(_shown(body.request), _shown(body.response))


HANDLERS = [list_requests, get_request, get_body]


def _shown(data: bytes) -> msgspec.Raw:
    try:
        data.decode()
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.Raw(msgspec.json.encode(data.decode("utf-8", "replace")))
    return msgspec.Raw(data)


def show(one: Logged) -> RequestView:
    """A request as it is shown."""
    return RequestView(
        id=one.request_id,
        at=moment_text(one.at_ms),
        key_id=one.key_id,
        project_id=one.project_id,
        endpoint=one.endpoint,
        requested_model=one.requested_model,
        model=one.model,
        provider=one.provider,
        status=one.status,
        stream=one.stream,
        error_code=one.error_code,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
        cache_read_tokens=one.cache_read_tokens,
        cache_write_tokens=one.cache_write_tokens,
        reasoning_tokens=one.reasoning_tokens,
        cost_usd=None if one.cost_nano is None else usd_text(one.cost_nano),
        charged_usd=None if one.charged_nano is None else usd_text(one.charged_nano),
        attempts=one.attempts,
        overhead_ms=one.overhead_us / 1000,
        first_token_ms=None if one.first_token_us is None else one.first_token_us / 1000,
        duration_ms=one.duration_us / 1000,
        user=one.user_id,
    )


def _moment(moment: datetime | None, param: str) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise Fault("invalid_value", f"{param} must say its time zone, as in 2026-11-25T12:00:00Z.", param=param)
    return moment_ms(moment, param)
