"""`x-shoal-retention: none` through a real server: whatever is asked in whichever form, no word of it is left on the disk but the bill."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from caller import Caller, chat, get
from conftest import config
from installation import Installation
from upstream import Upstream, delta, says, stream, whole

MARKER = "a-word-like-no-other"
NONE = {"x-shoal-retention": "none"}
ON = {"x-shoal-cache": "on"}
MORE = """
[routes.kept]
policy = "conditional"
cache_s = 60
models = ["up/retained"]
rules = [{ when = { plan = "gold" }, models = ["up/retained"] }]
"""
WORDS = [{"role": "user", "content": MARKER}]
PLACES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"model": "kept", "messages": WORDS, "user": MARKER, "metadata": {MARKER: MARKER}, MARKER: MARKER}),
    ("/v1/responses", {"model": "kept", "input": MARKER, "store": True, "metadata": {"k": MARKER}, "instructions": MARKER}),
    ("/v1/messages", {"model": "kept", "messages": WORDS, "max_tokens": 9, "metadata": {"user_id": MARKER}, MARKER: 1}),
    ("/v1/completions", {"model": "up/retained", "prompt": MARKER, "user": MARKER}),
    ("/v1/embeddings", {"model": "up/retained", "input": MARKER, "user": MARKER}),
]


@pytest.fixture(scope="module")
def forgetful(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, list[str]]]:
    home, asked = tmp_path_factory.mktemp("forgetful"), list[str]()
    server = Installation(home, config(upstream, more=MORE)).start()
    yield server, asked
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
    assert asked
    files = [path for path in home.rglob("*") if path.is_file()]
    assert any(asked[-1].encode() in path.read_bytes() for path in files)  # the bill
    assert [path for path in files if MARKER.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("path", "body"), PLACES, ids=[path for path, _ in PLACES])
def test_nothing_is_kept_but_the_bill(
    forgetful: tuple[Installation, list[str]], upstream: Upstream, path: str, body: dict[str, Any], streamed: bool
) -> None:
    server, asked = forgetful
    if streamed and path == "/v1/embeddings":
        streamed = False
    answers = [stream([delta(MARKER), delta(None, "stop"), b"data: [DONE]\n\n"]) if streamed else whole(_said())]
    upstream.play("retained", says(answers[0]))
    with Caller(server.port, server.key) as caller:
        for _ in range(2):
            answer = caller.ask({**body, **({"stream": True} if streamed else {})}, path, NONE | ON)
            assert answer.status == 200, answer.body
            assert "x-shoal-cache" not in answer.headers  # neither kept nor looked for
            asked.append(answer.headers["x-request-id"])
        assert len(upstream.received("retained")) >= 2
        caller.send(get(server.key, f"/v1/receipts/{asked[-1]}"))
        kept = caller.answer().json
        assert (kept["retention"], kept["requested"]) == ("none", body["model"])
        assert kept["attempts"][0]["provider"] == "up"
        assert MARKER not in json.dumps(kept)
    if path == "/v1/responses" and not streamed:
        with Caller(server.port, server.key) as caller:
            caller.send(get(server.key, f"/v1/responses/{answer.json['id']}"))
            assert caller.answer().status == 404


@pytest.mark.parametrize("fault", [400, 500])
def test_an_error_is_no_exception(forgetful: tuple[Installation, list[str]], upstream: Upstream, fault: int) -> None:
    server, asked = forgetful
    name = f"retained-{next(_numbers)}"
    upstream.play(name, says(whole({"error": {"message": f"{MARKER} is wrong", "param": MARKER}}, fault)))
    with Caller(server.port, server.key) as caller:
        answer = caller.ask({**chat(f"up/{name}"), "messages": WORDS, "provider": {"order": ["up"]}}, headers=NONE)
        assert answer.status in (400, 502)
        asked.append(answer.headers["x-request-id"])
        unknown = caller.ask(chat(MARKER), headers=NONE)  # a name that nothing answers to is just a text of the caller's
        assert unknown.status == 404


_numbers = itertools.count()


def _said() -> dict[str, Any]:
    """An answer that all of the endpoints can read."""
    choice = {"index": 0, "message": {"role": "assistant", "content": MARKER}, "text": MARKER, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c", "object": "x", "model": "m", "choices": [choice], "data": [{"index": 0, "embedding": [0.5]}], "usage": usage}
