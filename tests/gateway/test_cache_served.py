"""Kept answers through a real server: for callers and from upstreams of every dialect, in either form; and which questions are the same."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from caller import Answer, Caller, chat
from conftest import config
from installation import Installation
from polyglot import DIALECTS, SCENES, Polyglot, name
from upstream import EVENTS, Upstream, default, says, stream, whole

TEXT = SCENES["plain"].text
ON = {"x-shoal-cache": "60"}
WORDS = "Say hello, number"
_numbers = itertools.count()


def question(caller: str, model: str, text: str, streamed: bool) -> tuple[str, dict[str, Any]]:
    """A caller's path and body."""
    said = [{"role": "user", "content": text}]
    match caller:
        case "gemini":
            path = f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if streamed else 'generateContent'}"
            return path, {"contents": [{"role": "user", "parts": [{"text": text}]}]}
        case "anthropic":
            return "/v1/messages", {"model": model, "messages": said, "max_tokens": 100, "stream": streamed}
        case "openai_responses":
            return "/v1/responses", {"model": model, "input": text, "stream": streamed, "store": False}
        case _:
            return "/v1/chat/completions", {"model": model, "messages": said, "stream": streamed}


def words(caller: str, answer: Answer, streamed: bool) -> str:
    """The text of an answer."""
    assert answer.status == 200, answer.body
    values = [json.loads(one) for one in _data(answer) if one != b"[DONE]"] if streamed else [answer.json]
    match caller:
        case "gemini":
            parts = [part for value in values for one in value.get("candidates", []) for part in one.get("content", {}).get("parts", [])]
            return "".join(part.get("text", "") for part in parts)
        case "anthropic" if streamed:
            return "".join(value["delta"].get("text", "") for value in values if value["type"] == "content_block_delta")
        case "anthropic":
            return "".join(part.get("text", "") for part in values[0]["content"])
        case "openai_responses":
            whole = values[-1]["response"] if streamed else values[0]
            return "".join(part["text"] for item in whole["output"] for part in item.get("content", []))
        case _:
            choices = [choice for value in values for choice in value["choices"]]
            return "".join((choice.get("delta") or choice.get("message"))["content"] or "" for choice in choices if _has_words(choice))


def _has_words(choice: dict[str, Any]) -> bool:
    return "content" in (choice.get("delta") or choice.get("message") or {})


def _data(answer: Answer) -> Iterator[bytes]:
    for event in answer.body.replace(b"\r\n", b"\n").split(b"\n\n"):
        yield from (line[6:] for line in event.split(b"\n") if line.startswith(b"data: "))


@pytest.mark.parametrize("first", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("upstream_dialect", DIALECTS)
@pytest.mark.parametrize("caller", ["openai_chat", "openai_responses", "anthropic", "gemini"])
def test_an_answer_is_kept_for_every_dialect(
    everyone: Installation, upstreams: Polyglot, caller: str, upstream_dialect: str, first: bool
) -> None:
    text, heard = f"{WORDS} {next(_numbers)}.", len(upstreams.heard(upstream_dialect, "plain"))
    with Caller(everyone.port, everyone.key) as connection:
        for form, state in ((first, "MISS"), (first, "HIT"), (not first, "HIT")):
            path, body = question(caller, name(upstream_dialect, "plain"), text, form)
            answer = connection.ask(body, path, ON)
            assert words(caller, answer, form) == TEXT
            assert answer.headers["x-shoal-cache"] == state
            assert ("age" in answer.headers) == (state == "HIT")
            if state == "HIT" and not form:
                assert answer.json["shoal"]["cost_usd"] == 0
                assert answer.json["shoal"]["attempts"] == []
    assert len(upstreams.heard(upstream_dialect, "plain")) == heard + 1


COUNTED = """
[routes.kept]
policy = "ordered"
cache_s = 60
models = ["up/kept-a"]
[routes.by-plan]
policy = "conditional"
cache_s = 60
models = ["up/plain"]
rules = [{ when = { plan = "gold" }, models = ["up/gold"] }]
[routes.around]
policy = "hedged"
cache_s = 60
models = ["up/plain"]
inner = { policy = "conditional", models = ["up/plain"], rules = [{ when = { plan = "gold" }, models = ["up/gold"] }] }
"""


@pytest.fixture(scope="module")
def keeping(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    server = Installation(tmp_path_factory.mktemp("keeping"), config(upstream, more=COUNTED)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def state(server: Installation, body: Any, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None) -> str:
    with Caller(server.port, server.key) as caller:
        answer = caller.ask(body, path, headers)
        assert answer.status == 200, answer.body
        return answer.headers.get("x-shoal-cache", "")


def test_a_route_may_keep_its_answers_and_a_header_say_otherwise(keeping: Installation) -> None:
    assert [state(keeping, chat("kept")) for _ in range(2)] == ["MISS", "HIT"]
    assert state(keeping, chat("kept", user="somebody", session_id="s", metadata={"plan": "gold"}, stream=True)) == "HIT"
    assert state(keeping, chat("kept"), headers={"x-shoal-cache": "off"}) == ""
    assert state(keeping, chat("kept"), headers={"x-shoal-retention": "none"}) == ""
    assert state(keeping, chat("kept", temperature=0.5)) == "MISS"
    assert state(keeping, chat("up/kept-a")) == ""


@pytest.mark.parametrize("route", ["by-plan", "around"])
def test_metadata_count_where_a_policy_goes_by_them(keeping: Installation, upstream: Upstream, route: str) -> None:
    plans = [{"plan": "gold"}, {"plan": "tin"}, {"plan": "gold"}, {"plan": "tin"}]
    assert [state(keeping, chat(route, metadata=plan)) for plan in plans] == ["MISS", "MISS", "HIT", "HIT"]
    assert state(keeping, chat("up/plain", models=[route], metadata={"plan": "gold"}), headers=ON) == "MISS"
    assert state(keeping, chat("up/plain", models=[route], metadata={"plan": "tin"}), headers=ON) == "MISS"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "hi"}),
        ("/v1/embeddings", {"input": "hi"}),
        ("/v1/rerank", {"query": "q", "documents": ["a", "b"]}),
    ],
)
def test_other_endpoints_keep_answers_too(keeping: Installation, upstream: Upstream, path: str, body: dict[str, Any]) -> None:
    if path == "/v1/rerank":
        upstream.play("kept-other", says(whole({"results": [{"index": 0, "relevance_score": 0.5}]})))
    else:
        upstream.play("kept-other", default)
    assert [state(keeping, {"model": "up/kept-other", **body}, path, ON) for _ in range(2)] == ["MISS", "HIT"]
    if path == "/v1/completions":
        forms = [{"stream": True}, {"stream": True}, {}]
        assert [state(keeping, {"model": "up/kept-other", **body, **form}, path, ON) for form in forms] == ["MISS", "HIT", "HIT"]


def test_errors_and_broken_streams_are_not_kept(keeping: Installation, upstream: Upstream) -> None:
    upstream.play("kept-broken", says(whole({"error": {"message": "no"}}, 400)), says(stream(EVENTS[:1])), default)
    with Caller(keeping.port, keeping.key) as caller:
        asked = [caller.ask(chat("up/kept-broken", stream=True), headers=ON) for _ in range(4)]
        assert [one.headers.get("x-shoal-cache") for one in asked] == ["MISS", "MISS", "MISS", "HIT"]
        assert [one.status for one in asked] == [400, 200, 200, 200]
