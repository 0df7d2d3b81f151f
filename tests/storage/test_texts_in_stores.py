"""Texts and numbers that no database can hold are told to whoever sent them, and never stop a fold."""

from pathlib import Path

import pytest
from firm import fold, found

from shoal.core.errors import Fault
from shoal.storage.bodies import Body
from shoal.storage.store import Store

ODD = "a\0b"


async def test_a_zero_byte_of_a_caller_is_folded(store: Store, tmp_path: Path) -> None:
    firm = await found(store)
    entry = firm.entry("key_a", 5, requested_model=ODD, user_id=ODD, model=ODD, error_code=ODD)
    await fold(store, tmp_path, [entry])
    found_entry = await store.receipts.find(entry.request_id)
    assert found_entry is not None
    assert found_entry.user_id.replace("\ufffd", "\0") == ODD
    assert await store.bodies.save([Body(entry.request_id, "key_a", firm.project_id, ODD, 1, b"\0", b"")]) == 1
    await store.responses.save("key_a", b'{"id":"resp_1","output":[]}', [], user_id=ODD)
    forgotten = await store.retention.forget(firm.id, ODD, actor="x")
    assert (forgotten.requests, forgotten.bodies) == (1, 1)
    assert await store.ledger.check() == []


@pytest.mark.parametrize("odd", [ODD, "\ud800"])
async def test_an_id_that_is_none_is_the_callers_mistake(store: Store, odd: str) -> None:
    for attempt in (
        store.key_changes.find("org_operator", odd),
        store.projects.find(odd, odd),
        store.organisations.find(odd),
        store.ledger.top_up("org_operator", 1, "admin", odd, memo=odd),
        store.audit.record("x", "y", None, odd),
    ):
        try:
            await attempt
        except Fault as fault:
            assert fault.kind in ("not_found", "invalid_value")


async def test_a_number_that_no_column_holds_is_the_callers_mistake(store: Store) -> None:
    for attempt in (store.audit.read(before=2**70), store.alerts.see("org_operator", 2**70), store.ledger.statement("x", before=2**70)):
        with pytest.raises(Fault) as fault:
            await attempt
        assert fault.value.kind == "invalid_value"
