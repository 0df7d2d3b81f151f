"""What cannot be done is refused by name through a real server, whoever asks and whoever would do it; what others decide is passed on."""

from collections.abc import Iterator
from typing import Any

import pytest

from caller import Answer, Caller, chat, get
from conftest import config
from installation import Installation
from polyglot import DIALECTS, Polyglot, name
from upstream import Upstream

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "properties": {}}}}


def place(dialect: str, role: str, model: str) -> tuple[str, dict[str, Any], str]:
    """Where a caller of a dialect asks, a turn of somebody, and how the error should name it."""
    said = [{"role": role, "content": "hi"}]
    match dialect:
        case "openai_responses":
            return "/v1/responses", {"model": model, "input": said, "store": False}, "input[0].role"
        case "anthropic":
            return "/v1/messages", {"model": model, "messages": said, "max_tokens": 5}, "messages[0].role"
        case "gemini":
            return f"/v1beta/models/{model}:generateContent", {"contents": [{"role": role, "parts": [{"text": "hi"}]}]}, "contents[0].role"
        case _:
            return "/v1/chat/completions", {"model": model, "messages": said}, "messages[0].role"


@pytest.mark.parametrize("upstream_dialect", DIALECTS)
@pytest.mark.parametrize("caller", ["openai_chat", "openai_responses", "anthropic", "gemini"])
def test_a_role_that_there_is_not(everyone: Installation, upstreams: Polyglot, caller: str, upstream_dialect: str) -> None:
    forwarded = caller == upstream_dialect or (caller, upstream_dialect) == ("openai_responses", "openai_chat")  # it has both
    path, body, param = place(caller, "wizard", name(upstream_dialect, "plain"))
    heard = len(upstreams.heard(upstream_dialect, "plain"))
    with Caller(everyone.port, everyone.key) as connection:
        answer = connection.ask(body, path)
    assert len(upstreams.heard(upstream_dialect, "plain")) == heard + forwarded
    assert answer.status == (200 if forwarded else 400)
    if not forwarded:
        assert param in answer.json["error"]["message"]
        assert answer.json["shoal"]["attempts"] == [] or all("error" in one for one in answer.json["shoal"]["attempts"])


@pytest.fixture(scope="module")
def lacking(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    everything = '["tools", "images", "files", "json_schema", "json_object", "logprobs", "logit_bias"]'
    more = f"""
[providers.unset]
base_url = "https://unset.test/v1"
api_key_env = ["SHOAL_TEST_FIRST_KEY", "SHOAL_TEST_SECOND_KEY"]
discover = false
[models.poor]
deployments = [{{ provider = "up", lacks = {everything} }}]
[models.half]
deployments = [{{ provider = "up", model = "half-a", lacks = {everything} }}, {{ provider = "up", model = "half-b" }}]
[models.unset-alone]
deployments = [{{ provider = "unset", model = "x" }}]
[models.unset-first]
deployments = [{{ provider = "unset", model = "x" }}, {{ provider = "up", model = "x" }}]
[routes.unset-in-a-route]
policy = "ordered"
models = ["unset/x", "up/x"]
[routes.unset-alone-in-a-route]
policy = "ordered"
models = ["unset/x", "unset-alone"]
"""
    server = Installation(tmp_path_factory.mktemp("lacking"), config(upstream, more=more)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def ask(server: Installation, body: Any) -> Answer:
    with Caller(server.port, server.key) as caller:
        return caller.ask(body)


ASKED: list[tuple[str, dict[str, Any]]] = [
    ("messages[0].content", {"messages": [{"role": "user", "content": [PICTURE]}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": [FILE]}]}),
    ("tools", {"tools": [TOOL]}),
    ("response_format", {"response_format": SCHEMA}),
    ("response_format", {"response_format": {"type": "json_object"}}),
    ("top_logprobs", {"logprobs": True, "top_logprobs": 2}),
    ("logit_bias", {"logit_bias": {"1": 1}}),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("param", "asked"), ASKED)
def test_what_a_model_cannot_do_is_refused_by_name(
    lacking: Installation, upstream: Upstream, param: str, asked: Any, streamed: bool
) -> None:
    answer = ask(lacking, {**chat("poor", stream=streamed), **asked})
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, param, "unsupported_parameter")
    assert "'poor'" in answer.error["message"]
    assert upstream.received("poor") == []
    other = ask(lacking, {**chat("half", stream=streamed), **asked})  # one of its two deployments can
    assert other.status == 200
    assert upstream.received("half-a") == []


def test_a_provider_without_a_key_is_not_listed_and_says_what_to_set(lacking: Installation) -> None:
    with Caller(lacking.port, lacking.key) as caller:
        caller.send(get(lacking.key, "/v1/models"))
        listed = {one["id"]: one["providers"] for one in caller.answer().json["data"]}
    assert "unset-alone" not in listed and not any("unset" in providers for providers in listed.values())
    assert listed["unset-first"] == ["up"]
    for model in ("unset/x", "unset-alone", "unset-alone-in-a-route"):
        answer = ask(lacking, chat(model))
        assert (answer.status, answer.error["code"], answer.error["param"]) == (400, "provider_not_configured", "model")
        assert "SHOAL_TEST_FIRST_KEY or SHOAL_TEST_SECOND_KEY" in answer.error["message"]
    for model in ("unset-first", "unset-in-a-route"):
        assert ask(lacking, chat(model)).headers["x-shoal-provider"] == "up"
    warned = ask(lacking, chat("unset-in-a-route")).json["shoal"]["warnings"]
    assert any("unset/x was not asked" in one and "SHOAL_TEST_FIRST_KEY" in one for one in warned)
