"""The official SDK, over the mini's own socket: what it parses is what was said."""

import asyncio

import httpx
import openai
import pydantic
import pytest
from scripted import ScriptedEmbedder, ScriptedEngine, serving

MESSAGES = [{"role": "user", "content": "Hi"}]


class Person(pydantic.BaseModel):
    """A response format."""

    name: str
    age: int


class Add(pydantic.BaseModel):
    """A tool's arguments."""

    a: int


def _sync(path):
    return openai.OpenAI(base_url="http://mini/v1", api_key="-", http_client=httpx.Client(transport=httpx.HTTPTransport(uds=str(path))))


def _async(path):
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    return openai.AsyncOpenAI(base_url="http://mini/v1", api_key="-", max_retries=0, http_client=httpx.AsyncClient(transport=transport))


async def test_sync_and_async(tmp_path):
    async with serving(tmp_path, ScriptedEngine(), ScriptedEmbedder()) as served:
        with _sync(served.path) as client:
            whole = await asyncio.to_thread(client.chat.completions.create, model="minnow", messages=MESSAGES)
            assert whole.choices[0].message.content == "Hello!"
            chunks = await asyncio.to_thread(lambda: list(client.chat.completions.create(model="minnow", messages=MESSAGES, stream=True)))
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello!"
            assert [model.id for model in await asyncio.to_thread(lambda: client.models.list().data)] == ["minnow", "minnow-embed"]
        async with _async(served.path) as client:
            answers = await asyncio.gather(*[client.chat.completions.create(model="minnow", messages=MESSAGES, n=2) for _ in range(20)])
            assert {choice.message.content for answer in answers for choice in answer.choices} == {"Hello!"}
            vectors = await client.embeddings.create(model="minnow-embed", input=["a", "bc"])
            assert [len(item.embedding) for item in vectors.data] == [4, 4]
            completion = await client.completions.create(model="minnow", prompt="x")
            assert completion.choices[0].text == "Hello!"


async def test_a_pydantic_model_is_parsed(tmp_path):
    engine = ScriptedEngine(lambda prompt, sampling: '{"name": "Ada", "age": 36}')
    async with serving(tmp_path, engine) as served, _async(served.path) as client:
        answer = await client.chat.completions.parse(model="minnow", messages=MESSAGES, response_format=Person)
        assert answer.choices[0].message.parsed == Person(name="Ada", age=36)
        async with client.chat.completions.stream(model="minnow", messages=MESSAGES, response_format=Person) as stream:
            kinds = [event.type async for event in stream]
            final = await stream.get_final_completion()
        assert kinds[-1] == "content.done"
        assert final.choices[0].message.parsed == Person(name="Ada", age=36)


async def test_a_tool_is_parsed(tmp_path):
    engine = ScriptedEngine(lambda prompt, sampling: '{"a": 5}')
    tools = [openai.pydantic_function_tool(Add)]
    async with serving(tmp_path, engine) as served, _async(served.path) as client:
        for choice in ("required", {"type": "function", "function": {"name": "Add"}}):
            answer = await client.chat.completions.parse(model="minnow", messages=MESSAGES, tools=tools, tool_choice=choice)
            assert answer.choices[0].message.tool_calls[0].function.parsed_arguments == Add(a=5)
            async with client.chat.completions.stream(model="minnow", messages=MESSAGES, tools=tools, tool_choice=choice) as stream:
                final = await stream.get_final_completion()
            assert final.choices[0].message.tool_calls[0].function.parsed_arguments == Add(a=5)
            # what was said can be sent back as it is
            history = [*MESSAGES, final.choices[0].message, {"role": "tool", "tool_call_id": "c", "content": "6"}]
            await client.chat.completions.create(model="minnow", messages=history, tools=tools)


async def test_refusals_are_the_sdks_exceptions(tmp_path):
    async with serving(tmp_path, ScriptedEngine(slots=0)) as served, _async(served.path) as client:
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="minnow", messages=MESSAGES, temperature=3)
        assert (bad.value.param, bad.value.code) == ("temperature", "invalid_value")
        with pytest.raises(openai.RateLimitError) as full:
            await client.chat.completions.create(model="minnow", messages=MESSAGES)
        assert full.value.response.headers["retry-after"] == "3"
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="other", messages=MESSAGES)
        with pytest.raises(openai.InternalServerError):
            await client.embeddings.create(model="minnow-embed", input="x")
