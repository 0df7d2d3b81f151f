"""What benchmarks put into Shoal's own store, and what they read there: organisations with money, keys on terms, and whether the books are
right. Beside a server that runs, as the command line does it.
"""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from load import NO_ANSWER, Reply
from sqlalchemy import text

from shoal.core.terms import Terms
from shoal.storage.organisations import OrganisationEdit
from shoal.storage.store import Store, open_store

Result = TypeVar("Result")
NANO = 10**9
"""Nano-USD in a USD."""
WATCH_S = 0.002


def in_store(address: str | Path, act: Callable[[Store], Awaitable[Result]]) -> Result:
    """Do something in a store: of an SQLite file, or of a URL."""

    async def run() -> Result:
        store = await open_store(address)
        try:
            return await act(store)
        finally:
            await store.close()

    return asyncio.run(run())


class Firm(NamedTuple):
    """A prepaid organisation, its key, and what a caller sends to use it."""

    org_id: str
    key_id: str
    headers: dict[str, str]


def found(address: str | Path, usd: int, **terms: Any) -> Firm:
    """A prepaid organisation with so much in its wallet, and a key on these terms."""

    async def act(store: Store) -> Firm:
        organisation = await store.organisations.create(OrganisationEdit(name="bench"), actor="bench")
        (project,) = await store.projects.list_of(organisation.id)
        await store.ledger.top_up(organisation.id, usd * NANO, "admin", "first", actor="bench")
        key, secret = await store.keys.make(organisation.id, project.id, "bench", terms=Terms(**terms))
        return Firm(organisation.id, key.id, {"authorization": f"Bearer {secret}"})

    return in_store(address, act)


class Books(NamedTuple):
    """What the store says of one organisation, in nano-USD. `charged` is by request; `errors` is what the nightly check finds."""

    balance: int
    postings: int
    leases: int
    charged: Mapping[str, int]
    errors: list[str]


_BALANCE = text("SELECT balance_nano FROM accounts WHERE id = :account")
_POSTINGS = text("SELECT coalesce(sum(amount_nano), 0) FROM postings WHERE account_id = :account")
_LEASES = text("SELECT count(*) FROM leases WHERE org_id = :org_id")
_CHARGED = text("SELECT request_id, coalesce(charged_nano, 0) FROM requests WHERE org_id = :org_id")


def read_books(address: str | Path, org_id: str) -> Books:
    """The books of an organisation, and the proof of all books."""

    async def act(store: Store) -> Books:
        names = {"account": f"wallet/{org_id}", "org_id": org_id}
        async with store.engine.connect() as connection:
            balance, postings = [
                int((await connection.execute(one, {"account": names["account"]})).scalar_one()) for one in (_BALANCE, _POSTINGS)
            ]
            leases = int((await connection.execute(_LEASES, {"org_id": org_id})).scalar_one())
            charged = {row[0]: int(row[1]) for row in await connection.execute(_CHARGED, {"org_id": org_id})}
        return Books(balance, postings, leases, charged, await store.ledger.check())

    return in_store(address, act)


class Answered(NamedTuple):
    """A whole answer that a caller received: the request's id, and what it said that it cost, in nano-USD."""

    request_id: str
    nano: int


def read_answer(reply: Reply, stream: bool) -> Answered | str:
    """What a caller got: an answer whole, or why not, "STATUS CODE" for an error of the gateway's."""
    if reply.status == NO_ANSWER:
        return reply.why
    try:
        if reply.status != 200:
            return f"{reply.status} {json.loads(reply.body)['error']['code']}"
        if not stream:
            cost = json.loads(reply.body, parse_float=Decimal)["usage"]["cost"]
        else:
            events = [event[6:] for event in reply.body.split(b"\n\n") if event.startswith(b"data: ")]
            if events[-1] != b"[DONE]":
                return f"a stream ended with {json.loads(events[-1])['error']['code']}"
            cost = next(json.loads(one, parse_float=Decimal) for one in reversed(events) if b'"cost"' in one)["usage"]["cost"]
        return Answered(reply.heads["x-request-id"], int(cost * NANO))
    except (ValueError, KeyError, IndexError, TypeError, StopIteration) as error:
        return f"cannot be read: {error!r}"


class Compared(NamedTuple):
    """Whole answers against the books: how many are not there, and of how many the charge is another than they said."""

    missing: int
    different: int


def compare(answers: list[Answered], books: Books) -> Compared:
    """Whether every answer is in the books, with the charge that it told of."""
    found = [(one, books.charged.get(one.request_id)) for one in answers]
    return Compared(sum(charged is None for _, charged in found), sum(charged not in (None, one.nano) for one, charged in found))


class Watch(threading.Thread):
    """Looks at a wallet in an SQLite file all the time. In nano-USD: the least and the most that was in it, and that was free in it."""

    def __init__(self, file: Path, org_id: str) -> None:
        super().__init__(daemon=True)
        self._file, self._org_id = file, org_id
        self._over = threading.Event()
        self.least_balance = self.least_free = 2**62
        self.most_balance = self.looks = 0

    def run(self) -> None:
        """Look until `stop`."""
        query = (
            "SELECT balance_nano, (SELECT coalesce(sum(amount_nano), 0) FROM leases WHERE leases.org_id = accounts.org_id) "
            "FROM accounts WHERE id = ?"
        )
        store = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, timeout=30)
        while not self._over.wait(WATCH_S):
            balance, lent = store.execute(query, (f"wallet/{self._org_id}",)).fetchone()
            self.least_balance, self.most_balance = min(self.least_balance, balance), max(self.most_balance, balance)
            self.least_free = min(self.least_free, balance - lent)
            self.looks += 1
        store.close()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()
