"""Anthropic's own SDK, unmodified, against upstreams of every dialect."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from installation import Installation
from polyglot import AFTER, CACHED, DIALECTS, INPUT, OUTPUT, PROVIDERS, SCENES, SECONDS, SIGNATURE, SIGNING, WORDS, Polyglot, name

anthropic = pytest.importorskip("anthropic")

HI: Any = [{"role": "user", "content": "hi"}]
TOOLS: Any = [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
THINKING: Any = {"type": "enabled", "budget_tokens": 2048}
every = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def client(everyone: Installation) -> Iterator[Any]:
    """It does not retry by itself."""
    with anthropic.Anthropic(base_url=f"http://127.0.0.1:{everyone.port}", api_key=everyone.key, max_retries=0) as made:
        yield made


def ask(client: Any, streamed: bool, **asked: Any) -> Any:
    """The whole message, however it comes."""
    if not streamed:
        return client.messages.create(max_tokens=4096, **asked)
    with client.messages.stream(max_tokens=4096, **asked) as stream:
        return stream.get_final_message()


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_a_message(client: Any, dialect: str, streamed: bool) -> None:
    message = ask(client, streamed, model=name(dialect, "plain"), messages=HI)
    assert ("".join(block.text for block in message.content), message.stop_reason) == ("Hello there.", "end_turn")
    used = message.usage
    assert (used.input_tokens, used.cache_read_input_tokens, used.output_tokens) == (INPUT - CACHED, CACHED, OUTPUT)
    if not streamed:  # the SDK keeps of a stream's end what it knows
        assert used.model_extra["cost"] > 0
        assert message.model_extra["shoal"]["provider"] == PROVIDERS[dialect][0]
    assert ask(client, streamed, model=name(dialect, "long"), messages=HI).stop_reason == "max_tokens"


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_thought_and_parallel_calls_go_round(client: Any, upstreams: Polyglot, dialect: str, streamed: bool) -> None:
    asked: Any = {"model": name(dialect, "calls"), "tools": TOOLS, "thinking": THINKING}
    message = ask(client, streamed, messages=HI, **asked)
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [call.input["city"] for call in calls] == ["Paris", "Oslo"] and message.stop_reason == "tool_use"
    thought = "".join(block.thinking for block in message.content if block.type == "thinking")
    assert thought == SCENES["calls"].thought
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"} for call in calls]
    turns = [*HI, {"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    assert ask(client, streamed, messages=turns, **asked).content[0].text == AFTER.text
    sent = upstreams.heard(dialect, "calls")[-1].body
    assert sent.count(b"sunny") == 2
    if dialect in SIGNING:
        assert sent.count(SIGNATURE.encode()) == 1


@every
async def test_asynchronously(everyone: Installation, dialect: str) -> None:
    async with anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{everyone.port}", api_key=everyone.key, max_retries=0) as client:  # noqa: SIM117
        async with client.messages.stream(model=name(dialect, "plain"), max_tokens=50, messages=HI) as stream:
            assert await stream.get_final_text() == "Hello there."


@every
def test_tokens_are_counted(client: Any, dialect: str) -> None:
    counted = client.messages.count_tokens(model=name(dialect, "plain"), messages=HI).input_tokens
    assert counted == INPUT if dialect == "anthropic" else 0 < counted < 20


@every
def test_errors_are_the_sdks_own(client: Any, dialect: str) -> None:
    for scene, kind in (("rejected", anthropic.BadRequestError), ("absent", anthropic.NotFoundError), ("busy", anthropic.RateLimitError)):
        with pytest.raises(kind) as found:
            client.messages.create(model=name(dialect, scene), max_tokens=9, messages=HI)
        body = json.loads(found.value.response.content)
        assert body["type"] == "error" and body["request_id"] == found.value.response.headers["x-request-id"]
        assert scene != "rejected" or WORDS in body["error"]["message"]
    assert found.value.response.headers["retry-after"] == str(SECONDS)
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="wrong").messages.create(model=name(dialect, "plain"), max_tokens=9, messages=HI)
