"""Requests, tokens and parallel requests of a key: its rate over all processes, no burst beyond the stated one, no look too many."""

import asyncio
import random

import pytest

from lender import Clock, Lender, Till
from shoal.core.errors import Fault
from shoal.gateway import stock
from shoal.gateway.rates import Bucket, duration

KEY = "key_a"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def till(clock: Clock) -> Till:
    till = Till(clock)
    till.rates = {(KEY, "requests"): (600, 20), (KEY, "tokens"): (60_000, 5_000), (KEY, "parallel"): (4, 4)}
    return till


def make(till: Till, clock: Clock, unit: str, name: str = "one", processes: int = 1) -> tuple[Bucket, Lender]:
    lender = Lender(till, name)
    bucket = Bucket(KEY, unit, lender, processes, clock)  # type: ignore[arg-type]
    bucket.set_limits(*till.rates[KEY, unit])  # type: ignore[index]
    return bucket, lender


async def admit(bucket: Bucket, amount: int = 1) -> bool:
    """Whether a request is let in."""
    try:
        if not bucket.use(amount):
            await bucket.wait_to_use(amount)
    except Fault as fault:
        assert fault.status == 429
        assert fault.row.code == "rate_limit_exceeded"
        assert fault.retry_after_s is not None
        assert fault.retry_after_s > 0
        return False
    return True


async def test_a_burst_is_as_large_as_it_is_stated_and_no_larger(till: Till, clock: Clock) -> None:
    bucket, _ = make(till, clock, "requests")
    assert [await admit(bucket) for _ in range(25)] == [True] * 20 + [False] * 5


async def test_three_processes_admit_the_rate_together(till: Till, clock: Clock) -> None:
    buckets = [make(till, clock, "requests", str(number))[0] for number in range(3)]
    draw = random.Random(7)
    admitted, times = 0, []
    for _ in range(180 * 50):  # three minutes, fifty requests a second
        clock.now += 0.02
        if await admit(draw.choice(buckets)):
            admitted += 1
            times.append(clock.now)
        if draw.random() < 0.05:
            for bucket in buckets:
                await bucket.look_after(idle_after_s=1)
    await stock.all_home()
    assert abs(admitted - (600 * 3 + 20)) <= 0.02 * 1_800
    for start in range(len(times)):  # in no window of t seconds more than the burst and t seconds' worth
        for end in (start + 20, start + 60):
            if end < len(times):
                assert end - start <= 20 + (times[end] - times[start]) * 10 + 1e-6


async def test_refusals_do_not_ask_the_store(till: Till, clock: Clock) -> None:
    bucket, lender = make(till, clock, "requests")
    for _ in range(20):
        await admit(bucket)
    assert not await admit(bucket)
    await stock.all_home()
    before = len(lender.asked)
    for _ in range(100):
        assert not await admit(bucket)
    assert len(lender.asked) == before
    clock.now += 0.101
    assert await admit(bucket)


async def test_a_refusal_says_when_to_come_again(till: Till, clock: Clock) -> None:
    bucket, _ = make(till, clock, "requests")
    for _ in range(20):
        await admit(bucket)
    with pytest.raises(Fault, match=r"limit of 600 requests per minute is reached; try again in 100ms") as caught:
        await bucket.wait_to_use(1)
    assert caught.value.retry_after_s == pytest.approx(0.1)


async def test_tokens_are_counted_as_they_turn_out(till: Till, clock: Clock) -> None:
    bucket, _ = make(till, clock, "tokens")
    assert await admit(bucket, 1_000)
    bucket.correct(1_000 - 200)
    used = 200
    while await admit(bucket, 100):
        used += 100
    assert used == 5_000


async def test_more_tokens_than_expected_are_owed(till: Till, clock: Clock) -> None:
    bucket, _ = make(till, clock, "tokens")
    assert await admit(bucket, 1_000)
    bucket.correct(1_000 - 7_000)
    assert not await admit(bucket, 1)
    clock.now += 1.9
    assert not await admit(bucket, 1)
    clock.now += 0.2
    assert await admit(bucket, 1)
    assert not await admit(bucket, 2_000)


async def test_over_time_the_tokens_are_exact(till: Till, clock: Clock) -> None:
    """Whatever was expected of each request: over minutes what was used is what the rate allows."""
    buckets = [make(till, clock, "tokens", str(number))[0] for number in range(2)]
    draw, used, under_way = random.Random(3), 0, []
    for _ in range(300 * 20):
        clock.now += 0.05
        bucket = draw.choice(buckets)
        if await admit(bucket, 800):
            under_way.append((bucket, draw.choice([10, 300, 800, 2_500])))
        if under_way and draw.random() < 0.5:
            finished, real = under_way.pop(0)
            finished.correct(800 - real)
            used += real
        if draw.random() < 0.05:
            for one in buckets:
                await one.look_after(idle_after_s=1)
    await stock.all_home()
    expected = sum(real for _, real in under_way)
    assert used + expected == pytest.approx(60_000 * 5, rel=0.03)


