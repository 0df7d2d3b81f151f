"""A key's money in a process: borrowed ahead, held and charged exactly, never more than there is, given back when it is not needed."""

import asyncio
import itertools
import random

import pytest

from lender import Clock, Lender, Till
from shoal.core.errors import Fault
from shoal.gateway import stock
from shoal.gateway.purse import Purse

KEY = "key_a"
DAY_MS = 1_800_000_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def till(clock: Clock) -> Till:
    till = Till(clock)
    till.available[KEY] = 1_000_000
    return till


async def test_the_first_hold_waits_and_the_next_ones_do_not(till: Till, clock: Clock) -> None:
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    assert not purse.take(100)
    await purse.wait(100)
    for _ in range(6):
        assert purse.take(100)
    await stock.all_home()
    assert purse.take(100)
    assert purse.open == 800
    assert purse.free + purse.open + till.available[KEY] == 1_000_000
    assert purse.lease == "lease_one_key_a"


async def test_money_is_borrowed_before_it_runs_dry(till: Till, clock: Clock) -> None:
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    await purse.wait(100)
    purse.put(100, 40)
    for _ in range(200):  # a request after the other, and the background has its turn now and then
        assert purse.take(100)
        clock.now += 0.6
        await asyncio.sleep(0)
        purse.put(100, 40)
    await stock.all_home()
    assert purse.free + purse.open + till.available[KEY] == 1_000_000 - 201 * 40
    assert len(lender.asked) < 40


async def test_what_is_not_charged_is_free_again(till: Till, clock: Clock) -> None:
    purse = Purse(KEY, Lender(till), clock)
    await purse.wait(1_000)
    free = purse.free
    purse.put(1_000, 1)
    assert (purse.free, purse.open) == (free + 999, 0)


async def test_more_than_there_is_is_refused_and_says_what_is_short(till: Till, clock: Clock) -> None:
    till.available[KEY], till.resets_at_ms = 50, DAY_MS
    purse = Purse(KEY, Lender(till), clock)
    with pytest.raises(Fault) as caught:
        await purse.wait(60)
    assert caught.value.status == 402
    assert caught.value.row.code == "insufficient_quota"
    assert "daily budget has $0.00000005 left" in caught.value.message
    assert "$0.00000006" in caught.value.message
    assert "2027-01-15T08:00:00Z" in caught.value.message
    assert caught.value.retry_after_s is None
    await purse.wait(50)
    assert (purse.free, purse.open, till.available[KEY]) == (0, 50, 0)


async def test_a_refusal_is_remembered_for_a_moment(till: Till, clock: Clock) -> None:
    till.available[KEY] = 10
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    for _ in range(5):
        with pytest.raises(Fault):
            await purse.wait(20)
    assert len(lender.asked) == 1
    till.available[KEY] = 100
    clock.now += stock.REST_S
    await purse.wait(20)
    assert purse.open == 20


async def test_open_holds_that_stand_in_the_way_are_worth_a_wait(till: Till, clock: Clock) -> None:
    till.available[KEY] = 100
    purse = Purse(KEY, Lender(till), clock)
    await purse.wait(80)
    with pytest.raises(Fault) as caught:
        await purse.wait(60)
    assert caught.value.retry_after_s == 1
    purse.put(80, 10)
    await purse.wait(60)
    other = Purse(KEY, Lender(till, "two"), clock)
    with pytest.raises(Fault) as caught:
        await other.wait(60)
    assert caught.value.retry_after_s == 1


async def test_who_needs_little_does_not_wait_behind_who_needs_much(till: Till, clock: Clock) -> None:
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    await purse.wait(10)
    purse.put(10, 0)
    lender.gate.clear()
    large = asyncio.create_task(purse.wait(5_000))
    await asyncio.sleep(0)
    assert purse.take(20)
    lender.gate.set()
    await large
    assert purse.open == 5_020


async def test_those_who_wait_are_served_in_the_order_of_coming(till: Till, clock: Clock) -> None:
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    lender.gate.clear()
    order: list[int] = []

    async def wait(amount: int) -> None:
        await purse.wait(amount)
        order.append(amount)

    tasks = [asyncio.create_task(wait(amount)) for amount in (500, 1, 400, 2)]
    await asyncio.sleep(0)
    lender.gate.set()
    await asyncio.gather(*tasks)
    assert order == [500, 1, 400, 2]


async def test_what_comes_after_its_waiter_has_gone_is_kept(till: Till, clock: Clock) -> None:
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    lender.gate.clear()
    waiter = asyncio.create_task(purse.wait(100))
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    lender.gate.set()
    await stock.all_home()
    assert purse.open == 0
    assert purse.free + till.available[KEY] == 1_000_000


