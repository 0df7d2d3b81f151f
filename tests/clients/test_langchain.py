"""LangChain's ChatOpenAI through a real server: whole, streamed, asynchronous, with tools, into a schema."""

from typing import Any

import openai
import pytest
from pydantic import BaseModel, SecretStr
from weather import ANSWER, answers, assert_went_round, base_url

from installation import Installation
from upstream import Upstream, completion, says, stream, whole

langchain_openai = pytest.importorskip("langchain_openai")
messages = pytest.importorskip("langchain_core.messages")
tools = pytest.importorskip("langchain_core.tools")


def chat(shoal: Installation, model: str, **more: Any) -> Any:
    """The client."""
    return langchain_openai.ChatOpenAI(model=f"up/{model}", base_url=base_url(shoal), api_key=SecretStr(shoal.key), max_retries=0, **more)


def test_a_question(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("lc", says(whole(completion("Paris."))))
    answer = chat(shoal, "lc", temperature=0.5).invoke([("system", "Be short."), ("human", "Capital of France?")])
    assert answer.content == "Paris."
    assert answer.usage_metadata["total_tokens"] == 12
    sent = upstream.received("lc")[-1].json
    assert (sent["model"], sent["temperature"], [message["role"] for message in sent["messages"]]) == ("lc", 0.5, ["system", "user"])


def test_a_stream(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("lc-stream", says(stream()))
    pieces = list(chat(shoal, "lc-stream", stream_usage=True).stream("hi"))
    assert "".join(piece.content for piece in pieces) == "Hello."
    assert len([piece for piece in pieces if piece.content]) == 2
    assert sum(piece.usage_metadata["total_tokens"] for piece in pieces if piece.usage_metadata) == 12


async def test_asynchronously(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("lc-async", says(stream()))
    async with openai.DefaultAsyncHttpxClient() as connections:
        pieces = [piece.content async for piece in chat(shoal, "lc-async", http_async_client=connections).astream("hi")]
    assert "".join(pieces) == "Hello."


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_goes_round(shoal: Installation, upstream: Upstream, streaming: bool) -> None:
    model = f"lc-tool-{streaming}"
    upstream.play(model, answers)

    @tools.tool
    def get_weather(city: str) -> str:
        """Tell the weather of a city."""
        return f"sunny in {city}"

    client = chat(shoal, model, streaming=streaming).bind_tools([get_weather])
    asked = [messages.HumanMessage("How is the weather in Paris?")]
    called = client.invoke(asked)
    (call,) = called.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
    answer = client.invoke([*asked, called, get_weather.invoke(call)])
    assert answer.content == ANSWER
    assert_went_round(*upstream.received(model))


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int


def test_into_a_schema(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("lc-schema", says(whole(completion('{"name": "Paris", "people": 2102650}'))))
    answer = chat(shoal, "lc-schema").with_structured_output(City, method="json_schema").invoke("Paris?")
    assert answer == City(name="Paris", people=2102650)
    assert upstream.received("lc-schema")[-1].json["response_format"]["json_schema"]["name"] == "City"


def test_a_refusal_is_an_exception(shoal: Installation) -> None:
    with pytest.raises(openai.NotFoundError) as found:
        chat(shoal, "x").bind(model="no-such-model").invoke("hi")
    assert found.value.code == "model_not_found"
