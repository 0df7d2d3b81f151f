"""Organisations, projects, members and keys: what may be changed, by whom it is seen, and that nobody finds what is another's."""

import msgspec
import pytest
from firm import found
from stored_rows import query

from shoal.core.errors import Fault
from shoal.core.identity import Markup
from shoal.core.terms import Terms
from shoal.storage.identifiers import now_ms
from shoal.storage.key_changes import KeyEdit
from shoal.storage.keys import hash_secret
from shoal.storage.members import MemberEdit
from shoal.storage.organisations import OrganisationEdit
from shoal.storage.projects import ProjectEdit
from shoal.storage.store import Store

ME = "mem_me"


async def test_an_organisation_is_made_with_a_wallet_and_a_project(store: Store) -> None:
    edit = OrganisationEdit(name="Caf\u00e9", markup_ppm=100_000, markups={"openai/gpt": 5, "route/x": 0}, low_balance_nano=7)
    made = await store.organisations.create(edit, actor=ME)
    assert made == await store.organisations.find(made.id)
    assert (made.name, made.prepaid, made.markups, made.version) == ("Caf\u00e9", True, {"openai/gpt": 5, "route/x": 0}, 1)
    assert (await store.ledger.balance(made.id)).balance_nano == 0
    assert [project.name for project in await store.projects.list_of(made.id)] == ["default"]
    assert [one.id for one in await store.organisations.list_all()] == ["org_operator", made.id]
    with pytest.raises(Fault, match="already") as taken:
        await store.organisations.create(OrganisationEdit(name="Cafe\u0301"), actor=ME)
    assert taken.value.kind == "conflict"


async def test_of_two_who_change_at_once_the_second_is_told(store: Store) -> None:
    firm = await found(store)
    changed = await store.organisations.update(firm.id, 1, OrganisationEdit(markup_ppm=5), actor=ME)
    assert (changed.markup_ppm, changed.name, changed.version) == (5, "firm", 2)
    with pytest.raises(Fault, match="version 1") as conflict:
        await store.organisations.update(firm.id, 1, OrganisationEdit(markup_ppm=6), actor=ME)
    assert (conflict.value.kind, conflict.value.status) == ("conflict", 409)
    project = await store.projects.update(firm.id, firm.project_id, 1, ProjectEdit(keep_bodies=True, retention_days=3), actor=ME)
    assert (project.keep_bodies, project.retention_days, project.name) == (True, 3, "default")
    with pytest.raises(Fault, match="version 1"):
        await store.projects.update(firm.id, firm.project_id, 1, ProjectEdit(name="x"), actor=ME)
    assert await store.projects.keeping() == {firm.project_id}


async def test_keys_follow_their_organisation(store: Store) -> None:
    firm = await found(store)
    key = await firm.key()
    seen = (await store.keys.changed_since(0))[-1].revision
    await store.organisations.update(firm.id, 1, OrganisationEdit(markup_ppm=5, markups={"m": 1}, prepaid=False), actor=ME)
    (changed,) = await store.keys.changed_since(seen)
    assert (changed.id, changed.prepaid, changed.markup, changed.active) == (key, False, Markup(5, {"m": 1}), True)
    await store.organisations.close(firm.id, 2, actor=ME)
    (closed,) = await store.keys.changed_since(changed.revision)
    assert not closed.active
    with pytest.raises(Fault, match="no project"):
        await firm.key("another")
    with pytest.raises(Fault, match="cannot be closed"):
        await store.organisations.close("org_operator", 1, actor=ME)


async def test_what_is_anothers_is_not_found(store: Store) -> None:
    ours, theirs = await found(store, name="ours"), await found(store, name="theirs")
    key = await theirs.key()
    member = await store.members.add(theirs.id, MemberEdit(email="a@b.example"), actor=ME)
    attempts = (
        store.projects.find(ours.id, theirs.project_id),
        store.projects.update(ours.id, theirs.project_id, 1, ProjectEdit(name="mine"), actor=ME),
        store.projects.archive(ours.id, theirs.project_id, 1, actor=ME),
        store.members.find(ours.id, member.id),
        store.members.update(ours.id, member.id, 1, MemberEdit(role="owner"), actor=ME),
        store.members.remove(ours.id, member.id, 1, actor=ME),
        store.key_changes.find(ours.id, key),
        store.key_changes.update(ours.id, key, 1, KeyEdit(name="mine"), actor=ME),
        store.key_changes.rotate(ours.id, key, 1, grace_s=0, actor=ME),
        store.key_changes.revoke(ours.id, key, actor=ME),
        store.keys.make(ours.id, theirs.project_id, "x"),
        store.keys.make(ours.id, ours.project_id, "x", member_id=member.id),
        store.alerts.see(ours.id, 1),
        store.organisations.find("org_nobody"),
        store.ledger.balance("org_nobody"),
        store.ledger.top_up("org_nobody", 1, "admin", "x"),
        store.codes.redeem("org_nobody", "x", actor=ME),
        store.projects.create("org_nobody", ProjectEdit(name="x"), actor=ME),
        store.members.add("org_nobody", MemberEdit(email="a@b.example"), actor=ME),
    )
    for attempt in attempts:
        with pytest.raises(Fault) as fault:
            await attempt
        assert fault.value.kind == "not_found"
    assert await store.keys.list_of(ours.id) == []
    assert [one.id for one in await store.keys.list_of(theirs.id)] == [key]


