"""Lists by pages: together they are the whole list, whatever is made meanwhile; and what changed hands is in the audit log."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from firm import found

from shoal.core.errors import Fault
from shoal.core.terms import Terms
from shoal.storage.key_changes import KeyEdit
from shoal.storage.members import MemberEdit
from shoal.storage.organisations import OrganisationEdit
from shoal.storage.pages import Mark
from shoal.storage.projects import ProjectEdit
from shoal.storage.store import Store

ME = "key_me"


async def walk(read: Callable[..., Awaitable[list[Any]]], mark: Callable[[Any], Mark], limit: int) -> list[Any]:
    """All rows, page by page."""
    rows: list[Any] = []
    while page := await read(after=mark(rows[-1]) if rows else None, limit=limit):
        assert len(page) <= limit
        rows += page
    return rows


def by_age(row: Any) -> Mark:
    return (row.created_at_ms, row.id)


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_pages_are_the_whole_list(store: Store, limit: int) -> None:
    firm = await found(store)
    for number in range(4):
        await store.organisations.create(OrganisationEdit(name=f"other {number}"), actor=ME)
        await store.projects.create(firm.id, ProjectEdit(name=f"project {number}"), actor=ME)
        await store.members.add(firm.id, MemberEdit(email=f"m{number}@x.example"), actor=ME)
        await store.keys.make(firm.id, firm.project_id, f"key {number}")
        await store.codes.create(1 + number, actor=ME)
    assert await walk(store.organisations.list_all, by_age, limit) == await store.organisations.list_all()
    for read in (store.projects.list_of, store.members.list_of, store.keys.list_of):
        whole = await read(firm.id)
        assert len(whole) >= 4
        assert await walk(lambda read=read, **page: read(firm.id, **page), by_age, limit) == whole
    codes = await store.codes.list_all()
    assert len(codes) == 4
    assert await walk(store.codes.list_all, lambda code: (code.made_at_ms, code.number), limit) == codes


async def test_a_forged_mark_of_codes_is_refused(store: Store) -> None:
    with pytest.raises(Fault, match="cursor"):
        await store.codes.list_all(after=(1, "zz"), limit=1)


async def test_the_audit_log_says_what_was_before_and_after_but_no_secret(store: Store) -> None:
    firm = await found(store)
    key, secret = await store.keys.make(firm.id, firm.project_id, "app", terms=Terms(rpm=5), actor=ME)
    await store.key_changes.update(firm.id, key.id, 1, KeyEdit(terms=Terms(rpm=6), name="app"), actor=ME)
    _, second = await store.key_changes.rotate(firm.id, key.id, 2, grace_s=60, actor=ME)
    await store.ledger.top_up(firm.id, 7, "admin", "first", memo="thanks", actor=ME)
    assert not await store.ledger.top_up(firm.id, 7, "admin", "first", memo="thanks", actor=ME)
    await store.ledger.adjust(firm.id, -2, "second", memo="oops", actor=ME)
    await store.keys.revoke(key.id, actor=ME)
    await store.keys.revoke(key.id, actor=ME)
    acts = [act for act in reversed(await store.audit.read(firm.id)) if act.actor == ME]
    told = [(act.action, msgspec.json.decode(msgspec.json.encode(act.detail))) for act in acts]
    assert told[0][1]["terms"] == {"rpm": 5}
    assert told[1:] == [
        ("key.update", {"before": {"terms": {"rpm": 5}}, "after": {"terms": {"rpm": 6}}}),
        ("key.rotate", {"grace_s": 60}),
        ("wallet.top_up", {"amount_nano": 7, "reference": "first", "memo": "thanks"}),
        ("wallet.adjust", {"amount_nano": -2, "reference": "second", "memo": "oops"}),
        ("key.revoke", {}),
    ]
    written = msgspec.json.encode([act.detail for act in acts]).decode()
    assert secret[9:] not in written
    assert second[9:] not in written
    assert secret[-4:] not in written
