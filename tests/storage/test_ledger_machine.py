"""The ledger as a state machine: processes borrow, charge, fold, give back and die between any two steps, and the books stay right.

A wallet is never below what is lent of it, and what is lent covers all that processes may still spend. In the end every charge that was
written whole has been taken once, everything that was lent is back, and the sum of all entries is the balance.
"""

import asyncio
import itertools
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from firm import Firm, found
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from shoal.core.lending import StoreAway
from shoal.core.terms import Terms
from shoal.storage import fold, leases, usage
from shoal.storage.journal import Journal
from shoal.storage.key_changes import KeyEdit
from shoal.storage.lender import StoreLender
from shoal.storage.store import Store, open_store

Result = TypeVar("Result")
AMOUNT = st.integers(0, 400)
WHO = st.integers(0, 2)
_names = itertools.count()


class Process:
    """A gateway process: what it borrowed, by key, and its journal."""

    def __init__(self, lender: StoreLender, journal: Journal) -> None:
        self.lender, self.journal = lender, journal
        self.free: dict[str, int] = {}
        self.lease: dict[str, str] = {}

    def die(self) -> None:
        """End as kill -9 does: all that is open is closed, and nothing is said."""
        self.lender.lifeline.cut()
        self.journal.close()


class Power(Exception):
    """It went."""