async def test_members_and_their_keys_come_and_go_and_an_owner_stays(store: Store) -> None:
    firm = await found(store)
    first = await store.members.add(firm.id, MemberEdit(email="First@Example.org ", role="owner"), actor=ME)
    second = await store.members.add(firm.id, MemberEdit(email="second@example.org", name="Second"), actor=ME)
    assert (first.email, second.role) == ("first@example.org", "viewer")
    with pytest.raises(Fault, match="already"):
        await store.members.add(firm.id, MemberEdit(email="FIRST@example.org"), actor=ME)
    with pytest.raises(Fault, match="must keep an owner"):
        await store.members.update(firm.id, first.id, 1, MemberEdit(role="viewer"), actor=ME)
    with pytest.raises(Fault, match="must keep an owner"):
        await store.members.remove(firm.id, first.id, 1, actor=ME)
    await store.members.update(firm.id, second.id, 1, MemberEdit(role="owner"), actor=ME)
    key, _ = await store.keys.make(firm.id, firm.project_id, "app", member_id=first.id)
    await store.members.remove(firm.id, first.id, 1, actor=ME)
    assert not (await store.key_changes.find(firm.id, key.id)).active
    assert [one.id for one in await store.members.list_of(firm.id)] == [second.id]
    again = await store.members.add(firm.id, MemberEdit(email="first@example.org"), actor=ME)
    assert again.id != first.id


@pytest.mark.parametrize("email", ["", "a", "a@b", "a b@c.d", "a@b.c\n", "@b.c", "a@", "x" * 250 + "@b.cd", "a\0@b.c"])
async def test_what_is_no_address_is_refused(store: Store, email: str) -> None:
    firm = await found(store)
    with pytest.raises(Fault) as fault:
        await store.members.add(firm.id, MemberEdit(email=email) if email.strip() == email else MemberEdit(email=email + "\0"), actor=ME)
    assert fault.value.param == "email"


async def test_a_key_keeps_its_id_and_an_earlier_secret_for_a_while(store: Store) -> None:
    firm = await found(store)
    made, first = await store.keys.make(firm.id, firm.project_id, "app", terms=Terms(rpm=5), expires_at_ms=now_ms() + 10**9)
    rotated, second = await store.key_changes.rotate(firm.id, made.id, 1, grace_s=60, actor=ME)
    assert (rotated.id, rotated.terms, rotated.version, rotated.hint) == (made.id, Terms(rpm=5), 2, second[-4:])
    new, old = await store.keys.find(hash_secret(second)), await store.keys.find(hash_secret(first))
    assert new is not None
    assert old is not None
    assert (new.id, new.account_id, old.account_id, old.active) == (made.id, made.id, made.id, True)
    assert old.expires_at_ms is not None
    assert now_ms() < old.expires_at_ms <= now_ms() + 60_000
    assert [key.id for key in await store.keys.list_of(firm.id)] == [made.id]
    assert {key.hash for key in await store.keys.changed_since(made.revision)} == {hash_secret(first), hash_secret(second)}
    await store.key_changes.update(firm.id, made.id, 2, KeyEdit(terms=Terms(rpm=9)), actor=ME)
    old = await store.keys.find(hash_secret(first))
    assert old is not None
    assert (old.terms, old.expires_at_ms is not None) == (Terms(rpm=9), True)
    await store.key_changes.revoke(firm.id, made.id, actor=ME)
    for secret in (first, second):
        key = await store.keys.find(hash_secret(secret))
        assert key is not None
        assert not key.active
    with pytest.raises(Fault, match="revoked, for good"):
        await store.key_changes.rotate(firm.id, made.id, 4, grace_s=0, actor=ME)


