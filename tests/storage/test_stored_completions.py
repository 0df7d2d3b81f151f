"""Stored completions: found by id, model and metadata, page by page, by their own project alone; gone with their bodies."""

from itertools import count
from typing import Any

import pytest
from firm import found
from stored_rows import query

from shoal.storage import completions
from shoal.storage.bodies import Body, Chat
from shoal.storage.completions import Completion, Sought
from shoal.storage.store import Store

_numbers = count(1)


def chat(project_id: str, id: str = "", at_ms: int = 1000, user_id: str = "", **fields: Any) -> Body:
    number = next(_numbers)
    request_id = f"req_{number:032x}"
    known: dict[str, Any] = {"asked": True, "requested_model": "gpt", "model": "openai/gpt-4o", "provider": "openai"} | fields
    about = Chat(id or f"chatcmpl-x{number}", **known)
    return Body(request_id, "key_a", project_id, user_id, at_ms, b'{"messages":[]}', b'{"choices":[]}', about)


async def walk(store: Store, limit: int = 3, newest_first: bool = False, **sought: Any) -> list[Completion]:
    rows: list[Completion] = []
    while True:
        after = rows[-1].mark if rows else None
        page = await store.completions.page(Sought(**sought), after=after, limit=limit, newest_first=newest_first)
        rows += page.completions
        assert len(page.completions) <= limit
        if not page.more:
            return rows


async def test_a_completion_is_what_was_kept(store: Store) -> None:
    body = chat("proj_a", "chatcmpl-1", 5, "ada", labels={"task": "tag", "nul": "a\0b"})
    assert await store.bodies.save([body]) == 1
    one = await store.completions.find("proj_a", "chatcmpl-1")
    assert one == await store.completions.find("proj_a", body.request_id)
    assert one is not None
    assert (one.request, one.response, one.user_id, one.key_id, one.at_ms) == (body.request, body.response, "ada", "key_a", 5)
    assert (one.requested_model, one.model, one.provider, one.asked) == ("gpt", "openai/gpt-4o", "openai", True)
    assert one.labels == {"task": "tag", "nul": "a\ufffdb"}
    assert await store.completions.find("proj_b", "chatcmpl-1") is None
    assert await store.completions.find("proj_b", body.request_id) is None


async def test_an_id_is_one_completion_s_of_a_project(store: Store) -> None:
    same = [chat("proj_a", "chatcmpl-same") for _ in range(3)]
    foreign, odd = chat("proj_b", "chatcmpl-same"), chat("proj_a", "../x y")
    await store.bodies.save(same[:2])
    await store.bodies.save([same[2], foreign, odd])
    ids = [one.id for one in await walk(store, project_id="proj_a")]
    others = [f"chatcmpl-{one.request_id.removeprefix('req_')}" for one in (*same[1:], odd)]
    assert ids == ["chatcmpl-same", *others]
    first = await store.completions.find("proj_a", "chatcmpl-same")
    assert first is not None and first.request_id == same[0].request_id
    assert [one.id for one in await walk(store, project_id="proj_b")] == ["chatcmpl-same"]


@pytest.mark.parametrize("limit", [1, 2, 50])
@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_are_all_that_is_sought_in_the_order_of_time(store: Store, limit: int, newest_first: bool) -> None:
    bodies = [
        chat(
            "proj_a",
            at_ms=1000 + number // 3,
            requested_model="ab"[number % 2],
            model=("m", "a")[number % 3 == 0],
            asked=number % 4 > 0,
            labels={"task": f"t{number % 3}", "team": f"x{number % 2}"} if number % 5 else {},
        )
        for number in range(14)
    ]
    await store.bodies.save([*bodies, chat("proj_b", labels={"task": "t1"})])

    async def ids(**sought: Any) -> list[str]:
        return [one.request_id for one in await walk(store, limit, newest_first, project_id="proj_a", **sought)]

    def expected(wanted: Any) -> list[str]:
        rows = sorted((one for one in bodies if wanted(one, one.chat)), key=lambda one: (one.at_ms, one.request_id), reverse=newest_first)
        return [one.request_id for one in rows]

    assert await ids() == expected(lambda one, about: True)
    assert await ids(model="a") == expected(lambda one, about: "a" in (about.model, about.requested_model))
    assert await ids(asked=True) == expected(lambda one, about: about.asked)
    assert await ids(labels={"task": "t1"}) == expected(lambda one, about: about.labels.get("task") == "t1")
    both = await ids(labels={"task": "t1", "team": "x0"}, model="a", asked=True)
    assert both == expected(
        lambda one, about: about.labels == {"task": "t1", "team": "x0"} and "a" in (about.model, about.requested_model) and about.asked
    )
    assert await ids(from_ms=1001, until_ms=1003) == expected(lambda one, about: 1001 <= one.at_ms < 1003)
    assert await ids(labels={"task": "'; DROP TABLE bodies; --"}) == []
    assert await ids(labels={"task": "t%"}) == []
    walked = [one.request_id async for one in store.completions.walk(Sought(project_id="proj_a"), newest_first=newest_first)]
    assert walked == await ids()


async def test_a_page_is_bounded_in_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "MOST_PAGE_BYTES", 1)
    await store.bodies.save([chat("proj_a") for _ in range(3)])
    page = await store.completions.page(Sought(project_id="proj_a"), limit=2)
    assert (len(page.completions), page.more) == (1, True)
    assert len(await walk(store, project_id="proj_a")) == 3


async def test_metadata_is_changed_whole(store: Store) -> None:
    body = chat("proj_a", "chatcmpl-1", labels={"a": "1", "b": "2"})
    await store.bodies.save([body])
    assert await store.completions.label("proj_a", "chatcmpl-1", {"b": "3"})
    assert not await store.completions.label("proj_b", "chatcmpl-1", {"b": "4"})
    assert not await store.completions.label("proj_a", "chatcmpl-2", {"b": "4"})
    one = await store.completions.find("proj_a", "chatcmpl-1")
    assert one is not None and one.labels == {"b": "3"}
    assert [one.id for one in await walk(store, project_id="proj_a", labels={"b": "3"})] == ["chatcmpl-1"]
    assert await walk(store, project_id="proj_a", labels={"a": "1"}) == []
    assert await store.completions.label("proj_a", "chatcmpl-1", {})
    assert await query(store, "SELECT count(*) FROM completion_labels") == [(0,)]


async def test_a_completion_goes_with_its_bodies(store: Store) -> None:
    firm = await found(store)
    first, second, third = (chat(firm.project_id, f"chatcmpl-{number}", user_id="ada", labels={"a": "1"}) for number in range(3))
    await store.bodies.save([first, second, third])
    assert not await store.completions.delete("proj_b", "chatcmpl-0")
    assert await store.completions.delete(firm.project_id, "chatcmpl-0")
    assert not await store.completions.delete(firm.project_id, "chatcmpl-0")
    assert [one.id for one in await walk(store, project_id=firm.project_id)] == ["chatcmpl-1", "chatcmpl-2"]
    await store.bodies.save([second])  # kept once more: it is not there twice
    assert len(await walk(store, project_id=firm.project_id)) == 2
    await store.retention.forget(firm.id, "ada", actor="me")
    for table in ("bodies", "completions", "completion_labels"):
        assert await query(store, f"SELECT count(*) FROM {table}") == [(0,)]
