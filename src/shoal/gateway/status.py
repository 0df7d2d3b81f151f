"""The endpoints that answer from memory or with one look into the store: health, metrics, models, receipts."""

import re
from collections.abc import Awaitable, Callable, Iterator

import msgspec

from shoal.core.errors import Fault
from shoal.core.identity import Principal
from shoal.net.exchange import JSON, Exchange

_RECEIPT_ID = re.compile(r"req_[0-9a-f]{32}")


class Standing(msgspec.Struct):
    """Whether this process should get new requests, and if not, why."""

    draining: bool = False


class Status(msgspec.Struct, frozen=True):
    """What the endpoints tell. `waits_for` says what readiness lacks, or None; `find_receipt` takes the ids of a request and a key."""

    standing: Standing
    waits_for: Callable[[], str | None]
    metrics: Callable[[], bytes]
    listing: Callable[[], Iterator[tuple[str, str]]]
    find_receipt: Callable[[str, str], Awaitable[bytes | None]]
    started_s: int


class _Model(msgspec.Struct, frozen=True):
    id: str
    created: int
    owned_by: str
    object: str = "model"


async def healthz(exchange: Exchange, status: Status) -> None:
    """200 as long as the process answers."""
    exchange.answer(200, [JSON], b'{"status":"ok"}')


async def readyz(exchange: Exchange, status: Status) -> None:
    """200 once everything that is to be served can be, 503 before that and while draining."""
    missing = "the server is shutting down" if status.standing.draining else status.waits_for()
    if missing is None:
        exchange.answer(200, [JSON], b'{"status":"ready"}')
    else:
        exchange.answer(503, [JSON, (b"retry-after", b"1")], msgspec.json.encode({"status": "not ready", "reason": missing}))


async def metrics(exchange: Exchange, status: Status) -> None:
    """Prometheus' text format."""
    exchange.answer(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], status.metrics())


async def models(exchange: Exchange, status: Status, principal: Principal) -> None:
    """`GET /v1/models`, OpenAI's shape."""
    data = [_Model(name, status.started_s, provider) for name, provider in status.listing()]
    exchange.answer(200, [JSON], msgspec.json.encode({"object": "list", "data": data}))


async def model(exchange: Exchange, status: Status, name: str) -> None:
    """`GET /v1/models/{id}`. Errors: Fault model_not_found."""
    for known, provider in status.listing():
        if known == name:
            exchange.answer(200, [JSON], msgspec.json.encode(_Model(name, status.started_s, provider)))
            return
    raise Fault(
        "model_not_found", f"The model {name[:100]!r} does not exist here; GET /v1/models lists what can be reached.", param="model"
    )


async def receipt(exchange: Exchange, status: Status, request_id: str, principal: Principal) -> None:
    """`GET /v1/receipts/{request_id}`: a caller's own receipts only. Errors: Fault not_found."""
    found = await status.find_receipt(request_id, principal.key_id) if _RECEIPT_ID.fullmatch(request_id) else None
    if found is None:
        raise Fault("not_found", "No request of this key has that id; ids are in the header x-request-id of every answer.")
    exchange.answer(200, [JSON], found)
