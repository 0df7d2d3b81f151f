"""The endpoints that answer from memory or with one look into the store: health, metrics, models, receipts, a caller's own key."""

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import parse_qs

import msgspec

from shoal.core.errors import Fault
from shoal.core.identity import Principal
from shoal.core.lending import Spent
from shoal.gateway import own_key
from shoal.gateway.scopes import shows
from shoal.net.exchange import JSON, Exchange
from shoal.wire.openai_responses import history

_RECEIPT_ID = re.compile(r"req_[0-9a-f]{32}")


class Standing(msgspec.Struct):
    """Whether this process should get new requests, and if not, why."""

    draining: bool = False


class Cards(Protocol):
    """The models within reach, as callers see them."""

    def cards(self, org_id: str) -> Sequence[Any]:
        """All that an organisation knows."""

    def card(self, model: str, org_id: str) -> Any:
        """One of them. Errors: Fault model_not_found."""

    async def look(self, names: Sequence[str]) -> None:
        """Look again for models that may have come a moment ago."""


class Stored(Protocol):
    """A stored response."""

    response: bytes
    input: list[msgspec.Raw]


class Responses(Protocol):
    """Stored responses; a key sees its own only."""

    async def find(self, response_id: str, key_id: str) -> Any:
        """One of them (Stored), or None."""

    async def delete(self, response_id: str, key_id: str) -> bool:
        """Delete one; False when there is none such."""


class Status(msgspec.Struct, frozen=True):
    """What the endpoints tell. `waits_for` says what readiness lacks, or None; `find_receipt` takes the ids of a request and a key,
    `find_spent` that of a key."""

    standing: Standing
    waits_for: Callable[[], str | None]
    metrics: Callable[[], bytes]
    models: Cards
    find_receipt: Callable[[str, str], Awaitable[bytes | None]]
    responses: Responses
    find_spent: Callable[[str], Awaitable[Spent]]


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


async def models(exchange: Exchange, status: Status, name: str, principal: Principal) -> None:
    """`GET /v1/models` and `/v1/models/{id}`: OpenAI's shape, with prices, lengths and abilities. Errors: Fault model_not_found."""
    if name:
        await status.models.look((name,))
        card = status.models.card(name, principal.org_id)
        if not shows(principal, card.id, card.providers):
            text = f"The model {name[:100]!r} is not one that this key may use; GET /v1/models lists those."
            raise Fault("model_not_found", text, param="model")
        body = _show(card)
    else:
        cards = (card for card in status.models.cards(principal.org_id) if shows(principal, card.id, card.providers))
        body = {"object": "list", "data": [_show(card) for card in cards]}
    exchange.answer(200, [JSON], msgspec.json.encode(body))


def _show(card: Any) -> dict[str, Any]:
    return {"object": "model", **msgspec.to_builtins(card)}


async def key(exchange: Exchange, status: Status, name: str, principal: Principal) -> None:
    """`GET /v1/key`: the caller's own limits, and what it has used of them. Errors: Fault unknown_url."""
    if name:
        raise Fault("unknown_url", "A key can look at itself alone: GET /v1/key.")
    exchange.answer(200, [JSON], own_key.show(principal, await status.find_spent(principal.key_id), time.time()))


async def receipts(exchange: Exchange, status: Status, request_id: str, principal: Principal) -> None:
    """`GET /v1/receipts/{request_id}`: a caller's own receipts only. Errors: Fault not_found."""
    found = await status.find_receipt(request_id, principal.key_id) if _RECEIPT_ID.fullmatch(request_id) else None
    if found is None:
        raise Fault("not_found", "No request of this key has that id; ids are in the header x-request-id of every answer.")
    exchange.answer(200, [JSON], found)


async def responses(exchange: Exchange, status: Status, name: str, principal: Principal) -> None:
    """`GET` and `DELETE /v1/responses/{id}`, `GET /v1/responses/{id}/input_items`. Errors: Fault not_found."""
    response_id, _, what = name.partition("/")
    if exchange.method == b"DELETE" and not what:
        if not await status.responses.delete(response_id, principal.key_id):
            raise history.not_found(response_id)
        exchange.answer(200, [JSON], history.deleted(response_id))
        return
    found: Stored | None = await status.responses.find(response_id, principal.key_id)
    if found is None or what not in ("", "input_items"):
        raise history.not_found(response_id)
    exchange.answer(200, [JSON], _page(found, response_id, exchange.query) if what else found.response)


def _page(found: Stored, response_id: str, query: bytes) -> bytes:
    asked = {name: values[-1] for name, values in parse_qs(query.decode("latin-1")).items()}
    return history.page(found.input, response_id, limit=asked.get("limit"), order=asked.get("order"), after=asked.get("after"))
