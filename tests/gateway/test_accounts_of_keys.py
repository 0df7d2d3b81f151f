"""What keys have borrowed in a process: followed as their terms change, given back when idle, when recalled and in the end; and holds."""

import asyncio
import contextlib
import logging

import msgspec
import pytest

from lender import Clock, Lender, Till
from shoal.core.errors import Fault
from shoal.core.identity import KeyRecord, Principal, principal_of
from shoal.core.models import Deployment
from shoal.core.money import Price
from shoal.core.terms import Terms
from shoal.gateway import accounts as module
from shoal.gateway import stock
from shoal.gateway.accounts import Accounts
from shoal.gateway.bounds import Size, most
from shoal.gateway.hold import Hold

KEY = "key_a"
RECORD = KeyRecord(KEY, "a", b"", 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def till(clock: Clock) -> Till:
    till = Till(clock)
    till.available[KEY] = 100_000
    till.rates = {(KEY, "requests"): (6_000, 200), (KEY, "tokens"): (60_000, 5_000), (KEY, "parallel"): (4, 4)}
    return till


def principal(**terms: object) -> Principal:
    return principal_of(msgspec.structs.replace(RECORD, terms=Terms(**terms)))  # type: ignore[arg-type]


ALL = principal(daily_nano=100_000, rpm=6_000, tpm=60_000, parallel=4)
BOUND = most(Size(100, 50), [Deployment("x", "x", "up", "x", Price(1_000, 2_000))])  # 200 nano-USD


async def begin(accounts: Accounts, who: Principal = ALL) -> Hold:
    """A request that holds all it needs."""
    hold = Hold(accounts.find(who))
    if not hold.try_enter():
        await hold.enter()
    if not hold.try_cover(BOUND.nano, 600):
        await hold.cover(BOUND, 600)
    return hold


async def test_a_hold_is_settled_once_and_the_rest_is_free(till: Till, clock: Clock) -> None:
    accounts = Accounts(Lender(till), clock=clock)
    account = accounts.find(ALL)
    hold = await begin(accounts)
    assert account.purse is not None
    assert account.tokens is not None
    assert account.parallel is not None
    assert (hold.nano, account.purse.open, account.parallel.open) == (200, 200, 1)
    assert hold.lease == "lease_one_key_a"
    tokens = account.tokens.free
    hold.settle(120, 50)
    assert account.purse.open == 0
    assert account.tokens.free == tokens + 550
    hold.settle(120, 50)
    hold.release()
    assert account.parallel.open == 0
    assert account.purse.free + till.available[KEY] == 100_000 - 120
    await stock.all_home()


async def test_what_is_not_settled_is_not_charged(till: Till, clock: Clock) -> None:
    accounts = Accounts(Lender(till), clock=clock)
    account = accounts.find(ALL)
    hold = await begin(accounts)
    hold.release()
    await stock.all_home()
    assert account.purse is not None
    assert account.purse.free + till.available[KEY] == 100_000
    assert account.holds == 0


async def test_a_request_that_is_refused_half_way_gives_back_what_it_had(till: Till, clock: Clock) -> None:
    till.available[KEY] = 10
    accounts = Accounts(Lender(till), clock=clock)
    account = accounts.find(ALL)
    hold = Hold(account)
    assert not hold.try_enter()
    await hold.enter()
    with pytest.raises(Fault, match="daily budget") as caught:
        await hold.cover(BOUND, 600)
    assert "A shorter request would cost less." in caught.value.message
    hold.release()
    assert account.parallel is not None
    assert account.parallel.open == 0
    assert account.tokens is not None
    assert account.tokens.spent == 0
    await stock.all_home()


async def test_a_hold_grows_as_far_as_there_is_money(till: Till, clock: Clock) -> None:
    accounts = Accounts(Lender(till), clock=clock)
    hold = await begin(accounts)
    await hold.extend(1_000)
    assert hold.nano == 1_200
    await hold.extend(10**9)
    assert hold.nano == 1_200
    hold.settle(1_200, None)
    hold.release()
    await stock.all_home()


async def test_terms_are_followed_while_requests_run(till: Till, clock: Clock) -> None:
    accounts = Accounts(Lender(till), clock=clock)
    hold = await begin(accounts)
    account = accounts.find(principal(rpm=60))
    assert account.purse is account.parallel is account.tokens is None
    assert account.requests is not None
    assert account.requests.limit == 60
    hold.settle(200, 700)
    hold.release()
    back = accounts.find(ALL)
    assert back is account
    assert back.purse is not None
    assert back.purse.open == 0
    await stock.all_home()


async def test_everything_goes_back_in_the_end(till: Till, clock: Clock) -> None:
    accounts = Accounts(Lender(till), clock=clock)
    for _ in range(5):
        hold = await begin(accounts)
        hold.settle(7, 600)
        hold.release()
    await accounts.close()
    assert till.available[KEY] == 100_000 - 5 * 7
    assert sum(till.leases.values()) == 5 * 7
    assert not any(till.lent.values())
    assert accounts.find(ALL).is_empty


@contextlib.asynccontextmanager
async def looked_after(accounts: Accounts, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Accounts that are looked after as fast as can be."""
    monkeypatch.setattr(module, "LOOK_S", 0)
    task = asyncio.create_task(accounts.run())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(what) -> None:  # type: ignore[no-untyped-def]
    """Wait until it is so."""
    async with asyncio.timeout(10):
        while not what():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)


async def test_idle_accounts_give_back_and_are_forgotten(till: Till, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    lender = Lender(till)
    accounts = Accounts(lender, clock=clock)
    hold = await begin(accounts)
    account = accounts.find(ALL)
    async with looked_after(accounts, monkeypatch):
        await until(lambda: lender.beats)
        clock.now += 30
        await until(lambda: account.purse is not None and not account.purse.free)
        assert accounts.find(ALL) is account  # a request runs
        hold.settle(50, 100)
        hold.release()
        clock.now += 30
        await until(lambda: till.available[KEY] == 100_000 - 50)
        clock.now += 30
        await until(lambda: accounts.find(ALL) is not account)


async def test_what_others_wait_for_goes_back(till: Till, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    accounts, others = Accounts(Lender(till, "one"), clock=clock), Accounts(Lender(till, "two"), clock=clock)
    hold = await begin(accounts)
    mine = accounts.find(ALL)
    assert mine.purse is not None
    till.available[KEY] = 0
    with pytest.raises(Fault):
        await begin(others)
    async with looked_after(accounts, monkeypatch):
        await until(lambda: till.available[KEY] > 0)
    assert (mine.purse.free, mine.purse.open) == (0, 200)
    hold.release()
    await stock.all_home()


async def test_that_the_store_is_away_is_said_once(
    till: Till, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "shoal.gateway")  # whatever libraries that train have made of the levels
    lender = Lender(till)
    accounts = Accounts(lender, clock=clock)
    hold = await begin(accounts)
    hold.release()
    lender.away = True
    asked = len(lender.asked)
    async with looked_after(accounts, monkeypatch):
        await until(lambda: len(lender.asked) > asked + 20)
        lender.away = False
        await until(lambda: lender.beats)
    assert caplog.text.count("cannot be borrowed") == 1
    await accounts.close()
    assert till.available[KEY] == 100_000