async def test_as_many_run_at_a_time_as_may(till: Till, clock: Clock) -> None:
    one, _ = make(till, clock, "parallel", "one")
    other, _ = make(till, clock, "parallel", "two")
    for bucket in (one, one, other, other):
        if not bucket.take(1):
            await bucket.wait(1)
    await stock.all_home()
    for bucket in (one, other):
        with pytest.raises(Fault, match="limit of 4 requests at a time is reached; wait until another request ends"):
            await bucket.wait(1)
    one.put(1, 0)
    assert one.take(1)
    one.put(1, 0)
    clock.now += 1.5
    await one.look_after(idle_after_s=1)  # sees that it was used
    clock.now += 1.5
    await one.look_after(idle_after_s=1)
    await other.wait(1)
    assert other.open == 3


async def test_what_is_idle_goes_back(till: Till, clock: Clock) -> None:
    bucket, lender = make(till, clock, "requests")
    await admit(bucket)
    await stock.all_home()
    for _ in range(3):
        clock.now += 0.6
        await bucket.look_after(idle_after_s=1)
    assert (bucket.free, bucket.spent) == (0, 0)
    assert till.lent[KEY, "requests", "one"] == 0
    before = len(lender.asked)
    clock.now += 5
    await bucket.look_after(idle_after_s=1)
    assert len(lender.asked) == before


async def test_without_the_store_each_process_serves_its_share(till: Till, clock: Clock) -> None:
    bucket, lender = make(till, clock, "requests", processes=2)
    lender.away = True
    admitted = 0
    for _ in range(60 * 50):
        clock.now += 0.02
        admitted += await admit(bucket)
    assert admitted == pytest.approx(300 + 10, abs=3)
    lender.away = False
    clock.now += 10
    assert [await admit(bucket) for _ in range(25)].count(True) in (20, 21)


async def test_without_the_store_some_still_run_at_a_time(till: Till, clock: Clock) -> None:
    bucket, lender = make(till, clock, "parallel", processes=2)
    lender.away = True
    await bucket.wait(1)
    await bucket.wait(1)
    with pytest.raises(Fault):
        await bucket.wait(1)
    bucket.put(1, 0)
    assert bucket.take(1)


async def test_a_report_that_did_not_arrive_is_made_again(till: Till, clock: Clock) -> None:
    bucket, lender = make(till, clock, "tokens")
    assert await admit(bucket, 1_000)
    await stock.all_home()
    bucket.correct(1_000 - 3_000)
    lender.away = True
    with pytest.raises(Exception, match="nobody"):
        await bucket.give_back()
    lender.away = False
    await bucket.give_back()
    assert till.levels[KEY, "tokens"] == 2_000


async def test_headers_say_what_can_be_used_now(till: Till, clock: Clock) -> None:
    bucket, _ = make(till, clock, "requests")
    await admit(bucket)
    await stock.all_home()
    assert bucket.header_lines() == (
        b"x-ratelimit-limit-requests: 600\r\nx-ratelimit-remaining-requests: 19\r\nx-ratelimit-reset-requests: 100ms\r\n"
    )
    for _ in range(19):
        await admit(bucket)
    assert b"remaining-requests: 0\r\nx-ratelimit-reset-requests: 2s\r\n" in bucket.header_lines()
    clock.now += 1
    assert b"remaining-requests: 10\r\nx-ratelimit-reset-requests: 1s\r\n" in bucket.header_lines()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.0004, "1ms"), (0.012, "12ms"), (1, "1s"), (1.5, "1.5s"), (59.9999, "1m0s"), (360, "6m0s"), (3723.25, "1h2m3.25s")],
)
def test_times_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


async def test_many_at_once_are_let_in_in_order(till: Till, clock: Clock) -> None:
    bucket, lender = make(till, clock, "requests")
    lender.gate.clear()
    order: list[int] = []

    async def come(number: int) -> None:
        await bucket.wait_to_use(1)
        order.append(number)

    tasks = [asyncio.create_task(come(number)) for number in range(10)]
    await asyncio.sleep(0)
    lender.gate.set()
    await asyncio.gather(*tasks)
    assert order == list(range(10))
