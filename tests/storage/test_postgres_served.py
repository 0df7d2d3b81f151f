"""A server whose PostgreSQL is killed and comes back: what was lent is spent, then callers are told, and nothing is lost."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from postgres import Cluster
from sqlalchemy import text

from caller import Answer, Caller, chat
from installation import Installation, wait_for
from shoal.core.identity import OPERATOR
from shoal.core.terms import Terms
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import open_store
from upstream import Upstream

MOST = 2_000
NANO = 10**9


@pytest.fixture
def cluster(postgres: Cluster) -> Iterator[Cluster]:
    """The one that all tests share, alive again afterwards."""
    yield postgres
    if postgres.process.poll() is not None:
        postgres.start()


def test_what_was_answered_before_between_and_after_is_charged(cluster: Cluster, upstream: Upstream, tmp_path: Path) -> None:
    address = cluster.new_database()
    config = f"""
[server]
workers = 2
drain_s = 0.3
[storage]
url = "{address}"
[providers.up]
base_url = "http://127.0.0.1:{upstream.port}/v1"
discover = false
[models.dear]
deployments = [{{ provider = "up", price = {{ input = 1.0, output = 2.0 }}, max_output_tokens = 20, context_tokens = 400 }}]
"""
    shoal = Installation(tmp_path, config).start()

    async def make() -> str:
        store = await open_store(address)
        try:
            return (await store.keys.make(OPERATOR, DEFAULT_PROJECT, "counted", terms=Terms(monthly_nano=1_000 * NANO)))[1]
        finally:
            await store.close()

    key = asyncio.run(make())
    costs: dict[str, Decimal] = {}

    def ask(with_key: str = key) -> Answer:
        with Caller(shoal.port, with_key) as caller:
            answer = caller.ask(chat("dear"))
        if answer.status == 200 and with_key == key:
            costs[answer.headers["x-request-id"]] = json.loads(answer.body, parse_float=Decimal)["usage"]["cost"]
        return answer

    for _ in range(10):
        assert ask().status == 200
        assert ask(shoal.key).status == 200
    cluster.kill()
    before = len(costs)
    refused = next(answer for _ in range(MOST) if (answer := ask()).status != 200)
    assert len(costs) > before  # what was lent is spent first
    assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (503, "overloaded", "1")
    assert "store that counts what may be spent cannot be reached" in refused.error["message"]
    assert ask(shoal.key).status == 200  # whose money nobody counts
    cluster.start()
    wait_for(lambda: ask().status == 200, "the store's return")
    assert shoal.stop() == 0
    assert "Traceback" not in shoal.log(), shoal.log()

    async def read() -> tuple[dict[str, int], list[str]]:
        store = await open_store(address)
        try:
            async with store.engine.connect() as connection:
                rows = await connection.execute(text("SELECT request_id, charged_nano FROM requests"))
                return {row[0]: row[1] for row in rows}, await store.ledger.check()
        finally:
            await store.close()

    charged, errors = asyncio.run(read())
    assert errors == []
    assert {one: charged.get(one) for one in costs} == {one: int(cost * NANO) for one, cost in costs.items()}
