"""OpenAI's own SDK, unmodified, against upstreams of every dialect: chats, responses, embeddings, rankings, models, errors."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from installation import Installation
from polyglot import (
    AFTER,
    CACHED,
    COST,
    DIALECTS,
    INPUT,
    OUTPUT,
    PICTURE,
    PROVIDERS,
    SCENES,
    SECONDS,
    SIGNATURE,
    SIGNING,
    THOUGHT,
    VECTORS,
    WITHOUT_CACHE,
    WORDS,
    Polyglot,
    name,
)

HI: Any = [{"role": "user", "content": "hi"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOLS: Any = [{"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": PARAMETERS}}]
FUNCTIONS: Any = [{"type": "function", "name": "get_weather", "description": "The weather.", "parameters": PARAMETERS, "strict": False}]

every = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def client(everyone: Installation) -> Iterator[openai.OpenAI]:
    """It does not retry by itself."""
    with openai.OpenAI(base_url=f"http://127.0.0.1:{everyone.port}/v1", api_key=everyone.key, max_retries=0) as made:
        yield made


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int


PARIS = City(name="Paris", people=2102650)


def cost_of(dialect: str) -> float:
    return WITHOUT_CACHE if dialect == "cohere" else COST


def reports_thought(dialect: str) -> bool:
    """Anthropic, Amazon and Cohere do not say how many of the tokens were thought."""
    return dialect in ("openai_chat", "openai_responses", "gemini")


@every
def test_a_whole_answer(client: openai.OpenAI, dialect: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=name(dialect, "plain"), messages=HI, max_tokens=50)
    answer = raw.parse()
    assert answer.object == "chat.completion" and answer.id and answer.created
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", "Hello there.", "stop")
    used = answer.usage
    assert used is not None and used.prompt_tokens_details is not None
    assert (used.prompt_tokens, used.completion_tokens, used.total_tokens) == (INPUT, OUTPUT, INPUT + OUTPUT)
    assert used.prompt_tokens_details.cached_tokens == CACHED
    thought = used.completion_tokens_details.reasoning_tokens if used.completion_tokens_details else None
    assert thought == (THOUGHT if reports_thought(dialect) else None)
    assert used.model_extra is not None and used.model_extra["cost"] == pytest.approx(cost_of(dialect))
    assert answer.model_extra is not None
    receipt = answer.model_extra["shoal"]
    assert (receipt["provider"], receipt["model"]) == (PROVIDERS[dialect][0], name(dialect, "plain"))
    assert receipt["id"] == raw.request_id == raw.headers["x-request-id"]
    assert client.get(f"/receipts/{receipt['id']}", cast_to=dict[str, Any])["id"] == receipt["id"]


@every
def test_a_stream(client: openai.OpenAI, dialect: str) -> None:
    asked: Any = {"model": name(dialect, "plain"), "messages": HI, "stream": True}
    assert all(chunk.usage is None for chunk in client.chat.completions.create(**asked))
    chunks = list(client.chat.completions.create(**asked, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello there."
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason] == ["stop"]
    assert len({chunk.id for chunk in chunks}) == 1
    last = chunks[-1]
    assert last.usage is not None and last.usage.model_extra is not None and last.model_extra is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (INPUT, OUTPUT)
    assert last.usage.model_extra["cost"] == pytest.approx(cost_of(dialect))
    assert last.model_extra["shoal"]["provider"] == PROVIDERS[dialect][0]


@every
async def test_asynchronously(everyone: Installation, dialect: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{everyone.port}/v1", api_key=everyone.key, max_retries=0) as client:
        answer = await client.chat.completions.create(model=name(dialect, "plain"), messages=HI)
        assert answer.choices[0].message.content == "Hello there."
        async with client.chat.completions.stream(model=name(dialect, "plain"), messages=HI) as stream:
            assert (await stream.get_final_completion()).choices[0].message.content == "Hello there."
        response = await client.responses.create(model=name(dialect, "plain"), input="hi")
        assert response.output_text == "Hello there."


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_calls_go_round(client: openai.OpenAI, upstreams: Polyglot, dialect: str, streamed: bool) -> None:
    asked: Any = {"model": name(dialect, "calls"), "tools": TOOLS, "tool_choice": "auto", "reasoning_effort": "low"}
    if streamed:
        with client.chat.completions.stream(messages=HI, **asked) as stream:
            answer: Any = stream.get_final_completion()
    else:
        answer = client.chat.completions.create(messages=HI, **asked)
    (choice,) = answer.choices
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)["city"]) for call in calls] == [
        ("get_weather", "Paris"),
        ("get_weather", "Oslo"),
    ]
    assert len({call.id for call in calls}) == 2
    said = choice.message.model_dump(exclude_none=True)
    results = [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
    after = client.chat.completions.create(messages=[*HI, said, *results], **asked)
    assert after.choices[0].message.content == AFTER.text
    sent = upstreams.heard(dialect, "calls")[-1].body
    assert sent.count(b"sunny") == 2
    if dialect in SIGNING:
        assert sent.count(SIGNATURE.encode()) == 1
    if dialect != "gemini":  # which knows calls by their order
        assert all(call.id.encode() in sent for call in calls)


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_thought_survives_the_next_turn(client: openai.OpenAI, upstreams: Polyglot, dialect: str, streamed: bool) -> None:
    asked: Any = {"model": name(dialect, "thinks"), "reasoning_effort": "low"}
    if streamed:
        with client.chat.completions.stream(messages=HI, **asked) as stream:
            message: Any = stream.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(messages=HI, **asked).choices[0].message
    assert message.content == SCENES["thinks"].text
    details = message.model_extra["reasoning_details"]
    words = "".join(one.get("text") or one.get("summary") or "" for one in details)
    assert words == SCENES["thinks"].thought
    client.chat.completions.create(messages=[*HI, message.model_dump(exclude_none=True), *HI], **asked)
    sent = upstreams.heard(dialect, "thinks")[-1].body
    if dialect in SIGNING:
        assert sent.count(SIGNATURE.encode()) == 1
    else:
        assert SCENES["thinks"].thought.encode() in sent


@every
def test_pictures_go_in(client: openai.OpenAI, upstreams: Polyglot, dialect: str) -> None:
    parts: Any = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
    ]
    client.chat.completions.create(model=name(dialect, "plain"), messages=[{"role": "user", "content": parts}])
    assert PICTURE.encode() in upstreams.heard(dialect, "plain")[-1].body


@every
def test_parsing(client: openai.OpenAI, upstreams: Polyglot, dialect: str) -> None:
    model = name(dialect, "object")
    answer = client.chat.completions.parse(model=model, messages=HI, response_format=City)
    assert answer.choices[0].message.parsed == PARIS
    with client.chat.completions.stream(model=model, messages=HI, response_format=City) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == PARIS
    assert client.responses.parse(model=model, input="hi", text_format=City).output_parsed == PARIS
    for request in upstreams.heard(dialect, "object")[-3:]:
        assert b"people" in request.body


@every
def test_why_it_ended(client: openai.OpenAI, upstreams: Polyglot, dialect: str) -> None:
    answer = client.chat.completions.create(model=name(dialect, "long"), messages=HI, max_completion_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    response = client.responses.create(model=name(dialect, "long"), input="hi", max_output_tokens=16)
    assert response.status == "incomplete" and response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


@every
def test_stops_are_told_or_named_as_left_out(client: openai.OpenAI, upstreams: Polyglot, dialect: str) -> None:
    answer = client.chat.completions.create(model=name(dialect, "plain"), messages=HI, stop=["THE END"])
    assert answer.model_extra is not None
    told = b"THE END" in upstreams.heard(dialect, "plain")[-1].body
    assert told is not ("stop" in (answer.model_extra["shoal"].get("dropped") or []))
    assert told is (dialect != "openai_responses")


@every
def test_errors_are_the_sdks_own(client: openai.OpenAI, dialect: str) -> None:
    def refused(scene: str, kind: type[openai.APIStatusError], stream: bool = False) -> openai.APIStatusError:
        with pytest.raises(kind) as found:
            client.chat.completions.create(model=name(dialect, scene), messages=HI, stream=stream)
        return found.value

    for stream in (False, True):
        rejected = refused("rejected", openai.BadRequestError, stream)
        assert WORDS in rejected.message and rejected.type == "invalid_request_error"
    denied = refused("denied", openai.InternalServerError)
    assert (denied.status_code, denied.code) == (502, "upstream_auth") and WORDS not in denied.message
    assert refused("absent", openai.NotFoundError).code == "model_not_found"
    busy = refused("busy", openai.RateLimitError)
    assert (busy.response.headers["retry-after"], busy.code) == (str(SECONDS), "rate_limit_exceeded")
    assert refused("broken", openai.InternalServerError).code == "upstream_error"
    for error in (rejected, denied, busy):
        assert error.request_id is not None
    with pytest.raises(openai.BadRequestError) as in_response:
        client.responses.create(model=name(dialect, "rejected"), input="hi")
    assert WORDS in in_response.value.message


def test_our_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-shoal-wrong").models.list()
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="anthropic-plane", messages=HI)
    assert "anthropic-plain" in unknown.value.message and unknown.value.param == "model"


@every
def test_a_response(client: openai.OpenAI, dialect: str) -> None:
    response = client.responses.create(model=name(dialect, "plain"), input="hi", instructions="Be brief.")
    assert (response.status, response.output_text) == ("completed", "Hello there.")
    used = response.usage
    assert used is not None and used.model_extra is not None and response.model_extra is not None
    assert (used.input_tokens, used.input_tokens_details.cached_tokens, used.output_tokens) == (INPUT, CACHED, OUTPUT)
    assert used.output_tokens_details.reasoning_tokens == (THOUGHT if reports_thought(dialect) else 0)
    assert used.model_extra["cost"] == pytest.approx(cost_of(dialect))
    assert response.model_extra["shoal"]["provider"] == PROVIDERS[dialect][0]


@every
def test_responses_are_continued_shown_and_deleted(client: openai.OpenAI, upstreams: Polyglot, dialect: str) -> None:
    model = name(dialect, "thinks")
    first = client.responses.create(model=model, input="What is two and two?", reasoning={"effort": "low"})
    assert client.responses.retrieve(first.id).output_text == SCENES["thinks"].text
    asked = client.responses.input_items.list(first.id).data
    assert "What is two and two?" in asked[0].to_json()
    with client.responses.stream(model=model, input="And three?", previous_response_id=first.id, reasoning={"effort": "low"}) as stream:
        second = stream.get_final_response()
    assert second.id != first.id
    sent = upstreams.heard(dialect, "thinks")[-1].body
    for words in ("What is two and two?", SCENES["thinks"].text, "And three?"):
        assert words.encode() in sent
    if dialect in SIGNING:
        assert sent.count(SIGNATURE.encode()) == 1
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as gone:
        client.responses.create(model=model, input="And four?", previous_response_id=first.id)
    assert gone.value.code == "previous_response_not_found"


@every
def test_a_streamed_response_is_what_its_events_say(client: openai.OpenAI, dialect: str) -> None:
    with client.responses.stream(model=name(dialect, "thinks"), input="hi", reasoning={"effort": "low", "summary": "auto"}) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == SCENES["thinks"].text
    assert final.output_text == SCENES["thinks"].text
    thought = next(item for item in final.output if item.type == "reasoning")
    assert "".join(part.text for part in thought.summary or thought.content or []) == SCENES["thinks"].thought
    assert final.usage is not None and final.usage.output_tokens == OUTPUT


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_functions_of_responses_go_round(client: openai.OpenAI, upstreams: Polyglot, dialect: str, streamed: bool) -> None:
    asked: Any = {"model": name(dialect, "calls"), "tools": FUNCTIONS, "store": False, "include": ["reasoning.encrypted_content"]}
    asked["reasoning"] = {"effort": "low"}
    if streamed:
        with client.responses.stream(input="hi", **asked) as stream:
            response: Any = stream.get_final_response()
    else:
        response = client.responses.create(input="hi", **asked)
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.name, json.loads(call.arguments)["city"]) for call in calls] == [("get_weather", "Paris"), ("get_weather", "Oslo")]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    items: Any = [{"role": "user", "content": "hi"}, *(item.to_dict() for item in response.output), *results]
    assert client.responses.create(input=items, **asked).output_text == AFTER.text
    sent = upstreams.heard(dialect, "calls")[-1].body
    assert sent.count(b"sunny") == 2
    if dialect in SIGNING:
        assert sent.count(SIGNATURE.encode()) == 1


@pytest.mark.parametrize("dialect", ["openai_chat", "gemini", "cohere"])
def test_embeddings(client: openai.OpenAI, dialect: str) -> None:
    for encoding in ("float", None):  # the SDK asks for base64 by itself
        more: Any = {"encoding_format": encoding} if encoding else {}
        answer = client.embeddings.create(model=name(dialect, "vectors"), input=["a", "b"], **more)
        assert [row.embedding for row in answer.data] == VECTORS


@pytest.mark.parametrize("dialect", ["openai_chat", "cohere"])
def test_rankings(client: openai.OpenAI, dialect: str) -> None:
    asked = {"model": name(dialect, "ranks"), "query": "q", "documents": ["a", "b"], "return_documents": True}
    answer: Any = client.post("/rerank", body=asked, cast_to=dict[str, Any])
    assert [(one["index"], one["document"]["text"]) for one in answer["results"]] == [(1, "b"), (0, "a")]


def test_models(client: openai.OpenAI) -> None:
    models = {model.id: model for model in client.models.list()}
    for dialect in DIALECTS:
        model = models[name(dialect, "plain")]
        assert model.owned_by == PROVIDERS[dialect][0]
        assert client.models.retrieve(model.id) == model
