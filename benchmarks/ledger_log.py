"""Millions of logged requests in SQLite: how fast the pages on usage and on the log are read then, how fast requests are still folded, and
how much room each takes.

The rows are written by the storage's own insert, roll-ups and charges, in groups that are larger than a bookkeeper's; a real request that
went through the gateway is their pattern. How fast requests come in is measured through the journal and its folder, as it happens.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import msgspec
from books import in_store
from harness import GATEWAY_CORE, QUESTION, Process, Shoal
from report import Verdict, percentile, print_table
from sqlalchemy import text

from shoal.core.ledger import Entry
from shoal.gateway.call import request_id
from shoal.storage import bulk, charges
from shoal.storage.consumption import Span
from shoal.storage.database import writing
from shoal.storage.journal import Journal
from shoal.storage.organisations import OrganisationEdit
from shoal.storage.projects import ProjectEdit
from shoal.storage.request_log import Sought
from shoal.storage.store import Store
from shoal.storage.usage import DAY_MS, Tally

ORGANISATIONS, PROJECTS, KEYS, MODELS = 20, 3, 4, 30
"""So many, so many in each organisation, in each project, and in all."""
DAYS = 90
USERS = 5_000
GROUP_ROWS = 100_000
FOLDED_ROWS = 50_000
"""Of which it is measured how fast they are folded."""
LOOKS = 60
"""How often each page is read."""


class Owner(msgspec.Struct, frozen=True):
    """A key, and whose it is."""

    org_id: str
    project_id: str
    key_id: str


def run(options: argparse.Namespace, verdict: Verdict, directory: Path, started: list[Process]) -> dict[str, object]:
    """Fill, and read."""
    upstream_port = harness.find_port()
    started.append(harness.start_upstream(upstream_port, directory))
    shoal = Shoal(directory / "log", harness.gateway_config(upstream_port), GATEWAY_CORE, name="shoal-log")
    started.append(shoal.process)
    harness.await_answer(shoal.process, shoal.url, shoal.headers, QUESTION)
    shoal.process.stop()
    file = shoal.home / "shoal.db"
    result = in_store(file, lambda store: _measure(store, shoal.home, options.rows))
    size = file.stat().st_size
    rows, before, after = result["rows"], result["folded_before"], result["folded_after"]
    pages: dict[str, list[float]] = result["pages"]
    table = [(name, percentile(ms, 0.5), percentile(ms, 0.95), max(ms)) for name, ms in pages.items()]
    print_table(f"Pages, {rows:,} requests logged, ms", ("page", "p50", "p95", "most"), table, options.markdown)
    more = [
        ("filled, rows/s", result["filled_per_s"]),
        ("folded into an empty log, requests/s", before),
        ("folded into the full one, requests/s", after),
        ("room, bytes a request", size / rows),
        ("the check of all books, s", result["check_s"]),
    ]
    print_table("The log", ("what", "measured"), more, options.markdown)
    verdict.at_least("log: requests", rows, options.rows)
    verdict.at_most("log: p95 of the slowest page, ms", max(percentile(ms, 0.95) for ms in pages.values()), 200)
    verdict.at_least("log: requests/s folded into the full log, of an empty one's", after / before, 0.8)
    verdict.at_most("log: errors that the check finds", len(result["errors"]), 0)
    return result | {"bytes_a_request": size / rows}


async def _measure(store: Store, home: Path, rows: int) -> dict[str, Any]:
    """Everything about the log, for the record."""
    async with store.engine.connect() as connection:
        row = (await connection.execute(text("SELECT * FROM requests LIMIT 1"))).one()._asdict()
    pattern = Entry(**{**row, "receipt": msgspec.Raw(row["receipt"]), "stream": bool(row["stream"]), "user_id": ""})
    owners = await _found(store)
    end_ms = time.time_ns() // 1_000_000
    entries = _invent(pattern, owners, end_ms - DAYS * DAY_MS, DAYS * DAY_MS / rows)
    before = await _fold(store, home, entries)
    began = time.perf_counter()
    filled = await _fill(store, entries, rows - 2 * FOLDED_ROWS)
    filled_per_s = filled / (time.perf_counter() - began)
    after = await _fold(store, home, entries)
    pages = {name: await _look(read) for name, read in _pages(store, owners, end_ms).items()}
    began = time.perf_counter()
    errors = await store.ledger.check()
    async with store.engine.connect() as connection:
        counted = int((await connection.execute(text("SELECT sum(requests) FROM usage_days"))).scalar_one())
    return {
        "rows": counted,
        "filled_per_s": filled_per_s,
        "folded_before": before,
        "folded_after": after,
        "pages": pages,
        "errors": errors,
        "check_s": time.perf_counter() - began,
    }


async def _found(store: Store) -> list[Owner]:
    owners = []
    for number in range(ORGANISATIONS):
        organisation = await store.organisations.create(OrganisationEdit(name=f"bench {number}", prepaid=False), actor="bench")
        for project_number in range(PROJECTS):
            project = await store.projects.create(organisation.id, ProjectEdit(name=f"project {project_number}"), actor="bench")
            for key_number in range(KEYS):
                key, _ = await store.keys.make(organisation.id, project.id, f"key {project_number} {key_number}")
                owners.append(Owner(organisation.id, project.id, key.id))
    return owners


def _invent(pattern: Entry, owners: list[Owner], from_ms: float, every_ms: float) -> Iterator[Entry]:
    """Requests of anybody, one after the other, a few of them failed."""
    values, draw = list(msgspec.structs.astuple(pattern)), random.Random(1)
    names = pattern.__struct_fields__
    at = {name: names.index(name) for name in names}
    models = [f"{pattern.model}-{number}" for number in range(MODELS)]
    at_ms = from_ms
    while True:
        at_ms += every_ms
        owner = owners[int(len(owners) * draw.random() ** 2)]  # some ask more than others
        values[at["request_id"]], values[at["at_ms"]] = request_id(at_ms / 1000), int(at_ms)
        values[at["org_id"]], values[at["project_id"]], values[at["key_id"]] = owner.org_id, owner.project_id, owner.key_id
        values[at["model"]] = models[int(MODELS * draw.random() ** 2)]
        values[at["status"]] = 200 if draw.random() < 0.98 else 502
        values[at["user_id"]] = f"user-{int(USERS * draw.random())}"
        values[at["charged_nano"]] = values[at["cost_nano"]]
        yield Entry(*values)


async def _fill(store: Store, entries: Iterator[Entry], rows: int) -> int:
    """As the folder does it, but for the journal."""
    engine, filled = writing(store.engine, durable=False), 0
    while filled < rows:
        group = [next(entries) for _ in range(min(GROUP_ROWS, rows - filled))]
        tally = Tally()
        tally.add(group)
        async with engine.begin() as connection:
            await bulk.insert(connection, group)
            await tally.save(connection)
            await charges.charge(connection, group, f"filled:{filled}")
        filled += len(group)
        if filled % (10 * GROUP_ROWS) == 0:
            print(f"({filled:,} requests)", flush=True)
    return filled


async def _fold(store: Store, home: Path, entries: Iterator[Entry]) -> float:
    """Requests a second that a bookkeeper folds."""
    journal = Journal(home / "journal", "bench")
    for _ in range(FOLDED_ROWS):
        journal.append(next(entries))
    journal.close()
    began = time.perf_counter()
    await store.recover(home / "journal")
    return FOLDED_ROWS / (time.perf_counter() - began)


def _pages(store: Store, owners: list[Owner], end_ms: int) -> dict[str, Callable[[], Awaitable[object]]]:
    """What pages ask for, each time of somebody else."""
    today = end_ms // DAY_MS

    def month(**of: str) -> Span:
        return Span(first_day=today - 30, last_day=today, **of)

    def anybody() -> Owner:
        return random.choice(owners)

    consumption, log = store.consumption, store.request_log
    return {
        "usage of an organisation by day, 30 days": lambda: consumption.read(month(org_id=anybody().org_id), ["day"]),
        "usage of an organisation by day, 90 days": lambda: consumption.read(
            Span(first_day=today - DAYS, last_day=today, org_id=anybody().org_id), ["day"]
        ),
        "usage of an organisation by model": lambda: consumption.read(month(org_id=anybody().org_id), ["model"]),
        "usage of an organisation by day and model": lambda: consumption.read(month(org_id=anybody().org_id), ["day", "model"]),
        "usage of an organisation by key": lambda: consumption.read(month(org_id=anybody().org_id), ["key"]),
        "usage of an organisation by project": lambda: consumption.read(month(org_id=anybody().org_id), ["project"]),
        "usage of a key by day": lambda: consumption.read(month(key_id=anybody().key_id), ["day"]),
        "usage of all by organisation": lambda: consumption.read(month(), ["organisation"]),
        "usage of all by day": lambda: consumption.read(month(), ["day"]),
        "spending of a key": lambda: store.spending.of(anybody().key_id, end_ms / 1000),
        "log of an organisation": lambda: log.read(Sought(org_id=anybody().org_id)),
        "log of a project": lambda: log.read(Sought(org_id=(one := anybody()).org_id, project_id=one.project_id)),
        "log of a key": lambda: log.read(Sought(org_id=(one := anybody()).org_id, key_id=one.key_id)),
        "log of an organisation's failures": lambda: log.read(Sought(org_id=anybody().org_id, status=502)),
        "log of an organisation's user": lambda: log.read(Sought(org_id=anybody().org_id, user_id=f"user-{random.randrange(USERS)}")),
        "log of an organisation a month ago": lambda: log.read(
            Sought(org_id=anybody().org_id, until_ms=end_ms - random.randrange(25, 35) * DAY_MS)
        ),
    }


async def _look(read: Callable[[], Awaitable[object]]) -> list[float]:
    """Milliseconds that a page took, each time."""
    took = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        await read()
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0)
    return took
