"""Keys on terms, and organisations with money, put into the store of an installation that runs."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, TypeVar

from caller import Answer, Caller, get
from installation import Installation
from shoal.core.identity import OPERATOR, Kind
from shoal.core.terms import Terms
from shoal.storage.organisations import OrganisationEdit
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import Store, open_store

Result = TypeVar("Result")
USD = 10**9


def in_store(shoal: Installation, act: Callable[[Store], Awaitable[Result]]) -> Result:
    """Do something in the store beside the server."""

    async def run() -> Result:
        store = await open_store(shoal.home / "shoal.db")
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(run())


def make_key(shoal: Installation, name: str, *, kind: Kind = "inference", expires_at_ms: int | None = None, **terms: Any) -> str:
    """A key of the operator's own; its secret."""

    async def act(store: Store) -> str:
        made = await store.keys.make(OPERATOR, DEFAULT_PROJECT, name, kind=kind, terms=Terms(**terms), expires_at_ms=expires_at_ms)
        return made[1]

    return in_store(shoal, act)


def make_prepaid(shoal: Installation, name: str, wallet_nano: int, edit: dict[str, Any] | None = None, **terms: Any) -> str:
    """A key of an organisation of its own, which has paid so much; its secret."""

    async def act(store: Store) -> str:
        organisation = await store.organisations.create(OrganisationEdit(name=name, **(edit or {})), actor="test")
        (project,) = await store.projects.list_of(organisation.id)
        if wallet_nano:
            await store.ledger.top_up(organisation.id, wallet_nano, "admin", f"first of {name}", actor="test")
        return (await store.keys.make(organisation.id, project.id, name, terms=Terms(**terms)))[1]

    return in_store(shoal, act)


def ask(shoal: Installation, key: str, body: Any, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own."""
    with Caller(shoal.port, key) as caller:
        return caller.ask(body, path, headers)


def look(shoal: Installation, key: str, path: str = "/v1/key") -> Any:
    """What `GET /v1/key` tells, its numbers exact."""
    with Caller(shoal.port, key) as caller:
        caller.send(get(key, path))
        answer = caller.answer()
    assert answer.status == 200, answer.body
    return json.loads(answer.body, parse_float=Decimal, parse_int=Decimal)["data"]
