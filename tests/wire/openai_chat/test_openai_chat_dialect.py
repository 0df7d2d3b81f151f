"""The dialect as the gateway sees it."""

import json
from typing import Any

import msgspec
import pytest

from shoal.core.chat import ChatFields, CompletionFields, EmbeddingFields, read_request
from shoal.core.conversation import Conversation, Message, Text
from shoal.core.models import Deployment
from shoal.wire.openai_chat.dialect import CALLER, FORWARD, UPSTREAM
from shoal.wire.openai_chat.forward import OURS, encode

DEPLOYMENT = Deployment("d", "m", "openai", "up")
ASKED = Conversation(model="m", messages=(Message("user", (Text("x"),)),))


@pytest.mark.parametrize(
    ("fields", "body", "path"),
    [
        (ChatFields, b'{"model":"m","messages":[{}]}', "/chat/completions"),
        (CompletionFields, b'{"model":"m","prompt":"x"}', "/completions"),
        (EmbeddingFields, b'{"model":"m","input":"x"}', "/embeddings"),
    ],
)
def test_what_is_forwarded_goes_to_the_same_endpoint(fields: type, body: bytes, path: str) -> None:
    call = FORWARD.encode(read_request(body, msgspec.json.Decoder(fields)), DEPLOYMENT)
    assert call.path == path
    assert json.loads(call.body) == {**json.loads(body), "model": "up"}


def test_members_for_the_gateway_are_not_forwarded() -> None:
    class Fields(ChatFields, frozen=True):  # type: ignore[misc]
        models: list[str] | None = None
        provider: dict[str, str] | None = None
        route: str | None = None
        fallbacks: list[str] | None = None
        session_id: str | None = None

    ours = {"models": ["a"], "provider": {}, "route": "r", "fallbacks": [], "session_id": "s", "store": True, "metadata": {}}
    assert set(ours) == set(OURS)
    rest = {"model": "m", "messages": [{"role": "user", "content": "x"}], "unknown": 1}
    for name in OURS:
        request = read_request(json.dumps(rest | {name: ours[name]}).encode(), msgspec.json.Decoder(Fields))
        assert json.loads(encode(request, "m")) == rest


@pytest.mark.parametrize(
    ("model", "wishes", "is_theirs"),
    [
        ("openrouter/a/b", {"only": ["xai"], "sort": "price"}, True),
        ("openrouter/a/b", {"only": ["openrouter"]}, False),  # one for the gateway to choose
        ("openai/gpt-4o", {"only": ["xai"]}, False),
        ("gpt-4o", {"only": ["openrouter"]}, False),
        ("openrouter/a/b", {}, False),
    ],
)
def test_wishes_go_to_whoever_chooses(model: str, wishes: dict[str, Any], is_theirs: bool) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "provider": wishes, "models": ["c"]}
    request = read_request(json.dumps(body).encode(), msgspec.json.Decoder(ChatFields))
    sent = json.loads(FORWARD.encode(request, Deployment("d", "m", "openrouter", "a/b")).body)
    assert sent == {"model": "a/b", "messages": body["messages"]} | ({"provider": wishes} if is_theirs else {})
    assert "provider" not in json.loads(FORWARD.encode(request, DEPLOYMENT).body)


def test_one_answer_all_the_way_round() -> None:
    body = (
        b'{"id":"i","model":"up","created":1,"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
    )
    answer = UPSTREAM.answer(body, ASKED)
    assert json.loads(CALLER.answer(answer, None, b"{}"))["choices"][0]["message"]["content"] == "hi"
    event = b'data: {"id":"i","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    reader, writer = UPSTREAM.stream(ASKED), CALLER.stream(ASKED)
    out = writer.feed(reader.feed(event)) + writer.feed(reader.close()) + writer.close(None, b"{}")
    assert out.count(b"data: ") == 3


def test_errors_on_both_sides() -> None:
    fault = UPSTREAM.fault(404, {}, b'{"error":{"message":"no such model"}}')
    assert json.loads(CALLER.error(fault, b"null"))["error"]["message"] == "no such model"
    assert CALLER.error_event(fault, b"null").endswith(b'"shoal":null}\n\n')
