"""Google's own SDK, unmodified, against upstreams of every dialect."""

from collections.abc import Iterator
from typing import Any

import pytest

from installation import Installation
from polyglot import AFTER, CACHED, DIALECTS, INPUT, SIGNATURE, SIGNING, WORDS, Polyglot, name

genai = pytest.importorskip("google.genai")

TOOLS: Any = [
    {"function_declarations": [{"name": "get_weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}}]}
]
every = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def client(everyone: Installation) -> Iterator[Any]:
    """Pointed at the server, nothing else."""
    made = genai.Client(api_key=everyone.key, http_options={"base_url": f"http://127.0.0.1:{everyone.port}"})
    yield made
    made.close()


@every
def test_an_answer_whole_and_streamed(client: Any, dialect: str) -> None:
    answer = client.models.generate_content(model=name(dialect, "plain"), contents="hi")
    assert (answer.text, answer.candidates[0].finish_reason.name) == ("Hello there.", "STOP")
    used = answer.usage_metadata
    assert (used.prompt_token_count, used.cached_content_token_count) == (INPUT, CACHED)
    chunks = list(client.models.generate_content_stream(model=name(dialect, "plain"), contents="hi"))
    assert "".join(chunk.text or "" for chunk in chunks) == "Hello there."


@every
def test_parallel_calls_go_round_with_their_signature(client: Any, upstreams: Polyglot, dialect: str) -> None:
    config = {"tools": TOOLS, "automatic_function_calling": {"disable": True}, "thinking_config": {"include_thoughts": True}}
    answer = client.models.generate_content(model=name(dialect, "calls"), contents="hi", config=config)
    assert [call.args["city"] for call in answer.function_calls] == ["Paris", "Oslo"]
    results = [{"function_response": {"id": one.id, "name": one.name, "response": {"is": "sunny"}}} for one in answer.function_calls]
    turns = [{"role": "user", "parts": [{"text": "hi"}]}, answer.candidates[0].content, {"role": "user", "parts": results}]
    assert client.models.generate_content(model=name(dialect, "calls"), contents=turns, config=config).text == AFTER.text
    sent = upstreams.heard(dialect, "calls")[-1].body
    assert sent.count(b"sunny") == 2
    if dialect in SIGNING:
        assert sent.count(SIGNATURE.encode()) == 1


@every
def test_counts_and_errors(client: Any, dialect: str) -> None:
    assert client.models.count_tokens(model=name(dialect, "plain"), contents="hi").total_tokens > 0
    with pytest.raises(genai.errors.ClientError) as found:
        client.models.generate_content(model=name(dialect, "rejected"), contents="hi")
    assert found.value.code == 400 and WORDS in found.value.message
