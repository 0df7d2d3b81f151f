"""Every routing policy as an operator writes it, a [routes.NAME] table, through a real server: who is asked, and what the receipt tells."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from caller import Answer, Caller, chat, request
from conftest import config
from installation import Installation, wait_for
from shoal.routing.routes import POLICIES
from upstream import USAGE, Line, Received, Script, Upstream, completion, default, says, whole

TABLES = {
    "balanced": "retries = 0",
    "cascade": "judge = { min_chars = 10 }",
    "cheapest": "",
    "conditional": 'rules = [{ when = { plan = { "$in" = ["gold"] } }, models = ["conditional-b"], then = { policy = "ordered" } }]',
    "context": "",
    "fallback": 'inner = { policy = "ordered" }',
    "fastest": "",
    "hedged": 'after_s = 0.05\ninner = { policy = "ordered", retries = 0 }',
    "least_busy": "",
    "ordered": "retries = 0",
    "sticky": 'inner = { policy = "weighted" }',
    "throughput": "",
    "weighted": 'weights = { "weighted-a" = 0, "weighted-b" = 3 }',
}
"""What stands in each route's table besides its policy and its models, NAME-a and NAME-b; of those b is the cheaper and the larger."""

A = "price = { input = 200.0, output = 200.0 }, context_tokens = 200"
B = "price = { input = 1.0, output = 1.0 }, context_tokens = 100000"


