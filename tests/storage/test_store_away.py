"""A PostgreSQL that is killed, and comes back: who waits is told so, what is held is spent on, and nothing is lost."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from firm import found
from postgres import Cluster

from shoal.core.errors import Fault
from shoal.core.lending import StoreAway
from shoal.storage import fold
from shoal.storage import lender as lender_module
from shoal.storage.journal import Journal
from shoal.storage.store import Store, open_store


@pytest.fixture
def cluster(postgres: Cluster) -> Iterator[Cluster]:
    """The one that all tests share, alive again afterwards."""
    yield postgres
    if postgres.process.poll() is not None:
        postgres.start()


async def test_kill_9_of_postgresql_loses_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fold, "INTERVAL_S", 0.02)
    store = await open_store(cluster.new_database())
    firm = await found(store, 1000)
    key = await firm.key()
    lender = store.lend(tmp_path)
    await lender.beat()
    grant = await lender.borrow(key, 400, 400)
    journal = Journal(tmp_path / "journal", "w0")
    folder = store.fold(tmp_path / "journal", journal)
    folding = asyncio.create_task(folder.run())
    journal.append(firm.entry(key, 50, grant.lease))

    cluster.kill()
    for _ in range(7):
        journal.append(firm.entry(key, 50, grant.lease))
    with pytest.raises(StoreAway):
        await lender.borrow(key, 100, 100)
    with pytest.raises(StoreAway):
        await lender.draw(key, "requests", 1, 1, 0, 0)
    with pytest.raises(StoreAway):
        await lender.recalled()
    await lender.give_back(key, grant.lease, 0)
    for waiting in (store.keys.find(b"x"), store.receipts.find("req_1"), store.responses.delete("resp_1", key), firm.balance()):
        with pytest.raises(Fault, match="cannot be reached") as told:
            await waiting
        assert (told.value.kind, told.value.retry_after_s) == ("overloaded", 1)
    with pytest.raises(Fault, match="does it run"):
        await open_store(store.engine.url.render_as_string(hide_password=False))
    assert not folding.done()

    cluster.start()
    journal.close()
    folder.stop()
    await folding
    assert await firm.balance() == 600
    assert (await lender.borrow(key, 600, 600)).amount_nano == 600
    lender.close()
    assert await store.holders.release_dead(tmp_path, folder) == [lender.lifeline.id]
    assert await store.ledger.check() == []
    await store.close()


async def test_nobody_waits_longer_for_a_silent_store_than_the_first(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store(cluster.new_database())
    firm = await found(store, 1000)
    key = await firm.key(rpm=60)
    lender = store.lend(tmp_path)
    await lender.beat()
    monkeypatch.setattr(lender_module, "PATIENCE_S", 0.6)
    monkeypatch.setattr(lender_module, "AGAIN_S", 0.05)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    cluster.suspend()
    try:
        asked = [lender.borrow(key, 1, 1) for _ in range(4)]
        drawn = [lender.draw(key, "requests", 1, 1, 0, 0) for _ in range(4)]
        ends = await asyncio.gather(*asked, *drawn, return_exceptions=True)
        took_s = loop.time() - begin
        begin = loop.time()
        with pytest.raises(StoreAway):
            await lender.borrow(key, 1, 1)
        again_s = loop.time() - begin
    finally:
        cluster.resume()
        monkeypatch.undo()
    assert [type(end) for end in ends] == [StoreAway] * 8
    assert took_s < 1.2  # one after the other they would take twice as long at least
    assert again_s < 0.6  # it is known to be silent
    await lender.beat()
    assert (await lender.borrow(key, 1, 1)).amount_nano
    lender.close()
    await store.close()


async def test_a_locked_file_is_told_to_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shoal.storage.database._PRAGMAS", ("PRAGMA busy_timeout = 10",))
    store: Store = await open_store(tmp_path / "shoal.db")
    with closing(sqlite3.connect(tmp_path / "shoal.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Fault, match="busy"):
            await store.keys.create("app")
        lender = store.lend(tmp_path)
        with pytest.raises(StoreAway):
            await lender.beat()
    await lender.beat()
    await store.keys.create("app")
    lender.close()
    await store.close()
