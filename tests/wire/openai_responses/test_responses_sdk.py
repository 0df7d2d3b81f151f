"""The official SDK against this dialect's callers' side: what it parses is what was said. No server: a transport that answers at once."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pydantic
import pytest

from shoal.core.answer import Answer, Began, Choice, Delta, Ended, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, Used, fold
from shoal.core.conversation import Conversation, Reasoning, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.openai_responses import envelope, history
from shoal.wire.openai_responses.dialect import CALLER

RECEIPT = b'{"id":"req_1","provider":"up"}'
USAGE = Usage(input=10, output=7, cache_read=4, reasoning=3)
HEAD = {"content-type": "text/event-stream"}
TOOLS: Any = [
    {
        "type": "function",
        "name": "get_weather",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    }
]

Says = Callable[[Conversation], list[Delta]]


class Person(pydantic.BaseModel):
    """A format."""

    name: str
    age: int


def answer(says: Says, asked: list[Conversation]) -> Callable[[httpx.Request], httpx.Response]:
    def handle(request: httpx.Request) -> httpx.Response:
        body = request.read()
        try:
            conversation = CALLER.read(body)
        except Fault as fault:
            return httpx.Response(fault.status, content=CALLER.error(fault, RECEIPT), headers={"content-type": "application/json"})
        asked.append(conversation)
        deltas = says(conversation)
        if not conversation.stream:
            whole = CALLER.answer(fold(deltas), "0.5", RECEIPT, conversation=conversation, response_id="resp_0a", created=17)
            return httpx.Response(200, content=whole, headers={"content-type": "application/json"})
        writer = CALLER.stream(conversation, response_id="resp_0a", created=17)
        out = b""
        for delta in deltas:
            out += writer.feed([delta])
            if isinstance(delta, Ended) and delta.finish is None:
                fault = Fault("upstream_cut", "It broke.")
                return httpx.Response(
                    200, content=out + CALLER.error_event(fault, RECEIPT, sequence_number=writer.sequence_number), headers=HEAD
                )
        return httpx.Response(200, content=out + writer.close("0.5", RECEIPT), headers=HEAD)

    return handle


def client(says: Says, asked: list[Conversation] | None = None) -> openai.OpenAI:
    transport = httpx.MockTransport(answer(says, asked if asked is not None else []))
    return openai.OpenAI(base_url="http://shoal/v1", api_key="-", max_retries=0, http_client=httpx.Client(transport=transport))


def spoken(_: Conversation) -> list[Delta]:
    return [
        Began("up", "gpt-x"),
        ReasoningDelta("Well", origin="anthropic"),
        ReasoningDelta(signature="sig", origin="anthropic"),
        TextDelta("Hello"),
        TextDelta(" you"),
        Ended("stop"),
        Used(USAGE),
    ]


def called(_: Conversation) -> list[Delta]:
    return [
        TextDelta("Let me see."),
        ToolCallDelta(0, "call_1", "get_weather", '{"city":'),
        ToolCallDelta(0, arguments='"Paris"}'),
        ToolCallDelta(1, "call_2", "get_weather", '{"city":"Rome"}'),
        Ended("tool_calls"),
        Used(USAGE),
    ]


def test_a_response() -> None:
    asked: list[Conversation] = []
    with client(spoken, asked) as sdk:
        found = sdk.responses.create(
            model="m",
            input="hi",
            instructions="Be kind.",
            temperature=0.5,
            metadata={"a": "b"},
            reasoning={"effort": "low"},
            max_output_tokens=99,
        )
    assert found.output_text == "Hello you"
    assert [item.type for item in found.output] == ["reasoning", "message"]
    assert (found.id, found.status, found.model, found.created_at) == ("resp_0a", "completed", "gpt-x", 17)
    assert (found.instructions, found.temperature, found.metadata, found.max_output_tokens) == ("Be kind.", 0.5, {"a": "b"}, 99)
    assert found.reasoning is not None and found.reasoning.effort == "low"
    assert found.usage is not None and found.usage.input_tokens_details.cached_tokens == 4
    assert found.usage.output_tokens_details.reasoning_tokens == 3
    assert found.usage.model_extra == {"cost": 0.5}
    assert found.model_extra is not None and found.model_extra["shoal"] == {"id": "req_1", "provider": "up"}
    assert asked[0].messages[0].role == "system"


def test_a_stream() -> None:
    with client(spoken) as sdk:
        events = list(sdk.responses.create(model="m", input="hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello you"
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "Hello you"


def test_the_streaming_helper_puts_it_together() -> None:
    with client(called) as sdk, sdk.responses.stream(model="m", input="hi", tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        found = stream.get_final_response()
    assert {"response.function_call_arguments.delta", "response.output_item.done", "response.completed"} <= kinds
    calls = [item for item in found.output if item.type == "function_call"]
    assert [(call.call_id, call.arguments) for call in calls] == [("call_1", '{"city":"Paris"}'), ("call_2", '{"city":"Rome"}')]
    assert found.output_text == "Let me see."


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_is_parsed(streamed: bool) -> None:
    def says(_: Conversation) -> list[Delta]:
        return [TextDelta('{"name":"Ada",'), TextDelta('"age":36}'), Ended("stop"), Used(USAGE)]

    asked: list[Conversation] = []
    with client(says, asked) as sdk:
        if streamed:
            with sdk.responses.stream(model="m", input="hi", text_format=Person) as stream:
                found = stream.get_final_response()
        else:
            found = sdk.responses.parse(model="m", input="hi", text_format=Person)
    assert found.output_parsed == Person(name="Ada", age=36)
    assert asked[0].format is not None and asked[0].format.name == "Person"


async def test_asynchronously() -> None:
    transport = httpx.MockTransport(answer(spoken, []))
    async with openai.AsyncOpenAI(base_url="http://shoal/v1", api_key="-", http_client=httpx.AsyncClient(transport=transport)) as sdk:
        assert (await sdk.responses.create(model="m", input="hi")).output_text == "Hello you"
        async with sdk.responses.stream(model="m", input="hi") as stream:
            text = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
        assert text == "Hello you"


def test_what_was_said_may_be_sent_back_as_it_came() -> None:
    """The loop of OpenAI's guide: the output, then the results of its calls."""
    asked: list[Conversation] = []

    def says(conversation: Conversation) -> list[Delta]:
        if conversation.messages[-1].role == "tool":
            return [TextDelta("Sunny."), Ended("stop")]
        return [
            ReasoningDelta("Which city?", signature="sig", origin="anthropic"),
            ToolCallDelta(0, "call_1", "get_weather", '{"city":"Paris"}', signature="gem"),
            Ended("tool_calls"),
        ]

    with client(says, asked) as sdk:
        items: Any = [{"role": "user", "content": "weather?"}]
        found = sdk.responses.create(model="m", input=items, tools=TOOLS)
        items += found.output
        items.append({"type": "function_call_output", "call_id": "call_1", "output": "sun"})
        assert sdk.responses.create(model="m", input=items, tools=TOOLS).output_text == "Sunny."
    said = asked[-1].messages[1]
    assert said.role == "assistant"
    assert said.parts == (
        Reasoning("Which city?", signature="sig", origin="anthropic"),
        ToolCall("call_1", "get_weather", '{"city":"Paris"}', signature="gem"),
    )