async def test_a_waiter_cancelled_in_the_moment_it_is_served_gives_all_back(till: Till, clock: Clock) -> None:
    till.available[KEY] = 100
    purse = Purse(KEY, Lender(till), clock)
    await purse.wait(100)
    waiter = asyncio.create_task(purse.wait(60))
    with pytest.raises(Fault):
        await waiter
    clock.now += 1
    waiting = asyncio.create_task(purse.wait(60))
    await asyncio.sleep(0)
    purse.put(100, 0)  # serves the one who waits
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert purse.open == 0
    assert purse.free == 100


async def test_without_the_store_what_is_held_is_spent_and_then_it_ends(till: Till, clock: Clock) -> None:
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    await purse.wait(100)
    lender.away = True
    spent = 100
    with pytest.raises(Fault) as caught:
        for _ in range(1_000):
            if not purse.take(100):
                await purse.wait(100)
            spent += 100
    assert caught.value.status == 503
    assert spent <= 1_000_000 - till.available[KEY]
    assert spent > 100
    asked = len(lender.asked)
    with pytest.raises(Fault):
        await purse.wait(100)  # is not worth a look yet
    assert len(lender.asked) == asked
    lender.away = False
    clock.now += stock.REST_S
    await purse.wait(100)


async def test_a_failure_of_our_own_is_told_to_all_who_wait(till: Till, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    lender = Lender(till)
    purse = Purse("key_that_nobody_knows", lender, clock)
    results = await asyncio.gather(*(purse.wait(5) for _ in range(3)), return_exceptions=True)
    assert [getattr(one, "kind", None) for one in results] == ["internal"] * 3
    assert "could not be borrowed" in caplog.text


async def test_idle_money_goes_back(till: Till, clock: Clock) -> None:
    purse = Purse(KEY, Lender(till), clock)
    await purse.wait(100)
    for _ in range(3):
        clock.now += 0.4
        await purse.look_after(idle_after_s=5)
    assert purse.free
    clock.now += 5
    await purse.look_after(idle_after_s=5)
    assert (purse.free, purse.open, till.available[KEY]) == (0, 100, 999_900)
    purse.put(100, 0)
    clock.now += 6
    await purse.look_after(idle_after_s=5)
    assert till.available[KEY] == 1_000_000


async def test_far_too_much_goes_back_at_once(till: Till, clock: Clock) -> None:
    purse = Purse(KEY, Lender(till), clock)
    await purse.wait(200_000)
    purse.put(200_000, 0)
    purse.largest = 100
    clock.now += 0.4
    assert purse.take(100)
    await purse.look_after(idle_after_s=5)
    assert purse.free == 800
    assert purse.free + purse.open + till.available[KEY] == 1_000_000


async def test_what_cannot_be_given_back_is_free_again(till: Till, clock: Clock) -> None:
    lender = Lender(till)
    purse = Purse(KEY, lender, clock)
    await purse.wait(100)
    free, lender.away = purse.free, True
    with pytest.raises(Exception, match="nobody"):
        await purse.give_back(free)
    assert purse.free == free


@pytest.mark.parametrize("seed", range(20))
async def test_many_callers_of_many_processes_never_overdraw(till: Till, clock: Clock, seed: int) -> None:
    """Whatever the order: what was charged, is open, is free and is left always make up what there was."""
    draw = random.Random(seed)
    total = till.available[KEY] = 20_000
    purses = [Purse(KEY, Lender(till, str(number)), clock) for number in range(3)]
    charged = 0

    async def call(purse: Purse) -> None:
        nonlocal charged
        hold = draw.randrange(1, 300)
        for _ in range(20):
            try:
                if not purse.take(hold):
                    await purse.wait(hold)
                break
            except Fault as fault:
                assert fault.status == 402
                clock.now += 1
                for other in purses:
                    await other.give_back(other.free)
        else:
            return
        for _ in range(draw.randrange(4)):
            await asyncio.sleep(0)
        used = draw.randrange(hold + 1)
        charged += used
        purse.put(hold, used)
        if draw.random() < 0.1:
            clock.now += 0.4
            await purse.look_after(idle_after_s=1)
        assert charged + sum(one.free + one.open for one in purses) + till.available[KEY] <= total

    tasks = [asyncio.create_task(call(purse)) for purse in itertools.islice(itertools.cycle(purses), 400)]
    for task in tasks:
        if draw.random() < 0.05:
            task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await stock.all_home()
    assert not [one for one in results if isinstance(one, Exception) and not isinstance(one, Fault)]
    assert sum(one.open for one in purses) == 0
    assert charged + sum(one.free for one in purses) + till.available[KEY] == total
    assert charged > 0.9 * total or till.available[KEY] > 0
