"""Files come back byte by byte and feedback word by word, to their own project alone; both keep to their limits."""

import hashlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
from firm import fold, found
from stored_rows import query

from shoal.core.errors import Fault
from shoal.storage import files
from shoal.storage.bodies import Body, Chat
from shoal.storage.feedback import Opinion, Subject
from shoal.storage.identifiers import now_ms
from shoal.storage.store import Store


async def read(store: Store, file_id: str) -> bytes:
    return b"".join([part async for part in store.files.parts(file_id)])


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5432])
async def test_a_file_comes_back_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 1000)
    data, cuts = os.urandom(size), random.Random(size)
    draft = await store.files.begin("proj_a", "key_a", "a\0b.jsonl")
    assert await store.files.page("proj_a") == []  # it is not whole yet
    at = 0
    while at < size:
        end = at + cuts.randint(1, 2500)
        await draft.write(data[at:end])
        at = end
    file = await draft.finish("fine-tune", user_id="ada")
    assert file == await store.files.find("proj_a", file.id)
    assert (file.bytes, file.digest, file.purpose, file.filename) == (size, hashlib.sha256(data).digest(), "fine-tune", "a\ufffdb.jsonl")
    assert (file.user_id, file.expires_at_ms) == ("ada", None)
    assert await read(store, file.id) == data == await store.files.read("proj_a", file.id)


async def test_a_file_is_its_project_s_alone(store: Store) -> None:
    file = await store.files.keep("proj_a", "key_a", "batch", "x", b"data")
    assert await store.files.find("proj_b", file.id) is None
    assert await store.files.page("proj_b") == []
    assert not await store.files.delete("proj_b", file.id)
    with pytest.raises(Fault, match="No file of this project"):
        await store.files.read("proj_b", file.id)
    assert await store.files.delete("proj_a", file.id)
    assert not await store.files.delete("proj_a", file.id)
    assert await query(store, "SELECT count(*) FROM file_parts") == [(0,)]


async def test_files_are_listed_in_the_order_of_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for number in range(5):
        monkeypatch.setattr(files, "now_ms", lambda number=number: now_ms() + number // 2)
        made.append(await store.files.keep("proj_a", "key_a", ("batch", "evals")[number % 2], "x", b""))
    made.sort(key=lambda one: (one.created_at_ms, one.id))
    assert await store.files.page("proj_a") == made
    assert await store.files.page("proj_a", after=made[1].mark, limit=2) == made[2:4]
    assert await store.files.page("proj_a", newest_first=True) == made[::-1]
    assert await store.files.page("proj_a", purpose="batch") == [one for one in made if one.purpose == "batch"]


async def test_files_expire_and_drafts_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = await store.files.keep("proj_a", "key_a", "batch", "kept", b"1")
    short = await store.files.keep("proj_a", "key_a", "batch", "short", b"2", expires_after_s=7200)
    draft = await store.files.begin("proj_a", "key_a", "draft")
    assert await store.files.expire() == 0
    later = now_ms() + 7_200_000
    monkeypatch.setattr(files, "now_ms", lambda: later)
    assert await store.files.find("proj_a", short.id) is None
    assert [one.id for one in await store.files.page("proj_a")] == [kept.id]
    assert await store.files.expire() == 2
    with pytest.raises(Fault, match="took too long"):
        await draft.finish("batch")
    assert await query(store, "SELECT count(*) FROM files") == [(1,)]


async def test_a_project_has_so_much_room(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_FILES", 2)
    monkeypatch.setattr(files, "MOST_PROJECT_BYTES", 10)
    await store.files.keep("proj_a", "key_a", "batch", "x", b"12345")
    with pytest.raises(Fault, match="would exceed") as caught:
        await store.files.keep("proj_a", "key_a", "batch", "x", b"123456")
    assert caught.value.param == "file"
    await store.files.keep("proj_a", "key_a", "batch", "x", b"12345")
    with pytest.raises(Fault, match="has 2 files"):
        await store.files.keep("proj_a", "key_a", "batch", "x", b"")
    await store.files.keep("proj_b", "key_a", "batch", "x", b"1234567890")
    assert await query(store, "SELECT count(*) FROM files") == [(3,)]


async def test_feedback_is_about_a_request_of_the_project(store: Store, tmp_path: Path) -> None:
    firm, other = await found(store, name="firm"), await found(store, name="other")
    logged = firm.entry("key_a", 1, user_id="ada")
    await fold(store, tmp_path, [logged])
    kept = Body("req_kept", "key_a", firm.project_id, "bob", 5, b"{}", b"{}", Chat("chatcmpl-1", True, "a", "b", "c"))
    await store.bodies.save([kept])

    async def subject(project_id: str, id: str) -> Subject | None:
        return await store.feedback.find_subject(project_id, id)

    assert await subject(firm.project_id, logged.request_id) == Subject(logged.request_id, "ada")
    assert await subject(firm.project_id, "chatcmpl-1") == await subject(firm.project_id, "req_kept") == Subject("req_kept", "bob")
    for id in (logged.request_id, "chatcmpl-1", "req_kept"):
        assert await subject(other.project_id, id) is None
    assert await subject(firm.project_id, "nothing") is None


async def test_a_key_s_last_word_counts(store: Store) -> None:
    first = await store.feedback.give("proj_a", "key_a", Subject("req_1", "ada"), Opinion(score=-1.0, label="wrong"))
    word = Opinion(score=0.5, comment="a\ufffdb", correction=b'{"role":"assistant","content":"better"}')
    said = await store.feedback.give(
        "proj_a", "key_a", Subject("req_1", "ada"), Opinion(score=0.5, comment="a\0b", correction=word.correction)
    )
    others = await store.feedback.give("proj_a", "key_b", Subject("req_1", ""), Opinion(label="fine"))
    assert (said.id, said.opinion, said.user_id) == (first.id, word, "ada")
    assert await store.feedback.find("proj_a", first.id) == said
    assert await store.feedback.find("proj_b", first.id) is None
    assert await store.feedback.about("proj_a", ["req_1", "req_2"]) == {"req_1": sorted([said, others], key=lambda one: one.mark)}
    assert await store.feedback.about("proj_b", ["req_1"]) == {}
    assert not await store.feedback.delete("proj_b", first.id)
    assert await store.feedback.delete("proj_a", first.id)
    assert [one.id for one in await store.feedback.page("proj_a")] == [others.id]


async def test_feedback_comes_in_pages(store: Store) -> None:
    said: list[Any] = [
        await store.feedback.give("proj_a", "key_a", Subject(f"req_{number}", ""), Opinion(score=0.0)) for number in range(5)
    ]
    said.sort(key=lambda one: one.mark)
    assert await store.feedback.page("proj_a", limit=3) == said[:3]
    assert await store.feedback.page("proj_a", after=said[2].mark) == said[3:]
    assert await store.feedback.page("proj_a", newest_first=True, limit=2) == said[:-3:-1]
    assert await store.feedback.page("proj_a", request_id="req_3") == [one for one in said if one.request_id == "req_3"]