async def test_without_a_grace_period_the_earlier_secret_is_over_at_once(store: Store) -> None:
    firm = await found(store)
    made, first = await store.keys.make(firm.id, firm.project_id, "app")
    await store.key_changes.rotate(firm.id, made.id, 1, grace_s=0, actor=ME)
    (old,) = [key for key in await store.keys.changed_since(made.revision) if key.hash == hash_secret(first)]
    assert not old.active
    with pytest.raises(Fault, match="between 0 and 30 days"):
        await store.key_changes.rotate(firm.id, made.id, 2, grace_s=-1, actor=ME)


async def test_names_are_taken_within_an_organisation_alone(store: Store) -> None:
    ours, theirs = await found(store, name="ours"), await found(store, name="theirs")
    await ours.key("app")
    await theirs.key("app")
    with pytest.raises(Fault, match="taken"):
        await ours.key("app")
    other = await ours.key("other")
    with pytest.raises(Fault, match="taken"):
        await store.key_changes.update(ours.id, other, 1, KeyEdit(name="app"), actor=ME)
    with pytest.raises(Fault, match="already"):
        await store.projects.create(ours.id, ProjectEdit(name="default"), actor=ME)


async def test_archiving_a_project_revokes_its_keys(store: Store) -> None:
    firm = await found(store)
    project = await store.projects.create(firm.id, ProjectEdit(name="side"), actor=ME)
    key, _ = await store.keys.make(firm.id, project.id, "app")
    await store.projects.archive(firm.id, project.id, 1, actor=ME)
    assert not (await store.key_changes.find(firm.id, key.id)).active
    with pytest.raises(Fault, match="no project"):
        await store.keys.make(firm.id, project.id, "next")


@pytest.mark.parametrize(
    "body",
    [
        '{"id": "org_x"}',
        '{"version": 9}',
        '{"balance_nano": 1}',
        '{"markup_ppm": -1}',
        '{"free_monthly_nano": 1e30}',
        '{"low_balance_nano": -5}',
        '{"markups": {"x": -1}}',
        '{"prepaid": "yes"}',
    ],
)
def test_only_what_may_be_changed_is_read(body: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=OrganisationEdit)


@pytest.mark.parametrize("name", ["", " x", "x" * 65, "a\nb", "a\0", "\ud800"])
async def test_names_that_are_none_are_refused_everywhere(store: Store, name: str) -> None:
    firm = await found(store)
    for attempt in (
        store.organisations.create(OrganisationEdit(name=name), actor=ME),
        store.projects.create(firm.id, ProjectEdit(name=name), actor=ME),
        store.members.add(firm.id, MemberEdit(email="a@b.example", name=name), actor=ME),
        store.keys.make(firm.id, firm.project_id, name),
    ):
        with pytest.raises(Fault) as fault:
            await attempt
        assert (fault.value.kind, fault.value.param) == ("invalid_value", "name")


async def test_every_act_is_in_the_audit_log_of_its_organisation(store: Store) -> None:
    firm, other = await found(store), await found(store, name="other")
    await store.organisations.update(firm.id, 1, OrganisationEdit(markup_ppm=5), actor=ME)
    await store.projects.create(firm.id, ProjectEdit(name="side"), actor="mem_you")
    await store.audit.record("cli", "server.start", None, "x", {"port": 1})
    acts = await store.audit.read(firm.id)
    assert [(act.actor, act.action) for act in acts] == [
        ("mem_you", "project.create"),
        (ME, "organisation.update"),
        ("test", "organisation.create"),
    ]
    assert acts[1].detail == {"before": msgspec.Raw(b'{"markup_ppm":0}'), "after": msgspec.Raw(b'{"markup_ppm":5}')}
    assert [act.action for act in await store.audit.read(limit=1)] == ["server.start"]
    assert [act.org_id for act in await store.audit.read(other.id)] == [other.id]
    assert await store.audit.read(firm.id, before=acts[-1].id) == []


async def test_what_fails_leaves_nothing_behind(store: Store) -> None:
    firm = await found(store)
    before = await query(store, "SELECT count(*) FROM audit")
    with pytest.raises(Fault):
        await store.organisations.update(firm.id, 7, OrganisationEdit(markup_ppm=5), actor=ME)
    with pytest.raises(Fault):
        await store.organisations.create(OrganisationEdit(name="firm"), actor=ME)
    assert await query(store, "SELECT count(*) FROM audit") == before
    assert await query(store, "SELECT count(*) FROM accounts WHERE id LIKE 'wallet/%'") == [(2,)]
