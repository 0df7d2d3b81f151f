"""What a request may wish of routing, through a real server: every field of `provider`, `models`, the suffixes of names."""

from collections.abc import Iterator
from typing import Any

import pytest

from caller import CHAT, Answer, Caller, chat
from conftest import config
from installation import Installation
from shoal.routing.preferences import Preferences
from upstream import Upstream, completion, default, says, whole

PROVIDERS = {
    "cheap": 'price = { input = 1.0, output = 1.0 }, quantization = "int4", region = "us"',
    "quick": 'price = { input = 3.0, output = 30.0 }, quantization = "fp8", region = "eu", lacks = ["tools"]',
    "discreet": 'price = { input = 100.0, output = 100.0 }, region = "eu"',
}
TERMS = {
    "cheap": "collects_data = true\nzero_retention = false",
    "quick": "collects_data = false\nzero_retention = false",
    "discreet": "collects_data = false\nzero_retention = true",
}
"""Three providers of every model below; they differ in all that a request may wish for."""

MODELS = ("wished", "slow", "failing", "free", "other", "gone")
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def wishing(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    lines = []
    for name in PROVIDERS:
        lines += [f'[providers.{name}]\nbase_url = "http://127.0.0.1:{upstream.port}/v1"\ndiscover = false', TERMS[name]]
        lines += ['quirks = { drop = ["seed"] }' if name == "cheap" else ""]
    lines += [f'[providers.openrouter]\nbase_url = "http://127.0.0.1:{upstream.port}/v1"\napi_key = "k"\ndiscover = false']
    for model in MODELS:
        made = ", ".join(f'{{ provider = "{name}", model = "{model}-{name}", {more} }}' for name, more in PROVIDERS.items())
        lines += [f"[models.{model}]\ndeployments = [{made}]"]
    lines += ['[models.gift]\ndeployments = [{ provider = "cheap", price = { input = 0, output = 0 } }, { provider = "quick" }]']
    server = Installation(tmp_path_factory.mktemp("wishing"), config(upstream, more="\n".join(lines))).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def ask(server: Installation, model: str = "wished", wishes: Any = None, **more: Any) -> Answer:
    with Caller(server.port, server.key) as caller:
        return caller.ask(chat(model, **({"provider": wishes} if wishes is not None else {}), **more))


def who(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return answer.headers["x-shoal-provider"]


GRANTED: list[tuple[str, Any, str]] = [
    ("order", ["discreet", "quick"], "discreet"),
    ("order", ["DISCREET"], "discreet"),
    ("order", ["quick/eu"], "quick"),
    ("only", ["quick"], "quick"),
    ("only", ["quick/fp8", "quick"], "quick"),
    ("ignore", ["cheap", "discreet"], "quick"),
    ("data_collection", "deny", "quick"),
    ("data_collection", "allow", "cheap"),
    ("zdr", True, "discreet"),
    ("quantizations", ["fp8"], "quick"),
    ("quantizations", ["unknown"], "discreet"),
    ("sort", "price", "cheap"),
    ("sort", {"by": "price", "partition": "none"}, "cheap"),
    ("max_price", {"prompt": 2}, "cheap"),
    ("max_price", {"completion": "2.0"}, "cheap"),
    ("require_parameters", True, "cheap"),
    ("allow_fallbacks", True, "cheap"),
    ("preferred_min_throughput", {"p90": 1e9}, "cheap"),
    ("preferred_max_latency", 1000, "cheap"),
]


@pytest.mark.parametrize(("field", "value", "wanted"), GRANTED)
def test_a_wish_is_granted(wishing: Installation, field: str, value: Any, wanted: str) -> None:
    assert who(ask(wishing, wishes={"sort": "price"} | {field: value})) == wanted


def test_every_wish_is_tried_here() -> None:
    assert {field for field, _, _ in GRANTED} == set(Preferences.__struct_fields__)


def test_the_receipt_says_who_was_excluded_by_which_wish(wishing: Installation) -> None:
    told = ask(wishing, wishes={"ignore": ["cheap"], "zdr": True, "order": ["discreet"]}).json["shoal"]
    assert told["excluded"] == ["'provider.ignore' excludes cheap", "'provider.zdr' excludes quick"]
    assert told["policy"] == "preferred(balanced)"
    assert told["attempts"][0]["why"] == "the only one"


def test_nobody_left_is_a_refusal_that_says_why(wishing: Installation) -> None:
    answer = ask(wishing, wishes={"only": ["cheap"], "data_collection": "deny"})
    assert (answer.status, answer.error["param"]) == (400, "provider.only")
    assert "'provider.only' excludes discreet, quick; 'provider.data_collection' excludes cheap" in answer.error["message"]


def test_speed_is_wished_for_by_what_was_measured(wishing: Installation, upstream: Upstream) -> None:
    upstream.play("slow-quick", says(whole(completion(usage={"prompt_tokens": 1, "completion_tokens": 100_000, "total_tokens": 100_001}))))
    for name in PROVIDERS:
        assert who(ask(wishing, "slow", {"only": [name]})) == name  # each is measured once
    assert who(ask(wishing, "slow", {"sort": "throughput"})) == "quick"
    assert who(ask(wishing, "slow", {"sort": "price", "preferred_min_throughput": 90_000})) == "quick"
    assert who(ask(wishing, "slow:nitro")) == "quick"
    assert who(ask(wishing, "slow", {"sort": "latency"})) in PROVIDERS


def test_without_fallbacks_nobody_else_is_asked(wishing: Installation, upstream: Upstream) -> None:
    upstream.play("failing-cheap", says(whole({"error": {"message": "gone"}}, 404)))
    alone = ask(wishing, "failing", {"order": ["cheap"], "allow_fallbacks": False})
    assert (alone.status, alone.headers["x-shoal-attempts"]) == (404, "1")
    assert who(ask(wishing, "failing", {"order": ["cheap"]})) in ("quick", "discreet")
    upstream.play("failing-quick", says(whole({"error": {"message": "gone"}}, 404)))
    listed = ask(wishing, "failing", {"order": ["cheap", "quick"], "allow_fallbacks": False})
    assert (listed.status, {one["provider"] for one in listed.json["shoal"]["attempts"]}) == (404, {"cheap", "quick"})


def test_required_parameters_are_refused_by_name(wishing: Installation) -> None:
    dropped = ask(wishing, wishes={"only": ["cheap"]}, seed=1)
    assert (dropped.status, dropped.json["shoal"]["dropped"]) == (200, ["seed"])
    refused = ask(wishing, wishes={"only": ["cheap"], "require_parameters": True}, seed=1)
    assert (refused.status, refused.error["param"]) == (400, "seed")
    assert who(ask(wishing, wishes={"require_parameters": True, "sort": "price"}, seed=1)) == "quick"  # who can


def test_tools_go_to_whoever_has_them(wishing: Installation) -> None:
    answer = ask(wishing, wishes={"order": ["quick", "discreet"]}, tools=TOOLS)
    assert who(answer) == "discreet"
    assert answer.json["shoal"]["excluded"] == ["'tools' excludes quick/wished"]
    refused = ask(wishing, wishes={"only": ["quick"]}, tools=TOOLS)
    assert (refused.status, refused.error["param"], refused.error["code"]) == (400, "tools", "unsupported_parameter")


def test_suffixes_choose(wishing: Installation) -> None:
    assert [who(ask(wishing, "other:floor")) for _ in range(5)] == ["cheap"] * 5
    assert who(ask(wishing, "gift:free")) == "cheap"
    nobody = ask(wishing, "other:free")
    assert (nobody.status, nobody.error["param"]) == (400, "model")
    both = ask(wishing, "other:floor", {"sort": "latency"})
    assert (both.status, both.error["param"]) == (400, "provider.sort")


def test_models_are_gone_through_whatever_the_error(wishing: Installation, upstream: Upstream) -> None:
    for name in PROVIDERS:
        upstream.play(f"gone-{name}", says(whole({"error": {"message": "no such parameter"}}, 400)))
    answer = ask(wishing, "gone", models=["no-such-model", "other"])
    assert (answer.status, answer.headers["x-shoal-model"]) == (200, "other")
    assert any("no-such-model was not asked" in one for one in answer.json["shoal"]["warnings"])
    assert answer.json["shoal"]["policy"] == "fallback(balanced)"
    assert ask(wishing, "gone", models=[f"m{number}" for number in range(17)]).error["param"] == "models"


@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/v1/messages", "/v1/completions", "/v1/embeddings"])
def test_a_wish_that_is_not_known_is_refused_by_name(wishing: Installation, path: str) -> None:
    body = {**chat("wished"), "input": "hi", "prompt": "hi", "max_tokens": 9, "provider": {"oder": ["cheap"]}}
    with Caller(wishing.port, wishing.key) as caller:
        answer = caller.ask(body, path)
        error = answer.json["error"]
        assert answer.status == 400
        assert "provider.oder" in error["message"] and "allow_fallbacks" in error["message"]


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"only": ["cheap"], "ignore": ["cheap"]}, "provider.only"),
        ({"order": ["cheap"], "ignore": ["cheap"]}, "provider.order"),
        ({"order": ["cheap"], "only": ["quick"]}, "provider.order"),
        ({"only": []}, "provider.only"),
        ({"only": ["nobody"]}, "provider.only"),
        ({"order": ["nobody"]}, "provider.order"),
        ({"sort": "prize"}, "provider.sort"),
        ({"sort": {"by": "price", "of": 1}}, "provider.sort.of"),
        ({"max_price": {"prompt": -1}}, "provider.max_price.prompt"),
        ({"max_price": {"prompt": "cheap"}}, "provider.max_price.prompt"),
        ({"zdr": "yes"}, "provider.zdr"),
        ({"quantizations": ["fp7"]}, "provider.quantizations[0]"),
        ({"preferred_max_latency": {"p42": 1}}, "provider.preferred_max_latency.p42"),
    ],
)
def test_wishes_that_make_no_sense_are_refused_by_name(wishing: Installation, wishes: Any, param: str) -> None:
    answer = ask(wishing, wishes=wishes)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    assert answer.error["param"] is not None and answer.error["param"].split("[")[0] == param.split("[")[0]


def test_wishes_hold_on_streams_and_do_not_go_upstream(wishing: Installation, upstream: Upstream) -> None:
    upstream.play("wished-discreet", default)
    more = {"models": ["other"], "session_id": "s", "metadata": {"k": "v"}, "route": "fallback"}  # the last is OpenRouter's old word
    assert who(ask(wishing, wishes={"zdr": True}, stream=True, **more)) == "discreet"
    assert set(upstream.received("wished-discreet")[-1].json) == {"model", "messages", "stream", "stream_options"}


def test_what_openrouter_is_to_choose_is_told_to_it(wishing: Installation, upstream: Upstream) -> None:
    wishes = {"only": ["amazon-bedrock"], "sort": "latency", "a_wish_of_tomorrow": True}
    upstream.play("org/routed", default)
    assert who(ask(wishing, "openrouter/org/routed", wishes)) == "openrouter"
    assert upstream.received("org/routed")[-1].json["provider"] == wishes
    answer = ask(wishing, "openrouter/org/routed", {"only": ["cheap"], "order": ["openrouter"]})
    assert (answer.status, answer.error["param"]) == (400, "provider.order")
