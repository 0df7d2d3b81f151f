"""What is kept, for how long, and for whom it is deleted; what pages and statements read of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from firm import Firm, fold, found
from stored_rows import query

from shoal.core.ledger import Entry
from shoal.storage import bodies, feedback, grants, request_log, retention
from shoal.storage.bodies import Body
from shoal.storage.consumption import By, Span, Used
from shoal.storage.feedback import Opinion, Subject
from shoal.storage.identifiers import now_ms
from shoal.storage.pages import Mark
from shoal.storage.projects import ProjectEdit
from shoal.storage.request_log import Sought
from shoal.storage.store import Store
from shoal.storage.windows import DAY_MS

NOW = now_ms()


def body(entry: Entry, text: bytes = b'{"messages": "secret"}') -> Body:
    return Body(entry.request_id, entry.key_id, entry.project_id, entry.user_id, entry.at_ms, text, text * 100)


async def test_bodies_come_back_as_they_were_and_only_to_their_project(store: Store) -> None:
    firm = await found(store)
    entry = firm.entry("key_a", None, user_id="u\0")
    kept = body(entry)
    long = body(firm.entry("key_a", None), b"x" * (bodies.MOST_BYTES + 1))
    assert await store.bodies.save([]) == 0
    assert await store.bodies.save([msgspec.structs.replace(kept, user_id="u"), long]) == 1
    assert await store.bodies.save([msgspec.structs.replace(kept, user_id="")]) == 1
    assert await store.bodies.find(entry.request_id, firm.project_id) == msgspec.structs.replace(kept, user_id="")
    assert await store.bodies.find(entry.request_id, "proj_default") is None
    ((size,),) = await query(store, "SELECT length(response) FROM bodies")
    assert size < len(kept.response) / 10


async def test_the_log_goes_when_its_project_says(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 3)
    firm, other = await found(store, name="firm"), await found(store, name="other")
    await store.projects.update(other.id, other.project_id, 1, ProjectEdit(retention_days=10), actor="x")
    entries = [one.entry("key_a", 1, at_ms=NOW - days * DAY_MS) for one in (firm, other) for days in range(20)]
    await fold(store, tmp_path, entries)
    await store.bodies.save([body(one) for one in entries])
    for entry in entries:
        with monkeypatch.context() as past:
            past.setattr(feedback, "now_ms", lambda at_ms=entry.at_ms: at_ms)
            await store.feedback.give(entry.project_id, entry.key_id, Subject(entry.request_id, ""), Opinion(score=1.0))
    assert await store.retention.expire(None) == 3 * 10
    assert await store.retention.expire(5) == 3 * 15
    assert await store.retention.expire(5) == 0
    assert sorted(await query(store, "SELECT project_id, count(*) FROM requests GROUP BY project_id")) == sorted(
        [(firm.project_id, 5), (other.project_id, 10)]
    )
    for table in ("bodies", "feedback"):
        assert await query(store, f"SELECT count(*) FROM {table}") == [(15,)]
    assert await query(store, "SELECT sum(requests) FROM usage_days") == [(40,)]
    assert await store.ledger.check() == []


async def test_a_closed_organisation_leaves_its_books_alone(store: Store, tmp_path: Path) -> None:
    firm, other = await found(store, name="firm"), await found(store, name="other")
    for one in (firm, other):
        key = await one.key()
        entry = one.entry(key, 1)
        await fold(store, tmp_path, [entry])
        await store.bodies.save([body(entry)])
        await store.feedback.give(one.project_id, key, Subject(entry.request_id, ""), Opinion(score=1.0))
        await store.files.keep(one.project_id, key, "batch", "f", b"{}")
        await store.responses.save(key, b'{"id":"resp_1","output":[]}', [])
    assert await store.retention.expire(None) == 0
    await store.organisations.close(firm.id, 1, actor="x")
    assert await store.retention.expire(None) == 4
    for table in ("bodies", "feedback", "files", "file_parts", "responses"):
        assert await query(store, f"SELECT count(*) FROM {table}") == [(1,)]
    assert await query(store, "SELECT count(*) FROM requests") == [(2,)]
    assert [one.id for one in await store.files.page(other.project_id)] != []


async def test_a_user_who_is_forgotten_leaves_numbers_alone(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 3)
    firm, other = await found(store, name="firm"), await found(store, name="other")
    keys = {one.id: await one.key() for one in (firm, other)}
    entries = [
        one.entry(keys[one.id], 1, user_id=user, receipt=msgspec.Raw(b'{"user":"ada"}'))
        for one in (firm, other)
        for user in ("ada", "bob", "")
        for _ in range(5)
    ]
    await fold(store, tmp_path, entries)
    await store.bodies.save([body(one) for one in entries])
    for entry in entries:
        await store.feedback.give(entry.project_id, entry.key_id, Subject(entry.request_id, entry.user_id), Opinion(score=1.0))
    for one in (firm, other):
        for user in ("ada", ""):
            await store.files.keep(one.project_id, keys[one.id], "batch", "f", b"", user_id=user)
            await store.responses.save(keys[one.id], b'{"id":"resp_%s","output":[]}' % user.encode(), [], user_id=user)
    forgotten = await store.retention.forget(firm.id, "ada", actor="mem_me")
    assert forgotten == retention.Forgotten(5, 5, 1, 5, 1)
    assert await store.retention.forget(firm.id, "ada", actor="mem_me") == retention.Forgotten(0, 0, 0)
    assert await query(store, "SELECT count(*) FROM requests") == [(30,)]
    left = await query(store, "SELECT org_id, count(*) FROM requests WHERE user_id = 'ada' GROUP BY org_id")
    assert left == [(other.id, 5)]
    assert await query(store, "SELECT count(*) FROM bodies") == [(25,)]
    assert await query(store, "SELECT count(*) FROM feedback") == [(25,)]
    assert sorted(await query(store, "SELECT project_id, user_id FROM files WHERE user_id = 'ada'")) == [(other.project_id, "ada")]
    assert await query(store, "SELECT count(*) FROM files") == [(3,)]
    assert await store.responses.find("resp_ada", keys[firm.id]) is None
    assert await store.responses.find("resp_ada", keys[other.id]) is not None
    blank = await store.receipts.find(entries[0].request_id)
    assert blank is not None
    assert (blank.user_id, blank.receipt, blank.charged_nano) == ("", msgspec.Raw(b"null"), 1)
    acts = await store.audit.read(firm.id, limit=2)
    assert {act.action for act in acts} == {"user.forget"}
    assert "ada" not in repr(acts)
    assert await store.ledger.check() == []


async def test_reports_sum_what_was_used(store: Store, tmp_path: Path) -> None:
    firm, other = await found(store, name="firm"), await found(store, name="other")
    side = await store.projects.create(firm.id, ProjectEdit(name="side"), actor="x")
    key, theirs = await firm.key(), await other.key()
    second, _ = await store.keys.make(firm.id, side.id, "second")
    entries = [
        firm.entry(key, 5, at_ms=10 * DAY_MS, model="a", input_tokens=7),
        firm.entry(key, 6, at_ms=11 * DAY_MS, model="b"),
        firm.entry(second.id, 7, at_ms=11 * DAY_MS, model="a", project_id=side.id, status=500),
        other.entry(theirs, 100, at_ms=11 * DAY_MS),
    ]
    await fold(store, tmp_path, entries)

    async def used(by: list[By], first: int = 0, last: int = 99, **span: str) -> list[Used]:
        return await store.consumption.read(Span(first_day=first, last_day=last, **span), by)

    by_day = await used(["day"], org_id=firm.id)
    assert [(one.day, one.requests, one.errors, one.input_tokens, one.charged_nano) for one in by_day] == [
        (10, 1, 0, 7, 5),
        (11, 2, 1, 0, 13),
    ]
    assert [(one.model, one.charged_nano) for one in await used(["model"], org_id=firm.id)] == [("a", 12), ("b", 6)]
    by_key = await used(["key", "project"], 11, 11, org_id=firm.id)
    assert {(one.key, one.project, one.charged_nano) for one in by_key} == {(second.id, side.id, 7), (key, firm.project_id, 6)}
    assert {(one.project, one.charged_nano) for one in await used(["project"], org_id=firm.id)} == {(firm.project_id, 11), (side.id, 7)}
    assert [one.charged_nano for one in await used([], org_id=firm.id, key_id=key)] == [11]
    assert [one.charged_nano for one in await used(["day"], org_id=firm.id, project_id=side.id)] == [7]
    assert [one.charged_nano for one in await used(["day"], org_id=firm.id, model="b")] == [6]
    assert await used(["day"], org_id=firm.id, key_id=theirs) == []
    assert await used(["day"], 50, org_id=firm.id) == []
    assert {(one.organisation, one.charged_nano) for one in await used(["organisation"])} == {(firm.id, 18), (other.id, 100)}
    assert [one.charged_nano for one in await used([])] == [118]
    both = await used(["day", "model"], org_id=firm.id)
    pages = [
        await store.consumption.read(Span(first_day=0, last_day=99, org_id=firm.id), ["day", "model"], skip=n, limit=1) for n in range(4)
    ]
    assert pages == [[one] for one in both] + [[]] * (4 - len(both))


@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_pages_of_the_log_are_all_that_is_sought_newest_first(store: Store, tmp_path: Path, limit: int) -> None:
    firm, other = await found(store, name="firm"), await found(store, name="other")
    side = await store.projects.create(firm.id, ProjectEdit(name="side"), actor="x")
    key, theirs = await firm.key(), await other.key()
    entries = []
    for number in range(12):
        fields = {"model": "ab"[number % 2], "status": 200 + number % 3 * 100, "project_id": (side.id, firm.project_id)[number % 4 > 1]}
        entries.append(firm.entry(key, 5, at_ms=1000 + number // 3, **fields))
    await fold(store, tmp_path, [*entries, other.entry(theirs, 1, at_ms=1001)])

    async def walk(**sought: Any) -> list[str]:
        ids: list[str] = []
        after: Mark | None = None
        while True:
            found_ = await store.request_log.read(Sought(org_id=firm.id, **sought), after=after, limit=limit)
            assert len(found_.requests) <= limit
            ids += [one.request_id for one in found_.requests]
            after = found_.after
            if after is None:
                return ids

    def expected(wanted: Callable[[Entry], bool]) -> list[str]:
        rows = sorted((one for one in entries if wanted(one)), key=lambda one: (one.at_ms, one.request_id), reverse=True)
        return [one.request_id for one in rows]

    assert await walk() == expected(lambda one: True)
    assert await walk(model="a") == expected(lambda one: one.model == "a")
    assert await walk(status=400, model="b") == expected(lambda one: one.status == 400 and one.model == "b")
    assert await walk(project_id=side.id) == expected(lambda one: one.project_id == side.id)
    assert await walk(key_id=key, from_ms=1001, until_ms=1003) == expected(lambda one: 1001 <= one.at_ms < 1003)
    assert await walk(model="nobody's") == []
    assert await walk(key_id=theirs) == []


async def test_a_page_of_the_log_looks_at_a_bounded_part_of_it(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_log, "_LOOKED_AT", 3)
    firm = await found(store)
    await fold(
        store, tmp_path, [firm.entry("key_a", 1, at_ms=1000 + number, model="rare" if number == 0 else "usual") for number in range(10)]
    )
    pages, after, ids = 0, None, []
    while True:
        page = await store.request_log.read(Sought(org_id=firm.id, model="rare"), after=after, limit=2)
        pages, ids, after = pages + 1, ids + [one.at_ms for one in page.requests], page.after
        if after is None:
            break
    assert (ids, pages) == ([1000], 4)


async def test_a_statement_goes_from_one_balance_to_the_other(store: Store, tmp_path: Path) -> None:
    firm = await found(store, 1_000_000_000)
    await fold(store, tmp_path, [firm.entry("key_a", 1000), firm.entry("key_a", 500)])
    await fold(store, tmp_path, [firm.entry("key_a", 1)])
    await store.ledger.adjust(firm.id, 7, "fix", memo='=cmd("x")', actor="x")
    await (await found(store, 5, name="other")).balance()
    today = now_ms() // DAY_MS * DAY_MS
    statement = await store.statements.make(firm.id, today, today + 2 * DAY_MS)
    assert (statement.opening_nano, statement.closing_nano) == (0, await firm.balance())
    assert [(one.kind, one.amount_nano) for one in statement.positions] == [("usage", -1501), ("topup", 1_000_000_000), ("adjustment", 7)]
    lines = statement.csv().split("\r\n")
    assert lines[0] == "at,kind,reference,memo,amount_usd,balance_usd"
    assert lines[2].endswith(",usage,,,-0.000001501,-0.000001501")
    assert '"\'=cmd(""x"")"' in lines[4]
    assert lines[5].endswith(",closing,,,,0.999998506")
    later = await store.statements.make(firm.id, today + 2 * DAY_MS, today + 3 * DAY_MS)
    assert (later.opening_nano, later.positions) == (statement.closing_nano, [])


async def test_the_free_tier_is_granted_once_a_month_and_not_saved_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    firm = await found(store, free_monthly_nano=100)
    await found(store, name="none")
    months = [1_767_225_600_000 + month * 31 * DAY_MS for month in range(4)]

    async def in_month(number: int) -> int:
        monkeypatch.setattr(grants, "now_ms", lambda: months[number])
        return await store.grants.give()

    assert [await in_month(0), await in_month(0), await firm.balance()] == [1, 0, 100]
    await fold(store, tmp_path, [firm.entry("key_a", 30)])
    assert [await in_month(1), await firm.balance()] == [1, 100]
    assert [await in_month(2), await firm.balance()] == [1, 100]
    await store.ledger.top_up(firm.id, 500, "admin", "a")
    await fold(store, tmp_path, [firm.entry("key_a", 400)])
    assert [await in_month(3), await firm.balance()] == [1, 300]
    assert await store.ledger.check() == []


async def test_upkeep_does_what_is_due_and_goes_on_after_a_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from shoal.storage.upkeep import DAY_S, Upkeep

    firm: Firm = await found(store, free_monthly_nano=100, low_balance_nano=500)
    upkeep = Upkeep(store, 5)
    whole = store.ledger.check
    calls = 0

    async def check() -> list[str]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("the disk is gone")
        return [*await whole(), "two and two are five"]

    monkeypatch.setattr(store.ledger, "check", check)
    for now_s in (1000.0, 1060.0, 1120.0, 1120.0 + DAY_S):
        await upkeep.do_what_is_due(now_s)
    assert calls == 3
    assert await firm.balance() == 100
    assert len(await store.alerts.list_of(firm.id)) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "CRITICAL", "CRITICAL"]
