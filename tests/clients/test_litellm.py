"""LiteLLM as a client of a real server: whole, streamed, asynchronous, with tools, embeddings, its exceptions."""

import gc
import json
import os
import warnings
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from weather import ANSWER, answers, assert_went_round, base_url

from installation import Installation
from upstream import Upstream, completion, says, stream, whole

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it asks the network for prices when it is imported
litellm = pytest.importorskip("litellm")

# what it warns of in its own models, and the event loop that it leaves open when it streams
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed (event loop|<socket.socket .*family=1,):ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Items? .* using the .ReadOnly. qualifier:UserWarning"),
    pytest.mark.filterwarnings("ignore:Accessing the 'model_(computed_)?fields' attribute:DeprecationWarning"),
]

HI: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
]


@pytest.fixture(scope="module", autouse=True)
def connections() -> Iterator[None]:
    """It keeps clients of the official SDK, and their connections, for as long as the process lives."""
    yield
    for client in litellm.in_memory_llm_clients_cache.cache_dict.values():
        if isinstance(client, openai.OpenAI):
            client.close()
    litellm.in_memory_llm_clients_cache.flush_cache()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()  # what it left open must not be found by the tests that follow


def at(shoal: Installation, model: str) -> dict[str, Any]:
    """Where to ask, and for whom."""
    return {"model": f"openai/up/{model}", "api_base": base_url(shoal), "api_key": shoal.key, "max_retries": 0}


def test_a_question(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("ll", says(whole(completion("Paris."))))
    answer = litellm.completion(messages=HI, temperature=0.5, **at(shoal, "ll"))
    assert answer.choices[0].message.content == "Paris."
    assert answer.usage.total_tokens == 12
    assert upstream.received("ll")[-1].json["temperature"] == 0.5


def test_a_stream(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("ll-stream", says(stream()))
    chunks = list(litellm.completion(messages=HI, stream=True, stream_options={"include_usage": True}, **at(shoal, "ll-stream")))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello."
    assert chunks[-1].usage.total_tokens == 12


async def test_asynchronously(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("ll-async", says(stream()))
    text = ""
    async for chunk in await litellm.acompletion(messages=HI, stream=True, **at(shoal, "ll-async")):
        text += chunk.choices[0].delta.content or ""
    await litellm.close_litellm_async_clients()
    assert text == "Hello."


@pytest.mark.parametrize("streaming", [False, True])
def test_a_tool_goes_round(shoal: Installation, upstream: Upstream, streaming: bool) -> None:
    model = f"ll-tool-{streaming}"
    upstream.play(model, answers)

    def ask(messages: Any) -> Any:
        answer = litellm.completion(messages=messages, tools=TOOLS, stream=streaming, **at(shoal, model))
        return (litellm.stream_chunk_builder(list(answer)) if streaming else answer).choices[0].message

    called = ask(HI)
    (call,) = called.tool_calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny in Paris"}
    assert ask([*HI, called.model_dump(exclude_none=True), result]).content == ANSWER
    assert_went_round(*upstream.received(model))


def test_embeddings(shoal: Installation, upstream: Upstream) -> None:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    upstream.play("ll-embed", says(whole({"object": "list", "data": data, "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1}})))
    answer = litellm.embedding(input=["x"], encoding_format="float", **at(shoal, "ll-embed"))
    assert answer.data[0]["embedding"] == [0.5, 0.25]


def test_a_refusal_is_an_exception(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("ll-refused", says(whole({"error": {"message": "no", "type": "invalid_request_error", "param": "x", "code": "y"}}, 400)))
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(messages=HI, **at(shoal, "ll-refused"))
    upstream.play("ll-busy", says(whole({}, 429, "retry-after: 60\r\n")))
    with pytest.raises(litellm.RateLimitError):
        litellm.completion(messages=HI, **at(shoal, "ll-busy"))
