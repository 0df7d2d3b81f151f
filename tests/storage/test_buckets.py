"""Rates: never more than the burst at once, exactly the limit in the long run, over all processes together."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from firm import found
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lending import process

from shoal.core.terms import Terms
from shoal.storage import buckets
from shoal.storage.key_changes import KeyEdit
from shoal.storage.store import Store, open_store


class Clock:
    """Milliseconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ms = 1_700_000_000_000
        monkeypatch.setattr(buckets, "_clock_ms", self.read)

    async def read(self, _: object) -> int:
        return self.now_ms


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_a_burst_and_then_the_rate(store: Store, tmp_path: Path, clock: Clock) -> None:
    key = await (await found(store)).key(rpm=600, burst=20)
    async with process(store, tmp_path) as one, process(store, tmp_path) as two:
        assert (await one.draw(key, "requests", 1, 15, 0, 0)).granted == 15
        drawn = await two.draw(key, "requests", 1, 15, 0, 0)
        assert (drawn.granted, drawn.left) == (5, 0)
        refused = await two.draw(key, "requests", 1, 5, 5, 0)
        assert (refused.granted, refused.retry_after_s) == (0, 0.1)
        clock.now_ms += 100
        assert (await two.draw(key, "requests", 1, 5, 0, 0)).granted == 1
        clock.now_ms += 60_000
        assert (await two.draw(key, "requests", 1, 50, 1, 0)).granted == 5  # the burst, less what the other still has in hand
        assert (await one.draw(key, "requests", 0, 0, 0, 15)).left == 15


async def test_admitted_over_time_is_the_limit_to_the_unit(store: Store, tmp_path: Path, clock: Clock) -> None:
    key = await (await found(store)).key(rpm=7, burst=5)
    admitted = 0
    async with process(store, tmp_path) as lender:
        for _ in range(600):
            clock.now_ms += 997
            drawn = await lender.draw(key, "requests", 1, 1, 0, 0)
            admitted += drawn.granted
            if drawn.granted:
                await lender.draw(key, "requests", 0, 0, drawn.granted, 0)
    assert admitted == 5 + int(600 * 0.997 * 7 / 60)


async def test_requests_larger_than_reckoned_are_paid_for_by_time(store: Store, tmp_path: Path, clock: Clock) -> None:
    key = await (await found(store)).key(tpm=60_000)
    async with process(store, tmp_path) as lender:
        assert (await lender.draw(key, "tokens", 1000, 1000, 0, 0)).granted == 1000
        drawn = await lender.draw(key, "tokens", 500, 500, 7000, 0)  # 6000 more than was drawn: 2000 below zero
        assert (drawn.granted, drawn.left) == (0, 0)
        assert drawn.retry_after_s == pytest.approx(2.5)
        clock.now_ms += 2500
        assert (await lender.draw(key, "tokens", 500, 500, 0, 0)).granted == 500


async def test_parallel_requests_are_slots_that_come_back(store: Store, tmp_path: Path) -> None:
    key = await (await found(store)).key(parallel=3)
    async with process(store, tmp_path) as one, process(store, tmp_path) as two:
        assert (await one.draw(key, "parallel", 1, 3, 0, 0)).granted == 3

        async def return_when_asked() -> None:
            while (key, "parallel") not in await one.recalled():
                pass
            await one.draw(key, "parallel", 0, 0, 0, 2)

        asked = asyncio.create_task(return_when_asked())
        assert (await two.draw(key, "parallel", 1, 1, 0, 0)).granted == 1
        await asked
        assert await one.recalled() == []
        assert (await two.draw(key, "parallel", 1, 1, 0, 0)).granted == 1
        assert (await two.draw(key, "parallel", 1, 1, 0, 0)).granted == 0


async def test_slots_of_the_dead_come_back_and_their_requests_are_gone(store: Store, tmp_path: Path, clock: Clock) -> None:
    key = await (await found(store)).key(parallel=3, rpm=60, burst=10)
    async with process(store, tmp_path) as alive:
        async with process(store, tmp_path) as dying:
            await dying.draw(key, "parallel", 3, 3, 0, 0)
            await dying.draw(key, "requests", 10, 10, 0, 0)
        await store.holders.release_dead(tmp_path, store.fold(tmp_path / "journal"))
        assert (await alive.draw(key, "parallel", 3, 3, 0, 0)).granted == 3
        assert (await alive.draw(key, "requests", 1, 1, 0, 0)).granted == 0
        clock.now_ms += 10_000
        assert (await alive.draw(key, "requests", 1, 10, 0, 0)).granted == 10


async def test_a_clock_that_is_set_back_costs_nothing_more(store: Store, tmp_path: Path, clock: Clock) -> None:
    key = await (await found(store)).key(rpm=60, burst=1)
    async with process(store, tmp_path) as lender:
        assert (await lender.draw(key, "requests", 1, 1, 0, 0)).granted == 1
        clock.now_ms -= 3_600_000
        assert (await lender.draw(key, "requests", 1, 1, 1, 0)).granted == 0
        clock.now_ms += 1000
        assert (await lender.draw(key, "requests", 1, 1, 0, 0)).granted == 1


async def test_limits_are_those_of_the_moment(store: Store, tmp_path: Path, clock: Clock) -> None:
    firm = await found(store)
    key = await firm.key()
    async with process(store, tmp_path) as lender:
        assert (await lender.draw(key, "requests", 3, 5, 0, 0)).granted == 5  # there is no limit
        await store.key_changes.update(firm.id, key, 1, KeyEdit(terms=Terms(rpm=60, burst=2)), actor="test")
        assert (await lender.draw(key, "requests", 1, 5, 0, 0)).granted == 2


STEP = st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 6), st.floats(0, 1), st.integers(0, 800))


@settings(max_examples=25)
@given(st.lists(STEP, max_size=30))
def test_no_order_of_calls_exceeds_the_burst_or_the_rate(steps: list[tuple[int, int, int, float, int]]) -> None:
    """Over any span, all that processes drew less what they gave back is at most the burst and what the rate gives in that time."""

    async def run(path: Path) -> None:
        store = await open_store(path / "shoal.db")
        key = await (await found(store)).key(rpm=600, burst=8)
        with pytest.MonkeyPatch.context() as patch:
            clock = Clock(patch)
            start = clock.now_ms
            async with process(store, path) as one, process(store, path) as two:
                in_hand, out = [0, 0], 0
                for who, need, more, share, wait_ms in steps:
                    clock.now_ms += wait_ms
                    spent = int(in_hand[who] * share)
                    back = (in_hand[who] - spent) // 2
                    drawn = await (one, two)[who].draw(key, "requests", need, need + more, spent, back)
                    in_hand[who] += drawn.granted - spent - back
                    out += drawn.granted - back
                    assert drawn.granted == 0 or need <= drawn.granted <= need + more
                    assert sum(in_hand) <= 8
                    assert out <= 8 + (clock.now_ms - start) / 100
                    assert drawn.left + sum(in_hand) <= 8
        await store.close()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(Path(directory)))
