"""Pydantic AI's agents through a real server: whole, streamed, with tools, into a schema."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from weather import ANSWER, answers, assert_went_round, base_url, calls

from installation import Installation
from upstream import Upstream, completion, says, stream, whole

pydantic_ai = pytest.importorskip("pydantic_ai")
models = pytest.importorskip("pydantic_ai.models.openai")
providers = pytest.importorskip("pydantic_ai.providers.openai")


Make = Callable[..., Any]


@pytest.fixture
async def agent(shoal: Installation) -> AsyncIterator[Make]:
    """Makes agents that ask a model of the upstream; their client does not retry by itself."""
    async with openai.AsyncOpenAI(base_url=base_url(shoal), api_key=shoal.key, max_retries=0) as client:
        provider = providers.OpenAIProvider(openai_client=client)
        yield lambda model, **more: pydantic_ai.Agent(models.OpenAIChatModel(f"up/{model}", provider=provider), **more)


async def test_a_question(agent: Make, upstream: Upstream) -> None:
    upstream.play("pa", says(whole(completion("Paris."))))
    result = await agent("pa", instructions="Be short.").run("Capital of France?")
    assert result.output == "Paris."
    assert upstream.received("pa")[-1].json["messages"][0]["content"] == "Be short."


async def test_a_stream(agent: Make, upstream: Upstream) -> None:
    upstream.play("pa-stream", says(stream()))
    async with agent("pa-stream").run_stream("hi") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == "Hello."


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_tool_goes_round(agent: Make, upstream: Upstream, streaming: bool) -> None:
    model = f"pa-tool-{streaming}"
    upstream.play(model, answers)
    client = agent(model)

    @client.tool_plain
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"sunny in {city}"

    if streaming:
        async with client.run_stream("How is the weather in Paris?") as result:
            assert await result.get_output() == ANSWER
    else:
        assert (await client.run("How is the weather in Paris?")).output == ANSWER
    assert_went_round(*upstream.received(model))


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int


async def test_into_a_schema(agent: Make, upstream: Upstream) -> None:
    """Pydantic AI asks for a schema by a tool of its own, which must be called."""
    call = {"id": "call_2", "type": "function", "function": {"name": "final_result", "arguments": '{"name": "Paris", "people": 2102650}'}}
    upstream.play("pa-schema", says(calls(call)))
    result = await agent("pa-schema", output_type=City).run("Paris?")
    assert result.output == City(name="Paris", people=2102650)
    sent = upstream.received("pa-schema")[-1].json
    assert (sent["tool_choice"], sent["tools"][0]["function"]["name"]) == ("required", "final_result")


async def test_a_refusal_is_an_exception(agent: Make, upstream: Upstream) -> None:
    upstream.play("pa-refused", says(whole({"error": {"message": "no", "type": "invalid_request_error", "param": "x", "code": "y"}}, 400)))
    with pytest.raises(pydantic_ai.exceptions.ModelHTTPError) as found:
        await agent("pa-refused").run("hi")
    assert found.value.status_code == 400