@pytest.fixture(scope="module")
def routed(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    assert set(TABLES) == set(POLICIES)
    lines = []
    for name, fields in TABLES.items():
        lines += [f'[models."{name}-a"]', f'deployments = [{{ provider = "up", {A} }}]']
        lines += [f'[models."{name}-b"]', f'deployments = [{{ provider = "up", {B} }}]']
        lines += [f"[routes.{name}]", f'policy = "{name}"', f'models = ["{name}-a", "{name}-b"]', fields]
    server = Installation(tmp_path_factory.mktemp("routed"), config(upstream, more="\n".join(lines))).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def ask(server: Installation, model: str, **more: Any) -> Answer:
    with Caller(server.port, server.key) as caller:
        return caller.ask(chat(model, **more))


def answered(answer: Answer) -> str:
    """Which of a route's two models answered: a or b."""
    assert answer.status == 200, answer.body
    return answer.headers["x-shoal-model"][-1]


def receipt(answer: Answer) -> dict[str, Any]:
    return dict(answer.json["shoal"])


def whys(answer: Answer) -> list[str]:
    return [one["why"] for one in receipt(answer)["attempts"]]


def slow(seconds: float, usage: dict[str, Any] = USAGE) -> Script:
    def play(line: Line, request: Received) -> None:
        threading.Event().wait(seconds)
        line.send(whole(completion(usage=usage)))

    return play


def test_ordered_asks_as_listed_and_says_why(routed: Installation, upstream: Upstream) -> None:
    upstream.play("ordered-a", default, says(whole({"error": {"message": "broken"}}, 500)), default)
    first, second = ask(routed, "route/ordered"), ask(routed, "ordered")
    assert (answered(first), answered(second)) == ("a", "b")
    assert (receipt(first)["policy"], whys(first)) == ("ordered", ["first of 2"])
    assert whys(second) == ["first of 2", "next, after upstream_error"]
    assert receipt(second)["requested"] == "ordered"


def test_balanced_asks_the_cheap_one_more_often(routed: Installation) -> None:
    assert [answered(ask(routed, "balanced")) for _ in range(10)] == ["b"] * 10  # 40,000 to 1


def test_balanced_remembers_an_outage(routed: Installation, upstream: Upstream) -> None:
    upstream.play("balanced-b", says(whole({"error": {"message": "broken"}}, 500)), default)
    assert [answered(ask(routed, "balanced")) for _ in range(3)] == ["a"] * 3


def test_weighted_asks_by_weight(routed: Installation, upstream: Upstream) -> None:
    assert [answered(ask(routed, "weighted")) for _ in range(5)] == ["b"] * 5
    upstream.play("weighted-b", says(whole({"error": {"message": "gone"}}, 404)), default)
    assert answered(ask(routed, "weighted")) == "a"  # of no weight: a fallback


def test_cheapest_asks_the_one_that_costs_least(routed: Installation) -> None:
    assert answered(ask(routed, "cheapest")) == "b"


def test_fastest_asks_the_quick_one(routed: Installation, upstream: Upstream) -> None:
    upstream.play("fastest-a", slow(0.1))
    assert {answered(ask(routed, "fastest")) for _ in range(2)} == {"a", "b"}  # each is measured once
    assert [answered(ask(routed, "fastest")) for _ in range(5)] == ["b"] * 5


def test_throughput_asks_whoever_makes_more_tokens(routed: Installation, upstream: Upstream) -> None:
    upstream.play("throughput-a", slow(0.05, USAGE | {"completion_tokens": 1}))
    upstream.play("throughput-b", slow(0.05, USAGE | {"completion_tokens": 1000}))
    assert {answered(ask(routed, "throughput")) for _ in range(2)} == {"a", "b"}
    assert [answered(ask(routed, "throughput")) for _ in range(3)] == ["b"] * 3


def test_least_busy_asks_whoever_has_less_to_do(routed: Installation, upstream: Upstream) -> None:
    go_on = threading.Event()

    def held(line: Line, request: Received) -> None:
        go_on.wait()
        default(line, request)

    upstream.play("least_busy-a", held)
    upstream.play("least_busy-b", held)
    with Caller(routed.port) as one, Caller(routed.port) as two:
        one.send(request(routed.key, chat("least_busy")))
        wait_for(lambda: upstream.received("least_busy-a") or upstream.received("least_busy-b"), "the first request")
        two.send(request(routed.key, chat("least_busy")))
        wait_for(lambda: upstream.received("least_busy-a") and upstream.received("least_busy-b"), "the second request")
        go_on.set()
        assert {answered(one.answer()), answered(two.answer())} == {"a", "b"}


def test_fallback_asks_the_next_model_whatever_the_error(routed: Installation, upstream: Upstream) -> None:
    upstream.play("fallback-a", says(whole({"error": {"message": "no such thing"}}, 400)))
    answer = ask(routed, "fallback")
    assert (answered(answer), receipt(answer)["policy"]) == ("b", "fallback(ordered)")


def test_a_session_stays_where_it_is(routed: Installation) -> None:
    def place(session: str) -> str:
        answer = ask(routed, "sticky", session_id=session)
        assert whys(answer) == ["first of 2; the session's own order"]
        return answered(answer)

    sessions = [f"session-{number}" for number in range(12)]
    places = [place(one) for one in sessions]
    assert set(places) == {"a", "b"}
    assert [place(one) for one in sessions] == places
    assert [answered(ask(routed, "sticky", prompt_cache_key=one)) for one in sessions] == places
    assert [answered(ask(routed, "sticky", user=one)) for one in sessions] == places
    assert [ask(routed, "sticky", user=one, stream=True).headers["x-shoal-model"][-1] for one in sessions] == places


def test_context_goes_by_length(routed: Installation, upstream: Upstream) -> None:
    assert answered(ask(routed, "context")) == "a"
    answer = ask(routed, "context", messages=[{"role": "user", "content": "word " * 1000}])
    assert answered(answer) == "b"
    assert whys(answer)[0].startswith("the only one; too small for ") and whys(answer)[0].endswith(" tokens: context-a")
    assert answered(ask(routed, "context", max_tokens=150)) == "a"
    assert answered(ask(routed, "context", max_tokens=250)) == "b"


def test_context_goes_on_to_a_larger_one_where_the_upstream_says_so(routed: Installation, upstream: Upstream) -> None:
    too_long = {"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}
    upstream.play("context-a", says(whole(too_long, 400)), default)
    answer = ask(routed, "context")
    assert (answered(answer), whys(answer)) == ("b", ["first of 2", "next, after context_length_exceeded"])


def test_hedged_asks_another_beside_a_late_one(routed: Installation, upstream: Upstream) -> None:
    with Caller(routed.port, routed.key) as caller:
        for _ in range(25):  # a second try is earned by twenty requests
            caller.ask(chat("up/earning"))

    def silent(line: Line, request: Received) -> None:
        line.wait_gone()
        line.close()

    upstream.play("hedged-a", silent)
    answer = ask(routed, "hedged")
    assert (answered(answer), whys(answer)) == ("b", ["first of 2", "beside one that is late"])
    assert receipt(answer)["policy"] == "hedged(ordered)"


def test_cascade_asks_the_next_where_an_answer_will_not_do(routed: Installation, upstream: Upstream) -> None:
    upstream.play("cascade-a", says(whole(completion("Short."))))
    upstream.play("cascade-b", says(whole(completion("Long enough to do."))))
    answer = ask(routed, "cascade")
    assert (answered(answer), whys(answer)) == ("b", ["first of 2", "next, after an answer that would not do"])
    assert receipt(answer)["policy"] == "cascade(fallback(balanced))"


def test_conditional_goes_by_metadata(routed: Installation) -> None:
    gold = ask(routed, "conditional", metadata={"plan": "gold"})
    other = ask(routed, "conditional", metadata={"plan": "tin"})
    assert (answered(gold), whys(gold)) == ("b", ["the only one; rules[0] holds"])
    assert whys(other) == ["first of 2; no rule holds"]
    assert whys(ask(routed, "conditional")) == ["first of 2; no rule holds"]


def test_a_receipt_is_whole_on_streams_errors_and_afterwards(routed: Installation, upstream: Upstream) -> None:
    streamed = ask(routed, "cheapest", stream=True, stream_options={"include_usage": True})
    told = next(one for one in map(_decode, streamed.events) if "shoal" in one)["shoal"]
    assert (told["policy"], told["attempts"][0]["why"]) == ("cheapest", "first of 2")
    with Caller(routed.port, routed.key) as caller:
        caller.send(request(routed.key, b"", f"/v1/receipts/{told['id']}", {"content-length": "", "content-type": ""}, "GET"))
        assert caller.answer().json == told
    broken = says(whole({"error": {"message": "broken"}}, 500))
    for model in ("cheapest-a", "cheapest-b"):
        upstream.play(model, broken)
    answer = ask(routed, "cheapest", provider={"only": ["up"]})
    assert answer.status == 502
    assert receipt(answer)["policy"] == "cheapest"
    assert [one["why"] for one in receipt(answer)["attempts"]][:2] == ["first of 2", "again, after upstream_error"]


def _decode(event: bytes) -> dict[str, Any]:
    return {} if event == b"[DONE]" else dict(json.loads(event))
