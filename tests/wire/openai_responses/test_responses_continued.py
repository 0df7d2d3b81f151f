"""State, end to end but for the sockets: the official SDK, this dialect and a real store, put together as a gateway would."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from shoal.core.answer import Answer, Choice, split
from shoal.core.conversation import Conversation, Reasoning, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.storage.store import Store, open_store
from shoal.wire.openai_responses import envelope, history, requests
from shoal.wire.openai_responses.dialect import CALLER

JSON = {"content-type": "application/json"}


class Gateway:
    """Answers `turn N` to the Nth request, thinking and calling a function on the way; the key is who asks."""

    def __init__(self, store: Store) -> None:
        self.responses = store.responses
        self.asked: list[Conversation] = []

    async def handle(self, request: httpx.Request) -> httpx.Response:
        key = request.headers["authorization"].removeprefix("Bearer ")
        try:
            if request.method == "POST":
                return await self._create(await request.aread(), key)
            return await self._stored(request, key)
        except Fault as fault:
            return httpx.Response(fault.status, content=CALLER.error(fault, b"null"), headers=JSON)

    async def _create(self, body: bytes, key: str) -> httpx.Response:
        given = envelope.read(body)
        earlier = await self.responses.chain(given.previous, key) if given.previous else []
        found = await self.responses.items(refs, key) if (refs := history.references(given)) else {}
        conversation = requests.read(history.extend(given, earlier, found).body)
        self.asked.append(conversation)
        number = len(self.asked)
        thought = Reasoning("hm", signature=f"sig {number}", origin="anthropic")
        parts = (thought, Text(f"turn {number}"), ToolCall(f"call_{number}", "f", "{}"))
        answer = Answer(choices=(Choice(parts, "tool_calls"),), usage=Usage(input=1, output=2))
        about: Any = {"response_id": f"resp_{number}", "created": 17}
        if given.stream:
            writer = CALLER.stream(conversation, **about)
            out = writer.feed(list(split(answer))) + writer.close("0.5", b"{}")
            whole, head = writer.response, {"content-type": "text/event-stream"}
        else:
            out = whole = CALLER.answer(answer, "0.5", b"{}", conversation=conversation, **about)
            head = JSON
        if given.store:
            assert await self.responses.save(key, whole, history.input_items(given), given.previous)
        return httpx.Response(200, content=out, headers=head)

    async def _stored(self, request: httpx.Request, key: str) -> httpx.Response:
        response_id, _, rest = request.url.path.removeprefix("/v1/responses/").partition("/")
        stored = await self.responses.find(response_id, key)
        if stored is None:
            raise history.not_found(response_id)
        if rest:
            return httpx.Response(200, content=history.page(stored.input, response_id, **dict(request.url.params)), headers=JSON)
        if request.method == "DELETE":
            assert await self.responses.delete(response_id, key)
            return httpx.Response(200, content=history.deleted(response_id), headers=JSON)
        return httpx.Response(200, content=stored.response, headers=JSON)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    store = await open_store(tmp_path / "shoal.db")
    yield Gateway(store)
    await store.close()


def client(gateway: Gateway, key: str = "key_a") -> openai.AsyncOpenAI:
    http = httpx.AsyncClient(transport=httpx.MockTransport(gateway.handle))
    return openai.AsyncOpenAI(base_url="http://shoal/v1", api_key=key, max_retries=0, http_client=http)


async def test_a_response_is_continued_with_its_thoughts_and_calls(gateway: Gateway) -> None:
    async with client(gateway) as sdk:
        first = await sdk.responses.create(model="m", input="one", instructions="only now")
        async with sdk.responses.stream(
            model="m",
            input=[{"type": "function_call_output", "call_id": "call_1", "output": "r"}],
            previous_response_id=first.id,
        ) as stream:
            second = await stream.get_final_response()
        assert second.previous_response_id == first.id
        await sdk.responses.create(model="m", input="three", previous_response_id=second.id)
    said = [[(message.role, part) for part in message.parts] for message in gateway.asked[-1].messages]
    roles = [message[0][0] for message in said]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert [part for _, part in said[1]] == [
        Reasoning("hm", signature="sig 1", origin="anthropic"),
        Text("turn 1"),
        ToolCall("call_1", "f", "{}"),
    ]


async def test_a_response_is_read_listed_and_deleted_by_its_owner(gateway: Gateway) -> None:
    async with client(gateway) as sdk, client(gateway, "key_b") as other:
        made = await sdk.responses.create(model="m", input="one")
        assert await sdk.responses.retrieve(made.id) == made
        items = [item async for item in sdk.responses.input_items.list(made.id)]
        assert [item.type for item in items] == ["message"]
        for call in (other.responses.retrieve(made.id), other.responses.input_items.list(made.id)):
            with pytest.raises(openai.NotFoundError):
                await call
        with pytest.raises(openai.BadRequestError) as caught:
            await other.responses.create(model="m", input="x", previous_response_id=made.id)
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
        await sdk.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.retrieve(made.id)


async def test_what_is_not_to_be_stored_is_not(gateway: Gateway) -> None:
    async with client(gateway) as sdk:
        made = await sdk.responses.create(model="m", input="one", store=False)
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.retrieve(made.id)
        with pytest.raises(openai.BadRequestError):
            await sdk.responses.create(model="m", input="two", previous_response_id=made.id)


async def test_items_may_be_referred_to(gateway: Gateway) -> None:
    async with client(gateway) as sdk:
        made = await sdk.responses.create(model="m", input="one")
        given: Any = [
            {"role": "user", "content": "one"},
            *({"type": "item_reference", "id": item.id} for item in made.output),
            {"type": "function_call_output", "call_id": "call_1", "output": "r"},
        ]
        await sdk.responses.create(model="m", input=given)
    parts = gateway.asked[-1].messages[1].parts
    assert parts == (Reasoning("hm", signature="sig 1", origin="anthropic"), Text("turn 1"), ToolCall("call_1", "f", "{}"))