class Books(RuleBasedStateMachine):
    """One organisation and its processes. `store` and `loop` outlive the machine."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.store, self.loop = store, loop
        self.directory = tempfile.TemporaryDirectory()
        self.home = Path(self.directory.name)
        self.firm: Firm = self.run(found(store, 1000, f"firm {next(_names)}"))
        self.keys = [self.run(self.firm.key("free")), self.run(self.firm.key("bound", total_nano=600))]
        self.paid, self.charged = 1000, dict.fromkeys(self.keys, 0)
        self.limit = {self.keys[0]: 2**60, self.keys[1]: 600}
        self.processes: dict[int, Process] = {}
        self.folder = store.fold(self.home / "journal")

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    def process(self, who: int) -> Process:
        if who not in self.processes:
            lender = self.store.lend(self.home)
            self.run(lender.beat())
            self.processes[who] = Process(lender, Journal(self.home / "journal", f"w{who}", segment_bytes=600))
        return self.processes[who]

    @rule(who=WHO, key=st.integers(0, 1), need=AMOUNT, more=AMOUNT)
    def borrow(self, who: int, key: int, need: int, more: int) -> None:
        process, key_id = self.process(who), self.keys[key]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shoal.storage.lender.RECALL_S", 0.0)
            grant = self.run(process.lender.borrow(key_id, need, need + more))
        process.free[key_id] = process.free.get(key_id, 0) + grant.amount_nano
        process.lease[key_id] = grant.lease
        assert (grant.short is None) == (grant.amount_nano >= need)
        assert grant.short is not None or grant.amount_nano <= self.paid

    @rule(who=WHO, key=st.integers(0, 1), need=AMOUNT, committed=st.booleans())
    def borrow_without_an_answer(self, who: int, key: int, need: int, committed: bool) -> None:
        process, whole = self.process(who), leases.borrow

        async def cut(connection: Any, *arguments: Any) -> Any:
            await whole(connection, *arguments)
            if committed:
                await connection.commit()
            raise ConnectionResetError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(leases, "borrow", cut)
            with pytest.raises(StoreAway):
                self.run(process.lender.borrow(self.keys[key], need, need))

    @rule(
        who=WHO,
        key=st.integers(0, 1),
        holds=st.lists(st.integers(1, 90), min_size=1, max_size=4),
        dies=st.sampled_from([False, False, True]),
    )
    def serve(self, who: int, key: int, holds: list[int], dies: bool) -> None:
        """Some requests, each charged a part of what it held; perhaps the process dies right after the last is written."""
        process, key_id = self.process(who), self.keys[key]
        for hold in holds:
            if process.free.get(key_id, 0) < hold:
                self.borrow(who, key, hold, 3 * hold)
            if process.free[key_id] >= hold:
                amount = hold - hold % 3
                process.journal.append(self.firm.entry(key_id, amount, process.lease[key_id]))
                process.free[key_id] -= amount
                self.charged[key_id] += amount
        if dies:
            self.processes.pop(who).die()

    @rule(who=WHO, share=st.integers(0, 100), arrives=st.booleans())
    def give_back(self, who: int, share: int, arrives: bool) -> None:
        process = self.process(who)
        for key_id, free in process.free.items():
            amount = free * share // 100

            async def away(*_: object) -> None:
                raise ConnectionRefusedError

            with pytest.MonkeyPatch.context() as patch:
                if not arrives:
                    patch.setattr(leases, "give_back", away)
                self.run(process.lender.give_back(key_id, process.lease[key_id], amount))
            process.free[key_id] -= amount

    @rule(who=WHO, torn=st.binary(max_size=20))
    def die(self, who: int, torn: bytes) -> None:
        if who in self.processes:
            process = self.processes.pop(who)
            with (self.home / "journal" / str(process.journal.live)).open("ab") as segment:
                segment.write(torn.replace(b"\n", b""))
            process.die()

    @rule()
    def beat(self) -> None:
        for process in self.processes.values():
            self.run(process.lender.beat())

    @rule(everyone=st.booleans())
    def fold(self, everyone: bool) -> None:
        self.run(self.folder.flush(everyone=everyone))

    @rule(step=st.sampled_from(["insert", "charge", "save", "_unlink", "_hold_offset"]), after=st.booleans())
    def fold_until_the_power_goes(self, step: str, after: bool) -> None:
        place: Any = usage.Tally if step == "save" else fold
        whole = getattr(place, step)

        async def go(*arguments: Any) -> Any:
            if after:
                await whole(*arguments)
            raise Power

        def go_at_once(*arguments: Any) -> Any:
            if after:
                whole(*arguments)
            raise Power

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, step, go_at_once if step == "_unlink" else go)
            try:
                self.run(self.store.fold(self.home / "journal").flush(everyone=True))
            except Power:
                self.folder = self.store.fold(self.home / "journal")

    @rule()
    def release_the_dead(self) -> None:
        self.run(self.store.holders.release_dead(self.home, self.folder))

    @rule(amount=st.integers(1, 500), again=st.booleans())
    def top_up(self, amount: int, again: bool) -> None:
        reference = f"{self.firm.id} {next(_names)}"
        assert self.run(self.store.ledger.top_up(self.firm.id, amount, "admin", reference, actor="test"))
        assert not again or not self.run(self.store.ledger.top_up(self.firm.id, amount, "admin", reference, actor="test"))
        self.paid += amount

    @rule(amount=st.integers(1, 500))
    def redeem(self, amount: int) -> None:
        code = self.run(self.store.codes.create(amount, actor="test"))
        self.paid += self.run(self.store.codes.redeem(self.firm.id, code, actor="test"))

    @rule(limit=st.integers(0, 2000))
    def change_terms(self, limit: int) -> None:
        key = self.run(self.store.key_changes.find(self.firm.id, self.keys[1]))
        self.run(self.store.key_changes.update(self.firm.id, key.id, key.version, KeyEdit(terms=Terms(total_nano=limit)), actor="test"))
        self.limit[key.id] = max(limit, self.limit[key.id])

    @invariant()
    def what_is_lent_is_there(self) -> None:
        balance = self.run(self.store.ledger.balance(self.firm.id))
        assert 0 <= balance.held_nano <= balance.balance_nano <= self.paid
        free = sum(sum(process.free.values()) for process in self.processes.values())
        assert free <= balance.held_nano
        assert balance.balance_nano - balance.held_nano <= self.paid - sum(self.charged.values()) - free  # what can still be lent

    @invariant()
    def no_budget_is_exceeded(self) -> None:
        for key_id, charged in self.charged.items():
            free = sum(process.free.get(key_id, 0) for process in self.processes.values())
            assert charged + free <= self.limit[key_id]

    def teardown(self) -> None:
        self.run(self.store.holders.release_dead(self.home, self.folder))
        self.run(self.folder.flush(everyone=True))
        self.beat()
        free = sum(sum(process.free.values()) for process in self.processes.values())
        assert self.run(self.store.ledger.balance(self.firm.id)).held_nano == free  # all else has come back or was charged
        for process in self.processes.values():
            process.die()
        self.run(self.store.holders.release_dead(self.home, self.folder))
        self.run(self.folder.flush())
        balance = self.run(self.store.ledger.balance(self.firm.id))
        assert balance.held_nano == 0
        assert balance.balance_nano == self.paid - sum(self.charged.values())
        assert self.run(self.store.ledger.check()) == []
        assert list((self.home / "journal").glob("*.jsonl")) == []
        self.directory.cleanup()


def test_the_books_are_right_whatever_happens(address: str) -> None:
    loop = asyncio.new_event_loop()
    try:
        store = loop.run_until_complete(open_store(address))
        budget = settings(
            max_examples=40 if address.startswith("sqlite") else 15, stateful_step_count=30, suppress_health_check=list(HealthCheck)
        )
        run_state_machine_as_test(lambda: Books(store, loop), settings=budget)
        loop.run_until_complete(store.close())
    finally:
        loop.close()
