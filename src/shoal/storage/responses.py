"""Stored responses: what a caller may continue by `previous_response_id`, read again, or delete.

Each belongs to the key that asked for it; to any other key it is not there. It goes after 30 days, as OpenAI documents
(https://platform.openai.com/docs/guides/conversation-state), or when its owner deletes it, and with it every way to continue it.
"""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Select, delete, func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.bulk import storable
from shoal.storage.database import writing
from shoal.storage.kept_tables import response_items, responses

RETENTION_MS = 30 * 24 * 3600 * 1000
CHAIN_MAX_RESPONSES = 500
CHAIN_MAX_BYTES = 64 * 1024 * 1024
"""What one request may continue: a longer conversation must be started anew."""

ITEMS_MAX = 1000
"""Stored items that one request may refer to."""


class Stored(msgspec.Struct, frozen=True):
    """One response: the items of its request, and the JSON object that the caller got. Times are milliseconds since 1970."""

    id: str
    previous_id: str | None
    created_at_ms: int
    expires_at_ms: int
    input: list[msgspec.Raw]
    response: bytes


class _Response(msgspec.Struct):
    id: str
    output: list[msgspec.Raw] = []


class _Item(msgspec.Struct):
    id: str | None = None


_response = msgspec.json.Decoder(_Response)
_item = msgspec.json.Decoder(_Item)
_items = msgspec.json.Decoder(list[msgspec.Raw])


class Responses:
    """The stored responses of an installation. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def save(
        self, key_id: str, response: bytes, items: Sequence[msgspec.Raw], previous_id: str | None = None, user_id: str = ""
    ) -> bool:
        """Keep a response under its own id, with the items of its request. False: it has no id to be found by, and is not kept.

        `user_id` is for whom the caller asked, so that what is stored of them can be forgotten.
        """
        try:
            seen = _response.decode(response)
        except msgspec.ValidationError:
            return False
        now = _now_ms()
        row = {
            "key_id": key_id,
            "id": seen.id,
            "previous_id": previous_id,
            "created_at_ms": now,
            "expires_at_ms": now + RETENTION_MS,
            "input": msgspec.json.encode(items),
            "response": response,
            "user_id": storable(user_id) or None,
        }
        held = {item_id for item_id in map(_id_of, seen.output) if item_id is not None}
        async with writing(self._engine).begin() as connection:
            await connection.execute(delete(responses).where(_is(key_id, seen.id)))
            await connection.execute(insert(responses).values(**row))
            if held:  # of two responses with the same item, the newer is asked
                await connection.execute(delete(response_items).where(_holds(key_id, list(held))))
                rows = [{"key_id": key_id, "item_id": item_id, "response_id": seen.id} for item_id in sorted(held)]
                await connection.execute(insert(response_items), rows)
        return True

    async def find(self, response_id: str, key_id: str) -> Stored | None:
        """A response of this key; None when it has none such, or not any more."""
        query = select(
            responses.c.id,
            responses.c.previous_id,
            responses.c.created_at_ms,
            responses.c.expires_at_ms,
            responses.c.input,
            responses.c.response,
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query.where(_is(key_id, response_id), _is_alive()))).first()
        return None if row is None else Stored(*row[:4], _items.decode(row.input), row.response)

    async def delete(self, response_id: str, key_id: str) -> bool:
        """Delete a response of this key; False when there is none such."""
        async with writing(self._engine).begin() as connection:
            found = await connection.execute(delete(responses).where(_is(key_id, response_id), _is_alive()))
        return found.rowcount > 0

    async def chain(self, response_id: str, key_id: str) -> list[msgspec.Raw]:
        """The items of the conversation up to and with this response, oldest first: each turn's input, then its output.

        Errors: Fault previous_response_not_found where it, or a response it continues, is not there; invalid_value for too long a chain.
        """
        async with self._engine.connect() as connection:
            links = (await connection.execute(_links(response_id, key_id))).all()
            _check(response_id, links)
            query = select(responses.c.id, responses.c.input, responses.c.response)
            ids = [link.id for link in links]
            rows = (await connection.execute(query.where(responses.c.key_id == key_id, responses.c.id.in_(ids)))).all()
        turns = {row.id: [*_items.decode(row.input), *_response.decode(row.response).output] for row in rows}
        return [item for found in reversed(ids) for item in turns[found]]

    async def items(self, ids: Sequence[str], key_id: str) -> dict[str, msgspec.Raw]:
        """Output items of this key's responses, by their ids; those that are not there are left out. Errors: Fault for too many."""
        if len(ids) > ITEMS_MAX:
            raise Fault("invalid_value", f"'input' refers to more than {ITEMS_MAX} stored items: send items themselves.", param="input")
        held = select(response_items.c.response_id).where(_holds(key_id, ids))
        query = select(responses.c.response).where(responses.c.key_id == key_id, responses.c.id.in_(held), _is_alive())
        async with self._engine.connect() as connection:
            bodies = (await connection.execute(query)).scalars().all()
        found = {_id_of(raw): raw for body in bodies for raw in _response.decode(body).output}
        return {item_id: found[item_id] for item_id in ids if item_id in found}

    async def expire(self) -> int:
        """Delete what is past its time, and say how many."""
        async with writing(self._engine).begin() as connection:
            return (await connection.execute(delete(responses).where(responses.c.expires_at_ms <= _now_ms()))).rowcount


def _is(key_id: str, response_id: str) -> ColumnElement[bool]:
    return (responses.c.key_id == key_id) & (responses.c.id == response_id)


def _holds(key_id: str, ids: Sequence[str]) -> ColumnElement[bool]:
    return (response_items.c.key_id == key_id) & response_items.c.item_id.in_(ids)


def _is_alive() -> ColumnElement[bool]:
    return responses.c.expires_at_ms > _now_ms()


def _links(response_id: str, key_id: str) -> Select[Any]:
    """Each response of a chain, newest first, with its size; no body is read."""
    size = func.length(responses.c.input) + func.length(responses.c.response)
    columns = (responses.c.id, responses.c.previous_id, size.label("size"))
    links = select(*columns, literal(1).label("depth")).where(_is(key_id, response_id), _is_alive()).cte(recursive=True)
    earlier = select(*columns, links.c.depth + 1).join(links, responses.c.id == links.c.previous_id)
    links = links.union_all(earlier.where(responses.c.key_id == key_id, _is_alive(), links.c.depth <= CHAIN_MAX_RESPONSES))
    return select(links).order_by(links.c.depth)


def _check(response_id: str, links: Sequence[Any]) -> None:
    if len(links) > CHAIN_MAX_RESPONSES:
        raise _too_long(f"more than {CHAIN_MAX_RESPONSES} responses")
    gone = links[-1].previous_id if links else response_id
    if gone is not None:
        text = f"Previous response with id '{gone[:200]}' not found: it was not stored, is older than 30 days, or was deleted."
        raise Fault("previous_response_not_found", text, param="previous_response_id")
    if sum(link.size for link in links) > CHAIN_MAX_BYTES:
        raise _too_long(f"more than {CHAIN_MAX_BYTES // 2**20} MiB")


def _too_long(what: str) -> Fault:
    text = f"The conversation that 'previous_response_id' continues holds {what}: start a new one, with what matters of it as input."
    return Fault("invalid_value", text, param="previous_response_id")


def _id_of(item: msgspec.Raw) -> str | None:
    try:
        return _item.decode(item).id
    except msgspec.ValidationError:
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
