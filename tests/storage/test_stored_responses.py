"""Stored responses: continued, read and deleted by their owner alone, gone in time, and never more of them at once than fits."""

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from shoal.core.errors import Fault
from shoal.storage import responses as module
from shoal.storage.responses import RETENTION_MS
from shoal.storage.store import Store


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def said(number: int) -> dict[str, Any]:
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [{"type": "output_text", "text": f"answer {number}"}]}


def asked(number: int) -> dict[str, Any]:
    return {"role": "user", "content": f"question {number}"}


async def save(store: Store, number: int, previous: int | None = None, key_id: str = "key_a") -> bytes:
    body = msgspec.json.encode({"id": f"resp_{number}", "output": [said(number)], "usage": {"cost": 0.5}, "shoal": {}})
    assert await store.responses.save(key_id, body, [raw(asked(number))], None if previous is None else f"resp_{previous}")
    return body


def plain(items: list[msgspec.Raw]) -> list[Any]:
    return [json.loads(bytes(item)) for item in items]


async def test_a_response_is_found_as_it_was_saved(store: Store) -> None:
    before = time.time_ns() // 1_000_000
    body = await save(store, 1)
    found = await store.responses.find("resp_1", "key_a")
    assert found is not None
    assert (found.id, found.previous_id, found.response, plain(found.input)) == ("resp_1", None, body, [asked(1)])
    assert found.expires_at_ms - found.created_at_ms == RETENTION_MS == 30 * 86_400_000
    assert before <= found.created_at_ms <= time.time_ns() // 1_000_000


async def test_another_key_has_no_such_response(store: Store) -> None:
    await save(store, 1)
    assert await store.responses.find("resp_1", "key_b") is None
    assert not await store.responses.delete("resp_1", "key_b")
    assert await store.responses.items(["msg_1"], "key_b") == {}
    with pytest.raises(Fault, match="'resp_1' not found"):
        await store.responses.chain("resp_1", "key_b")
    assert await store.responses.find("resp_1", "key_a") is not None


async def test_two_keys_may_have_responses_of_one_id(store: Store) -> None:
    await save(store, 1)
    await save(store, 1, key_id="key_b")
    assert await store.responses.delete("resp_1", "key_a")
    assert await store.responses.find("resp_1", "key_b") is not None
    assert set(await store.responses.items(["msg_1"], "key_b")) == {"msg_1"}


async def test_a_chain_holds_every_turn_in_order(store: Store) -> None:
    for number in range(1, 5):
        await save(store, number, number - 1 or None)
    found = plain(await store.responses.chain("resp_4", "key_a"))
    assert found == [item for number in range(1, 5) for item in (asked(number), said(number))]
    assert plain(await store.responses.chain("resp_2", "key_a")) == found[:4]


async def test_one_response_may_be_continued_twice(store: Store) -> None:
    await save(store, 1)
    await save(store, 2, 1)
    await save(store, 3, 1)
    assert plain(await store.responses.chain("resp_3", "key_a")) == [asked(1), said(1), asked(3), said(3)]


async def test_a_deleted_response_is_gone_for_good(store: Store) -> None:
    await save(store, 1)
    await save(store, 2, 1)
    assert await store.responses.delete("resp_1", "key_a")
    assert not await store.responses.delete("resp_1", "key_a")
    assert await store.responses.items(["msg_1", "msg_2"], "key_a") == {"msg_2": raw(said(2))}
    with pytest.raises(Fault, match="'resp_1' not found") as caught:
        await store.responses.chain("resp_2", "key_a")
    assert (caught.value.kind, caught.value.param, caught.value.status) == ("previous_response_not_found", "previous_response_id", 400)


async def test_what_is_past_its_time_is_not_there_and_is_cleared_away(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await save(store, 1)
    now = time.time_ns() // 1_000_000 + RETENTION_MS
    monkeypatch.setattr(module, "_now_ms", lambda: now - 10_000)
    await save(store, 2, 1)
    assert await store.responses.expire() == 0
    monkeypatch.setattr(module, "_now_ms", lambda: now + 10_000)
    assert await store.responses.find("resp_1", "key_a") is None
    assert await store.responses.items(["msg_1"], "key_a") == {}
    assert not await store.responses.delete("resp_1", "key_a")
    with pytest.raises(Fault, match="'resp_1' not found"):
        await store.responses.chain("resp_2", "key_a")
    assert await store.responses.expire() == 1
    assert await store.responses.find("resp_2", "key_a") is not None


async def test_a_chain_that_is_too_deep_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHAIN_MAX_RESPONSES", 3)
    for number in range(1, 5):
        await save(store, number, number - 1 or None)
    assert len(await store.responses.chain("resp_3", "key_a")) == 6
    with pytest.raises(Fault, match="more than 3 responses") as caught:
        await store.responses.chain("resp_4", "key_a")
    assert (caught.value.status, caught.value.param) == (400, "previous_response_id")


async def test_a_chain_that_is_too_large_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await save(store, 1)
    await save(store, 2, 1)
    monkeypatch.setattr(module, "CHAIN_MAX_BYTES", 300)
    assert len(await store.responses.chain("resp_1", "key_a")) == 2
    with pytest.raises(Fault, match="holds more than"):
        await store.responses.chain("resp_2", "key_a")


async def test_a_response_that_continues_itself_does_not_go_on_for_ever(store: Store) -> None:
    await save(store, 1, 1)
    with pytest.raises(Fault, match="more than"):
        await asyncio.wait_for(store.responses.chain("resp_1", "key_a"), 10)


async def test_saving_an_id_again_replaces_it(store: Store) -> None:
    await save(store, 1)
    body = b'{"id":"resp_1","output":[{"id":"msg_1","type":"message"}]}'
    assert await store.responses.save("key_a", body, [])
    found = await store.responses.find("resp_1", "key_a")
    assert found is not None and (found.response, found.input) == (body, [])
    assert plain([(await store.responses.items(["msg_1"], "key_a"))["msg_1"]]) == [{"id": "msg_1", "type": "message"}]


async def test_items_are_found_by_id_in_the_order_asked(store: Store) -> None:
    await save(store, 1)
    await save(store, 2)
    assert list(await store.responses.items(["msg_2", "msg_9", "msg_1"], "key_a")) == ["msg_2", "msg_1"]
    with pytest.raises(Fault, match="refers to more than"):
        await store.responses.items(["x"] * (module.ITEMS_MAX + 1), "key_a")


@pytest.mark.parametrize("body", [b"{}", b'{"id":null}', b"[]", b'{"id":"resp_1","output":3}'])
async def test_what_has_no_id_is_not_kept(store: Store, body: bytes) -> None:
    assert not await store.responses.save("key_a", body, [])
    assert await store.responses.find("resp_1", "key_a") is None


async def test_items_without_an_id_are_kept_in_their_response(store: Store) -> None:
    body = b'{"id":"resp_1","output":[{"type":"x"},{"id":7},{"id":"a"},{"id":"a"}]}'
    assert await store.responses.save("key_a", body, [])
    assert len(await store.responses.chain("resp_1", "key_a")) == 4
    assert set(await store.responses.items(["a"], "key_a")) == {"a"}
