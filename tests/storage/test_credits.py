"""Money that comes in: top-ups, corrections, codes, payments, the monthly grant, alerts; each once, and the books always right."""

import asyncio

import pytest
from firm import found
from stored_rows import query

from shoal.core.errors import Fault
from shoal.core.terms import MOST_NANO
from shoal.storage.database import writing
from shoal.storage.identifiers import now_ms
from shoal.storage.store import Store


async def test_a_top_up_counts_once_by_its_reference(store: Store) -> None:
    firm = await found(store)
    assert await store.ledger.top_up(firm.id, 500, "admin", "a", memo="first", actor="mem_me")
    assert not await store.ledger.top_up(firm.id, 500, "admin", "a")
    outcomes = await asyncio.gather(*(store.ledger.top_up(firm.id, 7, "admin", "b") for _ in range(6)))
    assert sorted(outcomes) == [False] * 5 + [True]
    assert await firm.balance() == 507
    lines = await store.ledger.statement(firm.id)
    assert [(line.kind, line.reference, line.amount_nano, line.memo, line.actor) for line in lines] == [
        ("topup", "b", 7, "", ""),
        ("topup", "a", 500, "first", "mem_me"),
    ]
    assert await store.ledger.statement(firm.id, before=lines[-1].id) == []
    assert await query(store, "SELECT id, balance_nano FROM accounts WHERE id LIKE 'funding/%'") == [("funding/admin", -507)]
    assert await store.ledger.check() == []


@pytest.mark.parametrize("amount", [0, -1, MOST_NANO + 1, 2**63, 10**40])
async def test_absurd_amounts_are_refused(store: Store, amount: int) -> None:
    firm = await found(store)
    with pytest.raises(Fault, match="The amount") as fault:
        await store.ledger.top_up(firm.id, amount, "admin", "a")
    assert fault.value.kind == "invalid_value"
    for attempt in (store.codes.create(amount, actor="x"), store.payments.take("stripe", "e", firm.id, amount)):
        with pytest.raises(Fault):
            await attempt
    assert await firm.balance() == 0


async def test_a_wallet_has_an_upper_bound_too(store: Store) -> None:
    firm = await found(store)
    for number in range(4):
        await store.ledger.top_up(firm.id, MOST_NANO, "admin", str(number))
    with pytest.raises(Fault, match="above"):
        await store.ledger.top_up(firm.id, 1, "admin", "more")
    assert await firm.balance() == 4 * MOST_NANO
    assert await store.ledger.check() == []


async def test_a_correction_cannot_take_what_is_not_there(store: Store) -> None:
    firm = await found(store, 100)
    with pytest.raises(Fault, match="can be taken now"):
        await store.ledger.adjust(firm.id, -101, "a", memo="oops", actor="x")
    assert await store.ledger.adjust(firm.id, -100, "b", memo="oops", actor="x")
    assert not await store.ledger.adjust(firm.id, -100, "b", memo="oops", actor="x")
    assert await store.ledger.adjust(firm.id, 30, "c", memo="sorry", actor="x")
    assert await firm.balance() == 30
    assert await store.ledger.check() == []


async def test_a_code_is_redeemed_once_in_any_spelling(store: Store) -> None:
    ours, theirs = await found(store, name="ours"), await found(store, name="theirs")
    code = await store.codes.create(500, actor="x")
    spellings = [code, code.lower(), code.replace("-", " "), code.replace("-", "")]
    tries = await asyncio.gather(
        *(store.codes.redeem(org, one, actor="y") for org in (ours.id, theirs.id) for one in spellings), return_exceptions=True
    )
    assert [one for one in tries if not isinstance(one, Fault)] == [500]
    assert await ours.balance() + await theirs.balance() == 500
    (shown,) = await store.codes.list_all()
    assert (shown.amount_nano, shown.redeemed_at_ms is not None) == (500, True)
    assert code.replace("-", "") not in repr(await query(store, "SELECT * FROM codes"))
    late = await store.codes.create(5, expires_at_ms=now_ms() - 1, actor="x")
    for wrong in (late, code, "", "x", "\ud800", "\0"):
        with pytest.raises(Fault, match="not a code") as fault:
            await store.codes.redeem(ours.id, wrong, actor="y")
        assert fault.value.kind == "not_found"
    assert await store.ledger.check() == []


async def test_a_payment_counts_once_however_often_it_is_told(store: Store) -> None:
    firm = await found(store)
    told = await asyncio.gather(*(store.payments.take("stripe", "evt_1", firm.id, 900, payment="pi_1") for _ in range(5)))
    assert sorted(told) == [False] * 4 + [True]
    assert not await store.payments.take("stripe", "evt_2", firm.id, 900, payment="pi_1")  # another event of the same payment
    assert await store.payments.take("stripe", "evt_3", firm.id, 50)
    assert await store.payments.ignore("stripe", "evt_4")
    assert not await store.payments.ignore("stripe", "evt_4")
    assert await firm.balance() == 950
    assert await store.ledger.check() == []


async def test_an_alert_lasts_as_long_as_the_balance_is_low(store: Store) -> None:
    firm = await found(store, 100, low_balance_nano=50)
    assert await store.alerts.refresh() == 0
    await store.ledger.adjust(firm.id, -60, "a", memo="", actor="x")
    assert [await store.alerts.refresh() for _ in range(3)] == [1, 0, 0]
    (alert,) = await store.alerts.list_of(firm.id)
    assert (alert.detail, alert.ended_at_ms, alert.seen_at_ms) == ({"balance_nano": 40, "low_balance_nano": 50}, None, None)
    await store.alerts.see(firm.id, alert.id)
    await store.ledger.top_up(firm.id, 100, "admin", "b")
    assert await store.alerts.refresh() == 0
    (alert,) = await store.alerts.list_of(firm.id)
    assert alert.ended_at_ms is not None
    assert alert.seen_at_ms is not None
    await store.ledger.adjust(firm.id, -100, "c", memo="", actor="x")
    assert await store.alerts.refresh() == 1


async def test_the_check_finds_what_somebody_wrote_by_hand(store: Store) -> None:
    firm = await found(store, 100)
    assert await store.ledger.check() == []
    async with writing(store.engine).begin() as connection:
        await connection.exec_driver_sql("UPDATE accounts SET balance_nano = 70 WHERE id LIKE 'wallet/%' AND balance_nano = 100")
        await connection.exec_driver_sql("INSERT INTO movements (at_ms, kind, reference, memo, actor) VALUES (1, 'x', 'x', '', '')")
        await connection.exec_driver_sql("INSERT INTO postings SELECT max(id), 'funding/admin', 5 FROM movements")
        await connection.exec_driver_sql(
            "INSERT INTO usage_days VALUES ('key_x', 1, 'm', 1, 0, 0, 0, 0, 0, 0, 0, 0, 9)",
        )
    found_errors = await store.ledger.check()
    assert sorted(error.split(" ")[0] for error in found_errors) == ["Keys", "Requests", "The", "The", "The"]
    assert f"The balance of wallet/{firm.id} is 70, but its postings sum to 100." in found_errors
