"""A provider's own name for a model, and its own endpoints, are what a caller gets who asks for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from caller import Caller
from installation import Installation
from upstream import Received, Script, Upstream, completion, says, whole

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-4o",
    "output": [],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Known providers, all of which are the scripted upstream."""
    names = ("openai", "openrouter", "gemini")
    tables = "".join(
        f'[providers.{name}]\nbase_url = "http://127.0.0.1:{upstream.port}"\napi_key = "k"\ndiscover = false\n' for name in names
    )
    home: Path = tmp_path_factory.mktemp("native")
    server = Installation(home, f"[server]\ndrain_s = 0.1\n{tables}").start()
    yield server
    server.stop()


def test_a_response_is_asked_of_the_endpoint_for_responses(gateway: Installation, upstream: Upstream) -> None:
    upstream.play("gpt-4o", says(whole(RESPONSE)))
    hosted = [{"type": "web_search"}]
    with Caller(gateway.port, gateway.key) as caller:
        answer = caller.ask({"model": "openai/gpt-4o", "input": "hi", "tools": hosted}, "/v1/responses")
    assert answer.status == 200
    asked = upstream.received("gpt-4o")[-1]
    assert asked.line.startswith(b"POST /responses ")
    assert asked.json["tools"] == hosted


def test_a_name_that_only_begins_like_a_pro_model_is_asked_as_any_other(gateway: Installation, upstream: Upstream) -> None:
    upstream.play("gpt-5.2-proo", says(whole(completion())))
    with Caller(gateway.port, gateway.key) as caller:
        assert caller.ask({"model": "openai/gpt-5.2-proo", "messages": [{"role": "user", "content": "hi"}]}).status == 200
    assert upstream.received("gpt-5.2-proo")[-1].line.startswith(b"POST /chat/completions ")


def test_an_exact_name_goes_to_its_provider_alone(gateway: Installation, upstream: Upstream) -> None:
    name = "google/gemini-2.0-flash-exp:free"
    upstream.play(name, says(whole(completion())))
    with Caller(gateway.port, gateway.key) as caller:
        answer = caller.ask({"model": f"openrouter/{name}", "messages": [{"role": "user", "content": "hi"}]})
    assert answer.status == 200
    assert answer.headers["x-shoal-provider"] == "openrouter"
    assert upstream.received(name)


class Counting(Upstream):
    """A Bedrock whose vectors' tokens are told in a header."""

    def _choose(self, request: Received) -> Script:
        texts = request.json["texts"]
        body = {"embeddings": [[1.0, 2.0]] * len(texts)}
        return says(whole(body, headers=f"x-amzn-bedrock-input-token-count: {3 * len(texts)}\r\n"))


@pytest.mark.parametrize("texts", [2, 100], ids=["in one call", "in two"])
def test_tokens_that_a_header_counts_are_counted(tmp_path: Path, texts: int) -> None:
    counting = Counting()
    table = f'[providers.bedrock]\nbase_url = "http://127.0.0.1:{counting.port}"\napi_key = "k"\n'
    server = Installation(tmp_path, f"[server]\ndrain_s = 0.1\n{table}").start()
    try:
        with Caller(server.port, server.key) as caller:
            answer = caller.ask({"model": "bedrock/cohere.embed-english-v3", "input": ["a"] * texts}, "/v1/embeddings")
        assert (answer.status, len(answer.json["data"])) == (200, texts)
        assert answer.json["usage"]["prompt_tokens"] == 3 * texts
    finally:
        server.stop()
        counting.close()
