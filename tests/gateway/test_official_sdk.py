"""The official SDK, as callers use it, through a real server: sync, async, streams, tools, parsing, raw answers, its exceptions."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from installation import Installation
from upstream import STREAM_HEAD, Upstream, chunked, completion, delta, event, says, stream, whole

HI: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}
]
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}


@pytest.fixture
def client(shoal: Installation) -> Iterator[openai.OpenAI]:
    """The synchronous client; it does not retry by itself."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{shoal.port}/openai/v1", api_key=shoal.key, max_retries=0) as made:
        yield made


def test_a_completion(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.play("sdk", says(whole(completion("Paris."))))
    answer = client.chat.completions.create(model="up/sdk", messages=HI, temperature=0.5, extra_body={"x_unknown": [1]})
    assert answer.choices[0].message.content == "Paris."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 12
    assert answer.model_extra is not None
    assert answer.model_extra["shoal"]["provider"] == "up"
    assert upstream.received("sdk")[-1].json["x_unknown"] == [1]


def test_a_stream(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.play("sdk-stream", says(stream()))
    plain = list(client.chat.completions.create(model="up/sdk-stream", messages=HI, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in plain) == "Hello."
    counted = list(client.chat.completions.create(model="up/sdk-stream", messages=HI, stream=True, stream_options={"include_usage": True}))
    assert counted[-1].choices == []
    assert counted[-1].usage is not None
    assert counted[-1].usage.prompt_tokens == 9
    assert counted[-1].model_extra is not None
    assert counted[-1].model_extra["shoal"]["id"].startswith("req_")


async def test_asynchronously(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("sdk-async", says(stream()))
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{shoal.port}/v1", api_key=shoal.key, max_retries=0) as client:
        text = ""
        async for chunk in await client.chat.completions.create(model="up/sdk-async", messages=HI, stream=True):
            text += chunk.choices[0].delta.content or ""
        assert text == "Hello."
        upstream.play("sdk-async", says(whole(completion("Paris."))))
        answer = await client.chat.completions.create(model="up/sdk-async", messages=HI)
        assert answer.choices[0].message.content == "Paris."


def test_tools_pass_both_ways(client: openai.OpenAI, upstream: Upstream) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    upstream.play("sdk-tools", says(whole({**completion(), "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})))
    answer = client.chat.completions.create(model="up/sdk-tools", messages=HI, tools=TOOLS, tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    sent = upstream.received("sdk-tools")[-1].json
    assert (sent["tools"], sent["tool_choice"]) == (TOOLS, "required")
    pieces = [{"index": 0, **CALL, "function": {"name": "get_weather", "arguments": ""}}]
    pieces += [{"index": 0, "function": {"arguments": part}} for part in ('{"city"', ': "Paris"}')]
    chunks = [event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                     "choices": [{"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": None}]}) for piece in pieces]  # fmt: skip
    upstream.play("sdk-tools", says(stream([*chunks, delta(None, "tool_calls"), event(b"[DONE]")])))
    arguments = ""
    for chunk in client.chat.completions.create(model="up/sdk-tools", messages=HI, tools=TOOLS, stream=True):
        for part in chunk.choices[0].delta.tool_calls or []:
            arguments += (part.function and part.function.arguments) or ""
    assert json.loads(arguments) == {"city": "Paris"}


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int


def test_parsing_into_a_model(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.play("sdk-parse", says(whole(completion('{"name": "Paris", "people": 2102650}'))))
    answer = client.chat.completions.parse(model="up/sdk-parse", messages=HI, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Paris", people=2102650)
    sent = upstream.received("sdk-parse")[-1].json["response_format"]
    assert (sent["type"], sent["json_schema"]["name"]) == ("json_schema", "City")


def test_raw_answers_show_the_receipt(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="up/sdk-raw", messages=HI)
    assert raw.headers["x-shoal-provider"] == "up"
    assert raw.headers["x-shoal-model"] == "up/sdk-raw"
    assert raw.request_id is not None
    assert raw.request_id.startswith("req_")
    assert raw.parse().choices[0].message.content == "Hello."


def test_the_other_endpoints(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.play(
        "sdk-embed",
        says(
            whole(
                {
                    "object": "list",
                    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
                    "model": "m",
                    "usage": {"prompt_tokens": 1, "total_tokens": 1},
                }
            )
        ),
    )
    assert client.embeddings.create(model="up/sdk-embed", input="x", encoding_format="float").data[0].embedding == [0.5]
    upstream.play(
        "sdk-text",
        says(
            whole(
                {
                    "id": "c",
                    "object": "text_completion",
                    "created": 1,
                    "model": "m",
                    "choices": [{"index": 0, "text": "!", "finish_reason": "stop", "logprobs": None}],
                }
            )
        ),
    )
    assert client.completions.create(model="up/sdk-text", prompt="x").choices[0].text == "!"
    assert "priced" in [model.id for model in client.models.list()]
    assert client.models.retrieve("priced").owned_by == "up"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (401, openai.InternalServerError),  # the upstream refused our key, not the caller's
        (503, openai.InternalServerError),
    ],
)
def test_errors_are_the_sdks_own(client: openai.OpenAI, upstream: Upstream, status: int, kind: type[openai.APIStatusError]) -> None:
    body = {"error": {"message": "no", "type": "invalid_request_error", "param": "messages", "code": "some_code"}}
    upstream.play(f"sdk-error-{status}", says(whole(body, status)))
    with pytest.raises(kind) as found:
        client.chat.completions.create(model=f"up/sdk-error-{status}", messages=HI)
    assert found.value.request_id is not None
    if status in (400, 409, 422):
        assert (found.value.code, found.value.param, found.value.type) == ("some_code", "messages", "invalid_request_error")


def test_our_own_errors_are_the_sdks_too(client: openai.OpenAI, shoal: Installation, upstream: Upstream) -> None:
    upstream.play("sdk-busy", says(whole({}, 429, "retry-after: 60\r\n")))
    with pytest.raises(openai.RateLimitError) as busy:
        client.chat.completions.create(model="up/sdk-busy", messages=HI)
    assert busy.value.response.headers["retry-after"] == "60"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=HI)
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
    wrong: Any = "hi"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model="up/x", messages=wrong)
    assert bad.value.param == "messages"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").chat.completions.create(model="up/x", messages=HI)


def test_a_broken_stream_raises(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.play("sdk-broken", says(STREAM_HEAD + chunked([delta("Hel"), event({"error": {"message": "x"}})])))
    seen = []
    with pytest.raises(openai.APIError) as found:
        for chunk in client.chat.completions.create(model="up/sdk-broken", messages=HI, stream=True):
            seen.append(chunk.choices[0].delta.content)
    assert seen == ["Hel"]
    assert found.value.type == "upstream_error"
