"""Money that processes borrow: never more than every allowance has, given back or asked back, and free again when they die."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from firm import Firm, fold, found

from shoal.core.errors import Fault
from shoal.core.lending import StoreAway
from shoal.core.terms import Terms
from shoal.storage import leases
from shoal.storage.identifiers import now_ms
from shoal.storage.key_changes import KeyEdit
from shoal.storage.lender import StoreLender
from shoal.storage.store import Store
from shoal.storage.windows import DAY_MS, end_ms, first_days


@contextlib.asynccontextmanager
async def process(store: Store, home: Path) -> AsyncIterator[StoreLender]:
    """A process that borrows."""
    lender = store.lend(home)
    await lender.beat()
    yield lender
    lender.close()


async def give_back_what_is_asked(lender: StoreLender, free: dict[str, int]) -> None:
    """What a process does beside its requests."""
    while True:
        for key_id, what in await lender.recalled():
            assert what == "money"
            await lender.give_back(key_id, "", free.pop(key_id, 0))
        await asyncio.sleep(0.01)


async def test_a_wallet_lends_what_it_has_and_no_more(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key = await firm.key()
    async with process(store, tmp_path) as lender:
        first = await lender.borrow(key, 10, 600)
        assert (first.amount_nano, first.short) == (250, None)  # a quarter, since it needs no more
        second = await lender.borrow(key, 700, 700)
        assert (second.amount_nano, second.lease) == (700, first.lease)
        assert await firm.held() == 950
        third = await lender.borrow(key, 51, 100)
        assert third.amount_nano == 0
        assert third.short is not None
        assert (third.short.what, third.short.available_nano, third.short.in_flight, third.short.resets_at_ms) == (
            "wallet",
            50,
            False,
            None,
        )
        await lender.give_back(key, first.lease, 900)
        assert (await lender.borrow(key, 900, 900)).amount_nano == 900
    assert await firm.balance() == 1000


@pytest.mark.parametrize("window", ["daily", "weekly", "monthly", "total"])
async def test_a_budget_lends_what_its_window_has_left(store: Store, tmp_path: Path, window: str) -> None:
    firm = await found(store, 10_000)
    key = await firm.key(**{f"{window}_nano": 500})
    now = now_ms()
    before = (first_days(now)[window] * DAY_MS - 1) if window != "total" else now
    async with process(store, tmp_path) as lender:
        await fold(store, tmp_path, [firm.entry(key, 100, at_ms=now), firm.entry(key, 200, at_ms=before)])
        left = 400 if window != "total" else 200
        grant = await lender.borrow(key, left, left)
        assert grant.amount_nano == left
        refused = await lender.borrow(key, 1, 1)
        assert refused.short is not None
        assert (refused.short.what, refused.short.available_nano, refused.short.resets_at_ms) == (window, 0, end_ms(window, now))


async def test_keys_of_the_operator_borrow_only_within_their_budgets(store: Store, tmp_path: Path) -> None:
    key, _ = await store.keys.make("org_operator", "proj_default", "app", terms=Terms(total_nano=300))
    async with process(store, tmp_path) as lender:
        grant = await lender.borrow(key.id, 300, 300)
        assert grant.amount_nano == 300
        assert (await lender.borrow(key.id, 1, 1)).amount_nano == 0
        entry = Firm(store, await store.organisations.find("org_operator"), "proj_default").entry(key.id, 120, grant.lease)
        await fold(store, tmp_path, [entry])
        await lender.give_back(key.id, grant.lease, 180)
        assert (await lender.borrow(key.id, 180, 180)).amount_nano == 180
        assert (await lender.borrow(key.id, 1, 1)).amount_nano == 0
    assert await store.ledger.check() == []


async def test_a_charge_leaves_lease_and_wallet_at_once(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key = await firm.key()
    async with process(store, tmp_path) as lender:
        grant = await lender.borrow(key, 400, 400)
        await fold(store, tmp_path, [firm.entry(key, 150, grant.lease), firm.entry(key, 50, grant.lease), firm.entry(key, None)])
        assert (await firm.balance(), await firm.held()) == (800, 200)
        assert (await lender.borrow(key, 600, 600)).amount_nano == 600
    lines = await store.ledger.statement(firm.id)
    assert [(line.kind, line.amount_nano) for line in lines] == [("usage", -200), ("topup", 1000)]
    assert await store.ledger.check() == []


async def test_what_no_lease_covers_is_taken_from_what_is_free_and_never_more(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key = await firm.key()
    async with process(store, tmp_path) as lender:
        grant = await lender.borrow(key, 400, 400)
        await fold(store, tmp_path, [firm.entry(key, 500, "lease_gone")])
        assert (await firm.balance(), await firm.held()) == (500, 400)
        await fold(store, tmp_path, [firm.entry(key, 300, "lease_gone"), firm.entry(key, 450, grant.lease)])
        assert (await firm.balance(), await firm.held()) == (0, 0)
    assert await store.ledger.check() == []


async def test_free_money_of_another_process_is_asked_back(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key, other_key = await firm.key("one"), await firm.key("two")
    async with process(store, tmp_path) as rich, process(store, tmp_path) as poor:
        await rich.borrow(key, 300, 300)
        await rich.borrow(other_key, 700, 700)
        free = {key: 300, other_key: 600}
        asked = asyncio.create_task(give_back_what_is_asked(rich, free))
        assert (await poor.borrow(key, 900, 900)).amount_nano == 900
        refused = await poor.borrow(key, 50, 50)
        assert refused.short is not None
        assert (refused.short.available_nano, refused.short.in_flight) == (0, True)
        asked.cancel()
    assert free == {}
    assert await firm.held() == 1000


async def test_what_a_dead_process_held_is_free_once_its_journal_is_folded(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key = await firm.key()
    async with process(store, tmp_path) as alive:
        await alive.borrow(key, 100, 100)
        async with process(store, tmp_path) as dying:
            grant = await dying.borrow(key, 900, 900)
            folder = store.fold(tmp_path / "journal")
            assert await store.holders.release_dead(tmp_path, folder) == []
            (tmp_path / "journal").mkdir()
            line = msgspec.json.encode(firm.entry(key, 250, grant.lease)) + b"\n"
            (tmp_path / "journal" / "left.jsonl").write_bytes(line)
        assert await store.holders.release_dead(tmp_path, folder) == [dying.lifeline.id]
        assert (await firm.balance(), await firm.held()) == (750, 100)
        assert await store.holders.release_dead(tmp_path, folder) == []
        assert [holder.id for holder in await store.holders.list_all()] == [alive.lifeline.id]
    assert await store.ledger.check() == []


async def test_processes_of_another_home_are_left_to_the_operator(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key = await firm.key()
    async with process(store, tmp_path / "far") as lost:
        await lost.borrow(key, 900, 900)
    (tmp_path / "near").mkdir()
    assert await store.holders.release_dead(tmp_path / "near", store.fold(tmp_path / "near" / "journal")) == []
    assert await firm.held() == 900
    await store.holders.release(lost.lifeline.id)
    assert await firm.held() == 0
    with pytest.raises(Fault, match="no holder"):
        await store.holders.release(lost.lifeline.id)


async def test_an_answer_that_is_lost_is_found_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    firm = await found(store, 1000)
    key = await firm.key()

    async with process(store, tmp_path) as lender:
        lent = leases.borrow

        async def committed(connection: object, *arguments: object) -> object:
            await lent(connection, *arguments)  # type: ignore[arg-type]
            await connection.commit()  # type: ignore[attr-defined]
            raise ConnectionResetError

        monkeypatch.setattr(leases, "borrow", committed)
        with pytest.raises(StoreAway):
            await lender.borrow(key, 400, 400)
        monkeypatch.undo()
        assert await firm.held() == 400
        assert (await lender.borrow(key, 500, 500)).amount_nano == 500
        assert await firm.held() == 500
        monkeypatch.setattr(leases, "borrow", committed)
        with pytest.raises(StoreAway):
            await lender.borrow(key, 100, 100)
        monkeypatch.undo()
        assert await firm.held() == 600
        await lender.beat()
        assert await firm.held() == 500

        async def away(*_: object) -> None:
            raise ConnectionRefusedError

        monkeypatch.setattr(leases, "give_back", away)
        await lender.give_back(key, "", 200)
        monkeypatch.undo()
        assert await firm.held() == 500
        await lender.beat()
        assert await firm.held() == 300


async def test_new_terms_are_known_to_the_next_borrowing_and_ask_back_what_is_free(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key = await firm.key()
    async with process(store, tmp_path) as lender:
        await lender.borrow(key, 100, 100)
        assert await lender.recalled() == []
        await store.key_changes.update(firm.id, key, 1, KeyEdit(terms=Terms(daily_nano=120)), actor="test")
        assert await lender.recalled() == [(key, "money")]
        await lender.give_back(key, "", 0)
        assert await lender.recalled() == []
        refused = await lender.borrow(key, 21, 21)
        assert refused.short is not None
        assert (refused.short.what, refused.short.available_nano) == ("daily", 20)


async def test_many_processes_at_once_never_borrow_more_than_there_is(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 10_000)
    keys = [await firm.key(f"{number}", daily_nano=3000) for number in range(4)]
    async with contextlib.AsyncExitStack() as stack:
        lenders = [await stack.enter_async_context(process(store, tmp_path)) for _ in range(4)]
        grants = await asyncio.gather(*(lender.borrow(key, 0, 900) for lender in lenders for key in keys for _ in range(3)))
        total = sum(grant.amount_nano for grant in grants)
        assert await firm.held() == total <= 10_000
        held = await store.ledger.balance(firm.id)
        assert held.held_nano == total
    assert await store.ledger.check() == []


async def test_a_key_that_is_not_there_borrows_nothing(store: Store, tmp_path: Path) -> None:
    async with process(store, tmp_path) as lender:
        grant = await lender.borrow("key_nobody", 1, 1)
        assert grant.amount_nano == 0
        assert grant.short is not None


async def test_a_request_that_is_folded_twice_is_charged_once(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1000)
    key = await firm.key()
    async with process(store, tmp_path) as lender:
        grant = await lender.borrow(key, 400, 400)
        once, more = firm.entry(key, 150, grant.lease), firm.entry(key, 10, grant.lease)
        await fold(store, tmp_path, [once])
        await fold(store, tmp_path, [once, more, once])
        assert (await firm.balance(), await firm.held()) == (840, 240)
    assert await store.ledger.check() == []
