"""Bodies that wait for a store: who asked for it waits, not for ever; nothing is stored twice, or lost because the store was away."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.core.usage import Usage
from shoal.gateway import bodies
from shoal.gateway.bodies import Bodies
from shoal.storage.bodies import Body

ANSWER = b'{"id":"chatcmpl-1","choices":[]}'
STREAM = b'data: {"id":"chatcmpl-2","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n: shoal {"id":"r"}\n\ndata: [DONE]\n\n'


def call(number: int = 1, *, stream: bool = False, endpoint: str = "chat", body: bytes = b"{}") -> Any:
    fields = SimpleNamespace(store=True, metadata={"a": "b"}, n=None)
    request = SimpleNamespace(fields=fields, body=body, user="ada", model="gpt", stream=stream)
    deployment = SimpleNamespace(model="openai/gpt", provider="openai")
    attempt = SimpleNamespace(usage=Usage(input=1, output=2))
    who = SimpleNamespace(key_id="key_a", project_id="proj_a")
    place = SimpleNamespace(name=endpoint)
    return SimpleNamespace(
        id=f"req_{number}", at_s=1.5, request=request, principal=who, endpoint=place, deployment=deployment, attempt=attempt
    )


class Shelf:
    """A store that can be away."""

    def __init__(self) -> None:
        self.kept: list[Body] = []
        self.away = False
        self.busy = 0

    async def save(self, kept: Sequence[Body]) -> int:
        assert self.busy == 0, "two at once"
        self.busy += 1
        await asyncio.sleep(0)
        self.busy -= 1
        if self.away:
            raise OSError("away")
        self.kept += kept
        return len(kept)


async def nobody() -> frozenset[str]:
    return frozenset()


async def test_who_asked_has_it_stored_when_it_goes_on() -> None:
    shelf = Shelf()
    waiting = Bodies(nobody, shelf.save)
    following = asyncio.create_task(waiting.follow())
    await asyncio.gather(*(waiting.keep(call(number), ANSWER) for number in range(250)))
    assert sorted(one.request_id for one in shelf.kept) == sorted(f"req_{number}" for number in range(250))
    following.cancel()


async def test_a_store_that_is_away_holds_nobody_back_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.01)
    shelf = Shelf()
    shelf.away = True
    waiting = Bodies(nobody, shelf.save)
    with pytest.raises(OSError, match="away"):
        await asyncio.gather(waiting.keep(call(), ANSWER), waiting.flush())
    await waiting.keep(call(2), ANSWER)
    shelf.away = False
    await asyncio.gather(waiting.flush(), waiting.flush())
    assert [one.request_id for one in shelf.kept] == ["req_1", "req_2"]


async def test_chats_are_stored_whole_and_what_is_known_of_them_with_them() -> None:
    shelf = Shelf()
    waiting = Bodies(nobody, shelf.save)
    for number, (answer, more) in enumerate(
        [(ANSWER, {}), (STREAM, {"stream": True}), (STREAM, {"stream": True, "endpoint": "messages"}), (b"data: x\n\n", {"stream": True})]
    ):
        assert waiting.add(call(number, **more), answer)
    await waiting.flush()
    whole, streamed, other, broken = shelf.kept
    assert whole.chat is not None and streamed.chat is not None
    assert (whole.chat.id, streamed.chat.id) == ("chatcmpl-1", "chatcmpl-2")
    assert (whole.chat.asked, whole.chat.model, whole.chat.provider, whole.chat.labels) == (True, "openai/gpt", "openai", {"a": "b"})
    assert whole.response == ANSWER
    assert b'"content":"a"' in streamed.response and b'"prompt_tokens":1' in streamed.response
    assert (other.chat, other.response) == (None, STREAM)
    assert (broken.chat, broken.response) == (None, b"data: x\n\n")


async def test_what_is_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(bodies, "MOST_BYTES", 100)
    monkeypatch.setattr(bodies, "MOST_WAITING_BYTES", 150)
    waiting = Bodies(nobody, Shelf().save)
    assert not waiting.add(call(), b"x" * 101)
    assert not waiting.add(call(body=b"x" * 101), b"")
    assert waiting.add(call(), b"x" * 100)
    assert not waiting.add(call(), b"x" * 100)
    await waiting.keep(call(), b"x" * 101)  # waits for nothing
    await waiting.flush()
    assert waiting.add(call(), b"x" * 100)
    assert len(caplog.records) == 4
