"""Instructor through a real server: answers as models, by tools and by schemas, streamed, and its second try when one is not valid."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel, field_validator
from weather import base_url, calls, streamed_call

from installation import Installation
from upstream import Upstream, completion, says, whole

instructor = pytest.importorskip("instructor")

ASKED: Any = [{"role": "user", "content": "Paris?"}]
PARIS = '{"name": "Paris", "people": 2102650}'


class City(BaseModel):
    """What is asked for."""

    name: str
    people: int

    @field_validator("people")
    @classmethod
    def somebody_lives_there(cls, people: int) -> int:
        """A city has people."""
        if people <= 0:
            raise ValueError("nobody lives there")
        return people


def city(arguments: str, number: int = 1) -> dict[str, Any]:
    """A call with a city."""
    return {"id": f"call_{number}", "type": "function", "function": {"name": "City", "arguments": arguments}}


Make = Callable[..., Any]


@pytest.fixture
def client(shoal: Installation) -> Iterator[Make]:
    """Makes clients, by tools if no other mode is named."""
    with openai.OpenAI(base_url=base_url(shoal), api_key=shoal.key, max_retries=0) as made:
        yield lambda mode=instructor.Mode.TOOLS: instructor.from_openai(made, mode=mode)


def test_by_a_tool(client: Make, upstream: Upstream) -> None:
    upstream.play("ins", says(calls(city(PARIS))))
    answer = client().chat.completions.create(model="up/ins", response_model=City, messages=ASKED)
    assert (answer.name, answer.people) == ("Paris", 2102650)
    sent = upstream.received("ins")[-1].json
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "City"}}
    assert sent["tools"][0]["function"]["parameters"]["required"] == ["name", "people"]


def test_by_a_schema(client: Make, upstream: Upstream) -> None:
    upstream.play("ins-schema", says(whole(completion(PARIS))))
    create = client(instructor.Mode.JSON_SCHEMA).chat.completions.create
    assert create(model="up/ins-schema", response_model=City, messages=ASKED).people == 2102650
    assert upstream.received("ins-schema")[-1].json["response_format"]["type"] == "json_schema"


def test_a_stream_of_parts(client: Make, upstream: Upstream) -> None:
    upstream.play("ins-stream", says(streamed_call(city(PARIS))))
    parts = list(client().chat.completions.create_partial(model="up/ins-stream", response_model=City, messages=ASKED))
    assert len(parts) > 1
    assert (parts[-1].name, parts[-1].people) == ("Paris", 2102650)


def test_a_second_try_shows_what_was_wrong(client: Make, upstream: Upstream) -> None:
    upstream.play("ins-retry", says(calls(city('{"name": "Paris", "people": 0}'))), says(calls(city(PARIS, 2))))
    create = client().chat.completions.create
    assert create(model="up/ins-retry", response_model=City, messages=ASKED, max_retries=2).people == 2102650
    first, second = (request.json["messages"] for request in upstream.received("ins-retry"))
    assert second[: len(first)] == first
    assert second[len(first)]["tool_calls"][0]["id"] == "call_1"
    assert "nobody lives there" in second[-1]["content"]
