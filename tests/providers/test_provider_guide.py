"""Another provider is one file, as docs/guide/providers.md says: its example, taken from the page as it stands, put where the page says,
and used through a real server against a scripted upstream."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import shoal
from caller import Answer, Caller, chat, get
from conftest import config
from installation import Installation, wait_for
from shoal.providers.row import read_row
from upstream import Line, Received, Upstream, completion, default, says, whole

GUIDE = (Path(__file__).parents[2] / "docs/guide/providers.md").read_text("utf-8")
SECTION = GUIDE.partition("## Another provider\n")[2].partition("\n## ")[0]
EXAMPLE = re.findall(r"```(?:toml)?\n(.*?)```", SECTION, re.DOTALL)[0]
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}
LISTED = {"object": "list", "data": [{"id": "example-large", "object": "model", "created": 5, "context_length": 4096}]}
MORE = """
[providers.example]
base_url = "http://127.0.0.1:{port}/v1"
[providers.openai]
base_url = "http://127.0.0.1:{port}/v1"
api_key = "sk-x"
discover = false
[providers.groq]
base_url = "http://127.0.0.1:{port}/openai/v1"
api_key = "sk-x"
discover = false
"""


class Place(NamedTuple):
    """The server that has read the row, and the upstream that is the provider."""

    server: Installation
    upstream: Upstream
    asked: list[Received]

    def ask(self, body: Any, path: str = "/v1/chat/completions") -> Answer:
        with Caller(self.server.port, self.server.key) as caller:
            return caller.ask(body, path)

    def get(self, path: str) -> Answer:
        with Caller(self.server.port, self.server.key) as caller:
            caller.send(get(self.server.key, path))
            return caller.answer()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A copy of the sources with one file more, and everything else as an operator has it."""
    root = tmp_path_factory.mktemp("guide")
    source = Path(shoal.__file__).parent
    shutil.copytree(source, root / "src/shoal", ignore=shutil.ignore_patterns("__pycache__"))
    told = re.findall(r"`(src/shoal/providers/rows/)NAME\.toml`", SECTION)
    (root / told[0] / "example.toml").write_text(EXAMPLE, "utf-8")
    upstream, asked = Upstream(), []

    def answer(line: Line, request: Received) -> None:
        asked.append(request)
        verb, path, _ = request.line.split(b" ")
        if verb == b"GET":
            line.send(whole(LISTED))
        elif path.endswith(b"/embeddings"):
            line.send(whole(VECTORS))
        else:
            default(line, request)

    upstream.play_all(answer)
    env = {"PYTHONPATH": str(root / "src"), "EXAMPLE_API_KEY": "sk-example"}
    server = Installation(root / "home", config(upstream, more=MORE.format(port=upstream.port)), env).start()
    yield Place(server, upstream, asked)
    assert server.stop() == 0
    upstream.close()
    assert "Traceback" not in server.log(), server.log()


def test_the_page_says_it_in_less_than_a_page() -> None:
    assert len(SECTION.splitlines()) < 40
    assert read_row(EXAMPLE, "example").title == "Example AI"


def test_its_models_are_listed(place: Place) -> None:
    def listed() -> dict[str, Any] | None:
        cards = {card["id"]: card for card in place.get("/v1/models").json["data"]}
        return cards.get("example-large")

    card = wait_for(listed, "the provider's models")
    assert (card["owned_by"], card["providers"], card["context_length"]) == ("example", ["example"], 4096)
    assert place.get("/v1/models/example-large").json["id"] == "example-large"


def test_a_chat_is_asked_as_the_row_says(place: Place) -> None:
    place.asked.clear()
    answer = place.ask(chat("example/example-large", user="me", max_completion_tokens=9))
    assert answer.status == 200
    (sent,) = [one for one in place.asked if one.line.startswith(b"POST")]
    assert sent.line == b"POST /v1/chat/completions HTTP/1.1"
    assert sent.headers[b"authorization"] == b"Bearer sk-example"
    assert (sent.json["model"], sent.json["max_tokens"]) == ("example-large", 9)
    assert not {"user", "max_completion_tokens"} & set(sent.json)
    assert answer.json["shoal"]["dropped"] == ["user"]
    assert answer.headers["x-shoal-provider"] == "example"


def test_what_it_lacks_is_refused_by_name(place: Place) -> None:
    place.asked.clear()
    answer = place.ask(chat("example/example-large", logit_bias={"1": 1}))
    assert (answer.status, answer.error["param"]) == (400, "logit_bias")
    assert not [one for one in place.asked if one.line.startswith(b"POST")]


def test_it_has_the_endpoints_of_the_row_and_no_others(place: Place) -> None:
    vectors = place.ask({"model": "example/example-embed", "input": "hi"}, "/v1/embeddings")
    assert (vectors.status, vectors.json["data"][0]["embedding"]) == (200, [0.5])
    place.asked.clear()
    for path, body in (("/v1/completions", {"prompt": "hi"}), ("/v1/rerank", {"query": "a", "documents": ["b"]})):
        answer = place.ask({"model": "example/example-large", **body}, path)
        assert (answer.status, answer.error["param"]) == (400, "model")
        assert "example" in answer.error["message"]
    assert place.ask({"model": "groq/x", "input": "hi"}, "/v1/embeddings").status == 400
    assert not [one for one in place.asked if one.line.startswith(b"POST")]


def test_models_are_listed_with_prices_and_providers(place: Place) -> None:
    cards = {card["id"]: card for card in place.get("/v1/models").json["data"]}
    known = cards["gpt-4o-mini"]
    assert known["providers"] == ["openai"]
    assert known["pricing"] == {
        "prompt": "0.00000015",
        "completion": "0.0000006",
        "input_cache_read": "0.000000075",
        "input_cache_write": "0.00000015",
        "input_cache_write_1h": "0.00000015",
    }
    assert (known["context_length"], known["capabilities"]["tools"]) == (128_000, True)
    assert any(card["owned_by"] == "groq" and card["pricing"] for card in cards.values())
    assert place.get("/v1/models/openai/gpt-4o-mini").json["pricing"] == known["pricing"]


@pytest.mark.parametrize(("asked", "near"), [("gpt4o-mini", "'gpt-4o-mini'"), ("exampel-large", "'example-large'")])
def test_an_unknown_name_is_answered_with_the_nearest(place: Place, asked: str, near: str) -> None:
    wait_for(lambda: any(card["id"] == "example-large" for card in place.get("/v1/models").json["data"]), "the provider's models")
    for answer in (place.ask(chat(asked)), place.get(f"/v1/models/{asked}")):
        assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
        assert near in answer.error["message"]


def test_a_provider_without_its_key_says_which_variable_to_set(place: Place) -> None:
    answer = place.ask(chat("mistral/mistral-large-latest"))
    assert (answer.status, answer.error["param"]) == (400, "model")
    assert "MISTRAL_API_KEY" in answer.error["message"]


def test_what_is_charged_is_what_the_list_says(place: Place) -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100, "prompt_tokens_details": {"cached_tokens": 400}}
    place.upstream.play_all(says(whole(completion("x", usage))))
    cost = place.ask(chat("openai/gpt-4o-mini")).json["usage"]["cost"]
    assert cost == pytest.approx((600 * 0.15 + 400 * 0.075 + 100 * 0.6) / 1e6, abs=1e-12)