def test_a_refusal_and_an_answer_cut_short() -> None:
    with client(lambda _: [RefusalDelta("I will not."), Ended("length")]) as sdk:
        found = sdk.responses.create(model="m", input="hi")
    message = found.output[0]
    assert message.type == "message" and message.content[0].type == "refusal"
    assert found.status == "incomplete"
    assert found.incomplete_details is not None and found.incomplete_details.reason == "max_output_tokens"


def test_exceptions() -> None:
    with client(spoken) as sdk:
        with pytest.raises(openai.BadRequestError) as caught:
            sdk.responses.create(model="m", input="hi", tools=[{"type": "web_search"}])
        assert (caught.value.param, caught.value.code) == ("tools[0].type", "unsupported_parameter")
    with client(lambda _: [TextDelta("Hel"), Ended(None)]) as sdk:
        stream = sdk.responses.create(model="m", input="hi", stream=True)
        with pytest.raises(openai.APIError, match=r"It broke\."):
            list(stream)


def test_input_items_are_listed() -> None:
    given = envelope.read(b'{"model":"m","input":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}')
    body = history.page(history.input_items(given), "resp_0a")
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers={"content-type": "application/json"}))
    with openai.OpenAI(base_url="http://shoal/v1", api_key="-", http_client=httpx.Client(transport=transport)) as sdk:
        items = list(sdk.responses.input_items.list("resp_0a"))
    assert [(item.type, item.id) for item in items] == [("message", "msg_0ai01"), ("message", "msg_0ai00")]


def test_an_answer_of_nothing_is_an_answer() -> None:
    empty = Answer(choices=(Choice((Text(""),)),))
    asked = CALLER.read(b'{"model":"m","input":"hi"}')
    found = json.loads(CALLER.answer(empty, None, b"{}", conversation=asked, response_id="resp_1", created=1))
    assert (found["output"], found["usage"], found["status"]) == ([], None, "completed")
