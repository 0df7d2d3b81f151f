"""Budgets, credit, rates, scopes and addresses of keys, on a server of two workers."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psutil
import pytest

from caller import Answer, Caller, chat, get, request
from conftest import config
from installation import Installation, wait_for
from shoal.core.terms import Terms
from shoal.storage.key_changes import KeyEdit
from shoal.storage.store import Store
from treasury import USD, ask, in_store, look, make_key, make_prepaid
from upstream import STREAM_HEAD, USAGE, Line, Received, Upstream, completion, delta, event, says, whole

MILLION = 1_000_000
# a token of input is a thousandth of a dollar, one of output two: an answer of the friendly upstream costs 9 + 2 * 3 of them
COST = Decimal("0.015")
MORE = """
[models.dear]
deployments = [{ provider = "up", price = { input = 1000.0, output = 2000.0 }, max_output_tokens = 20, context_tokens = 400 }]
[models.stops]
deployments = [{ provider = "stops", price = { input = 1000.0, output = 2000.0 }, max_output_tokens = 20, context_tokens = 400 }]
[models.goes-on]
deployments = [{ provider = "goes-on", price = { input = 1000.0, output = 2000.0 }, max_output_tokens = 20, context_tokens = 400 }]
[models.drained-model]
deployments = [{ provider = "up", model = "drained", price = { input = 1000.0, output = 2000.0 }, context_tokens = 30 }]
[models.second]
deployments = [{ provider = "up", price = { input = 1000.0, output = 2000.0 }, max_output_tokens = 20, context_tokens = 400 }]

[models.judged]
deployments = [{ provider = "up", price = { input = 1000.0, output = 2000.0 }, max_output_tokens = 20, context_tokens = 400 }]
[models.late]
deployments = [{ provider = "up", price = { input = 1000.0, output = 2000.0 }, max_output_tokens = 20, context_tokens = 400 }]

[models.vectors]
deployments = [{ provider = "up", price = { input = 1000.0, output = 0.0 } }]

[routes.judged-first]
policy = "cascade"
judge = { min_chars = 1000 }
models = ["judged", "second"]

[routes.late-first]
policy = "hedged"
after_s = 0.05
inner = { policy = "ordered", retries = 0 }
models = ["late", "second"]

[routes.cheap]
policy = "ordered"
models = ["up/routed"]
"""


@pytest.fixture(scope="module")
def shoal(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A server of two workers, which trusts a proxy on this machine."""
    names = {"stops": "stops", "goes-on": "goes_on"}
    more = "".join(
        f'[providers.{name}]\nbase_url = "http://127.0.0.1:{upstream.port}/v1"\ndiscover = false\non_disconnect = "{what}"\n'
        for name, what in names.items()
    )
    patient = "connect_s = 20.0, first_byte_s = 20.0, idle_s = 20.0, total_s = 60.0"  # two hundred callers ask one upstream at once
    text = config(upstream, more + MORE, times=patient, workers=2).replace("[server]", '[server]\ntrusted_proxies = ["127.0.0.1"]')
    server = Installation(tmp_path_factory.mktemp("limits"), text).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


def used(shoal: Installation, key: str, amount: Decimal) -> bool:
    """Whether the ledger has heard of so much."""
    found = look(shoal, key)["usage"]
    assert found <= amount
    return bool(found == amount)


def until_settled(shoal: Installation, key: str, amount: Decimal) -> None:
    """Wait until the ledger has counted exactly so much."""
    wait_for(lambda: used(shoal, key, amount), f"usage of {amount}")


def test_an_answer_is_charged_what_it_cost(shoal: Installation) -> None:
    key = make_key(shoal, "charged", monthly_nano=5 * USD)
    answer = ask(shoal, key, chat("dear"))
    assert answer.status == 200, answer.body
    body = json.loads(answer.body, parse_float=Decimal)
    assert body["usage"]["cost"] == body["shoal"]["cost_usd"] == COST
    assert "charged_usd" not in body["shoal"]
    until_settled(shoal, key, COST)
    data = look(shoal, key, "/v1/auth/key")
    assert (data["label"], data["limit"], data["limit_remaining"], data["limit_reset"]) == ("charged", 5, 5 - COST, "monthly")
    assert data["usage_daily"] == data["usage_weekly"] == data["usage_monthly"] == COST


def test_a_budget_that_is_used_up_is_told_as_openai_tells_it(shoal: Installation) -> None:
    key = make_key(shoal, "poor", daily_nano=USD // 10)
    answer = ask(shoal, key, chat("dear"))
    assert answer.status == 402
    assert answer.error["code"] == answer.error["type"] == "insufficient_quota"
    assert "daily budget has $0.1 left" in answer.error["message"]
    assert "T00:00:00Z" in answer.error["message"]
    assert "retry-after" not in answer.headers
    assert answer.json["shoal"]["cost_usd"] == 0


def test_it_is_said_what_could_be_afforded(shoal: Installation) -> None:
    key = make_key(shoal, "nearly", total_nano=USD * 38 // 100)
    answer = ask(shoal, key, chat("dear", n=2))
    assert answer.status == 402
    assert "max_tokens of" in answer.error["message"]
    tokens = int(answer.error["message"].partition("max_tokens of ")[2].split()[0])
    assert 1 <= tokens < 20
    assert ask(shoal, key, chat("dear", n=2, max_tokens=tokens)).status == 200


def test_two_hundred_callers_cannot_overdraw_a_wallet(shoal: Installation, upstream: Upstream) -> None:
    costs = [(number * 7 % 30, number * 3 % 19 + 1) for number in range(400)]
    played = iter(costs)
    lock = threading.Lock()

    def random_usage(line: Line, asked: Received) -> None:
        with lock:
            read, said = next(played, (1, 1))
        line.send(whole(completion() | {"usage": {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said}}))

    upstream.play("drained", random_usage)
    key = make_prepaid(shoal, "drained", USD)
    charged: list[Decimal] = []

    def call(number: int) -> None:
        for _ in range(40):
            answer = ask(shoal, key, chat("drained-model", max_tokens=20))
            if answer.status == 200:
                charged.append(json.loads(answer.body, parse_float=Decimal)["usage"]["cost"])
                return
            assert answer.status == 402, answer.body
            if "retry-after" not in answer.headers:
                return
            time.sleep(0.05)  # as it was asked to, though sooner

    with ThreadPoolExecutor(200) as callers:
        list(callers.map(call, range(200)))
    total = sum(charged, Decimal(0))
    assert Decimal("0.5") < total <= 1
    until_settled(shoal, key, total)
    assert look(shoal, key)["credits_remaining"] == 1 - total


def test_a_markup_is_charged_and_the_receipt_tells_both(shoal: Installation) -> None:
    key = make_prepaid(shoal, "marked", 5 * USD, {"markup_ppm": 100_000, "markups": {"second": 500_000}})
    plain = json.loads(ask(shoal, key, chat("dear")).body, parse_float=Decimal)
    assert plain["usage"]["cost"] == plain["shoal"]["charged_usd"] == COST * Decimal("1.1")
    assert plain["shoal"]["cost_usd"] == COST
    special = ask(shoal, key, chat("second"))
    assert json.loads(special.body, parse_float=Decimal)["usage"]["cost"] == COST * Decimal("1.5")
    assert Decimal(special.headers["x-shoal-cost-usd"]) == COST * Decimal("1.5")
    until_settled(shoal, key, COST * Decimal("2.6"))


def test_streams_are_charged_like_whole_answers(shoal: Installation) -> None:
    key = make_prepaid(shoal, "streamed", 5 * USD, {"markup_ppm": 1_000_000})
    answer = ask(shoal, key, chat("dear", stream=True, stream_options={"include_usage": True}))
    usage = next(json.loads(one, parse_float=Decimal) for one in answer.events if b'"cost"' in one)
    assert usage["usage"]["cost"] == 2 * COST
    until_settled(shoal, key, 2 * COST)


def test_prepaid_credit_pays_only_known_prices(shoal: Installation) -> None:
    key = make_prepaid(shoal, "unpriced", 5 * USD)
    answer = ask(shoal, key, chat("up/some-model"))
    assert answer.status == 402
    assert "price of 'up/some-model' is not known" in answer.error["message"]
    own = make_key(shoal, "unpriced own", total_nano=USD)
    answer = ask(shoal, own, chat("up/some-model"))
    assert (answer.status, answer.json["shoal"]["cost_usd"], answer.json["usage"]["cost"]) == (200, None, None)
    assert answer.json["shoal"]["warnings"] == ["the price of this model is unknown"]


def test_vectors_are_charged_by_what_was_read(shoal: Installation, upstream: Upstream) -> None:
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "vectors"}
    upstream.play("vectors", says(whole(vectors | {"usage": {"prompt_tokens": 4, "total_tokens": 4}})), says(whole(vectors)))
    key = make_key(shoal, "vectors", total_nano=2 * USD)
    asked = {"model": "vectors", "input": "how are you?"}
    told = json.loads(ask(shoal, key, asked, "/v1/embeddings").body, parse_float=Decimal)
    assert told["usage"]["cost"] == Decimal("0.004")
    reckoned = json.loads(ask(shoal, key, asked, "/v1/embeddings").body, parse_float=Decimal)["shoal"]
    assert reckoned["usage"]["source"] == "estimated"
    assert reckoned["cost_usd"] == reckoned["usage"]["input"] / Decimal(1000)
    until_settled(shoal, key, Decimal("0.004") + reckoned["cost_usd"])


def test_counting_tokens_costs_nothing(shoal: Installation) -> None:
    key = make_key(shoal, "counts", total_nano=0)
    body = {"model": "dear", "messages": [{"role": "user", "content": "how are you?"}]}
    answer = ask(shoal, key, body, "/v1/messages/count_tokens")
    assert answer.status == 200, answer.body
    assert answer.json["input_tokens"] > 0


def test_refusals_are_told_in_the_words_of_the_url(shoal: Installation) -> None:
    poor = make_key(shoal, "poor elsewhere", total_nano=0)
    scoped = make_key(shoal, "scoped elsewhere", models=("second",))
    messages = {"model": "dear", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
    generate = {"contents": [{"parts": [{"text": "a"}]}]}
    said = [
        (key, path, (answer := ask(shoal, key, body, path)).status, answer.json["error"].get("type") or answer.json["error"]["status"])
        for key in (poor, scoped)
        for path, body in (("/v1/messages", messages), ("/v1beta/models/dear:generateContent", generate))
    ]
    assert [one[2:] for one in said] == [
        (402, "billing_error"),
        (402, "FAILED_PRECONDITION"),
        (403, "permission_error"),
        (403, "PERMISSION_DENIED"),
    ]


def test_failures_are_not_charged(shoal: Installation, upstream: Upstream) -> None:
    key = make_key(shoal, "unlucky", total_nano=USD * 45 // 100)
    upstream.play("dear", says(whole({"error": {"message": "no"}}, 400)))
    try:
        for _ in range(5):
            assert ask(shoal, key, chat("dear")).status == 400
    finally:
        upstream.play("dear", says(whole(completion())))
    assert ask(shoal, key, chat("dear")).status == 200
    until_settled(shoal, key, COST)


def test_what_is_not_reported_is_reckoned(shoal: Installation, upstream: Upstream) -> None:
    key = make_key(shoal, "unreported", total_nano=2 * USD)
    silent = completion()
    del silent["usage"]
    upstream.play("second", says(whole(silent)))
    try:
        receipt = json.loads(ask(shoal, key, chat("second")).body, parse_float=Decimal)["shoal"]
    finally:
        upstream.play("second", says(whole(completion())))
    usage = receipt["usage"]
    assert usage["source"] == "estimated"
    assert receipt["cost_usd"] == (usage["input"] + 2 * usage["output"]) / Decimal(1000)
    assert usage["input"] > 0
    assert usage["output"] > 0


def test_an_answer_that_was_not_good_enough_is_charged_beside_the_one_that_was(shoal: Installation) -> None:
    key = make_key(shoal, "judged", total_nano=2 * USD)
    body = json.loads(ask(shoal, key, chat("judged-first")).body, parse_float=Decimal)
    assert body["shoal"]["model"] == "second"
    assert body["usage"]["cost"] == 2 * COST
    until_settled(shoal, key, 2 * COST)


def test_a_try_that_was_overtaken_is_charged_for_what_was_asked(shoal: Installation, upstream: Upstream) -> None:
    def script(line: Line, asked: Received) -> None:
        line.wait_gone()

    upstream.play("late", script)
    plain, key = make_key(shoal, "earns second tries"), make_key(shoal, "hedged", total_nano=2 * USD)
    with ThreadPoolExecutor(8) as callers:  # of which there is one for twenty requests of a worker
        list(callers.map(lambda _: ask(shoal, plain, chat("up/x")), range(160)))
    body = json.loads(ask(shoal, key, chat("late-first")).body, parse_float=Decimal)
    assert [one.get("error") for one in body["shoal"]["attempts"]] == ["superseded", None]
    overtaken = body["shoal"]["attempts"][0]["cost_usd"]
    assert 0 < overtaken < Decimal("0.05")
    assert body["usage"]["cost"] == COST + overtaken
    until_settled(shoal, key, COST + overtaken)


def test_a_stream_that_breaks_is_charged_for_what_was_said(shoal: Installation, upstream: Upstream) -> None:
    def script(line: Line, asked: Received) -> None:
        line.send(STREAM_HEAD)
        line.chunk(delta("first words"))
        line.reset()

    upstream.play("stops", script)
    key = make_key(shoal, "broken", total_nano=2 * USD)
    answer = ask(shoal, key, chat("stops", stream=True))
    event_ = json.loads(answer.events[-1], parse_float=Decimal)
    assert event_["error"]["code"] == "upstream_connection_lost"
    cost = event_["shoal"]["cost_usd"]
    assert Decimal("0.004") <= cost <= Decimal("0.05")
    until_settled(shoal, key, cost)


def test_a_kept_answer_costs_nothing(shoal: Installation) -> None:
    key = make_key(shoal, "cached", total_nano=2 * USD)
    costs = []
    for _ in range(30):  # two workers, each with answers of its own
        answer = ask(shoal, key, chat("dear"), headers={"x-shoal-cache": "60"})
        costs.append((answer.headers["x-shoal-cache"], json.loads(answer.body, parse_float=Decimal)["usage"]["cost"]))
        if len([one for one in costs if one[0] == "HIT"]) > 3:
            break
    assert {one for one in costs if one[0] == "HIT"} == {("HIT", 0)}
    until_settled(shoal, key, COST * len([one for one in costs if one[0] == "MISS"]))


# rates


def test_a_kept_answer_is_not_given_to_a_key_that_may_no_longer_have_it(shoal: Installation) -> None:
    key = make_key(shoal, "narrowed")
    kept = chat("dear", user="narrowed")

    async def narrow(store: Store) -> None:
        (found,) = [one for one in await store.keys.list_all() if one.name == "narrowed"]
        edit = KeyEdit(terms=Terms(models=("second",)))
        await store.key_changes.update(found.org_id, found.id, found.version, edit, actor="test")

    with Caller(shoal.port, key) as caller:  # of one worker, which has a cache of its own
        found = [caller.ask(kept, headers={"x-shoal-cache": "60"}).headers["x-shoal-cache"] for _ in range(2)]
        assert found == ["MISS", "HIT"]
        in_store(shoal, narrow)
        wait_for(lambda: caller.ask(kept, headers={"x-shoal-cache": "60"}).status == 403, "the end of the answer's reach")


def test_a_burst_ends_in_429_with_openais_headers(shoal: Installation) -> None:
    key = make_key(shoal, "rated", rpm=60, burst=5)
    answers = [ask(shoal, key, chat("up/x")) for _ in range(12)]
    assert 5 <= [one.status for one in answers].count(200) <= 7
    assert answers[0].headers["x-ratelimit-limit-requests"] == "60"
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "4"
    assert answers[0].headers["x-ratelimit-reset-requests"] == "1s"
    refused = next(one for one in answers if one.status == 429)
    assert refused.error["code"] == "rate_limit_exceeded"
    assert "60 requests per minute" in refused.error["message"]
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.json["shoal"]["cost_usd"] == 0
    with Caller(shoal.port, key) as caller:  # a flood of refusals leaves nothing behind
        statuses = []
        for one in (answers[0], refused):
            caller.send(get(key, f"/v1/receipts/{one.headers['x-request-id']}"))
            statuses.append(caller.answer().status)
    assert statuses == [200, 404]


def test_tokens_a_minute_are_counted(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("many", says(whole(completion() | {"usage": {"prompt_tokens": 1900, "completion_tokens": 100, "total_tokens": 2000}})))
    key = make_key(shoal, "tokens", tpm=6_000)
    answers = [ask(shoal, key, chat("up/many", max_tokens=10)) for _ in range(6)]
    statuses = [one.status for one in answers]
    assert statuses[:2] == [200, 200]
    assert 429 in statuses[2:5]
    refused = next(one for one in answers if one.status == 429)
    assert "6,000 tokens per minute" in refused.error["message"]
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-ratelimit-limit-tokens"] == "6000"
    assert "x-ratelimit-limit-requests" not in refused.headers


class Held:
    """A stream whose first event comes at once and whose rest comes when it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.gone = threading.Event()

    def __call__(self, line: Line, asked: Received) -> None:
        line.send(STREAM_HEAD)
        line.chunk(delta("first words"))
        self.release.wait(20)
        line.chunk(delta("second", "stop"))
        line.chunk(event(json.dumps({"choices": [], "usage": USAGE}).encode()))
        line.chunk(event(b"[DONE]"))
        line.send(b"0\r\n\r\n")


def begin(shoal: Installation, key: str, model: str) -> Caller:
    """A streaming request of which the first event has arrived."""
    caller = Caller(shoal.port, key)
    caller.send(request(key, chat(model, stream=True)))
    while b"first words" not in caller.unread:
        data = caller.socket.recv(65536)
        assert data, caller.unread
        caller.unread += data
    return caller


def test_as_many_run_at_a_time_as_may(shoal: Installation, upstream: Upstream) -> None:
    held = Held()
    upstream.play("slow", held)
    key = make_key(shoal, "parallel", parallel=2)
    first, second = begin(shoal, key, "up/slow"), begin(shoal, key, "up/slow")
    refused = ask(shoal, key, chat("up/x"))
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "1"
    held.release.set()
    for caller in (first, second):
        assert caller.answer().status == 200
        caller.socket.close()
    wait_for(lambda: ask(shoal, key, chat("up/x")).status == 200, "a free place")


# disconnects


def test_who_hangs_up_pays_for_what_was_said_where_the_upstream_stops(shoal: Installation, upstream: Upstream) -> None:
    held, hung_up = Held(), threading.Event()

    def script(line: Line, asked: Received) -> None:
        line.send(STREAM_HEAD)
        line.chunk(delta("first words"))
        line.wait_gone()
        hung_up.set()

    upstream.play("stops", script)
    key = make_key(shoal, "hung up", total_nano=2 * USD)
    begin(shoal, key, "stops").socket.close()
    assert hung_up.wait(10)
    cost = wait_for(lambda: look(shoal, key)["usage"], "the charge")
    assert Decimal("0.004") <= cost <= Decimal("0.05")
    held.release.set()


def test_where_the_upstream_goes_on_its_whole_answer_is_charged(shoal: Installation, upstream: Upstream) -> None:
    held = Held()
    upstream.play("goes-on", held)
    key = make_key(shoal, "gone", total_nano=2 * USD)
    begin(shoal, key, "goes-on").socket.close()
    held.release.set()
    until_settled(shoal, key, COST)


def test_what_is_held_by_who_hung_up_is_free_again(shoal: Installation, upstream: Upstream) -> None:
    held = Held()
    upstream.play("stops", held)
    key = make_key(shoal, "freed", total_nano=USD * 45 // 100, parallel=1)
    caller = begin(shoal, key, "stops")
    assert ask(shoal, key, chat("dear")).status == 429
    caller.socket.close()
    wait_for(lambda: ask(shoal, key, chat("dear", max_tokens=1)).status == 200, "an answer")
    held.release.set()


# what a key is for


def test_a_key_is_for_its_models_endpoints_and_routes(shoal: Installation) -> None:
    key = make_key(shoal, "scoped", models=("up/allowed-*", "dear"), endpoints=("chat",), routes=("cheap",))
    assert ask(shoal, key, chat("up/allowed-1")).status == 200
    assert ask(shoal, key, chat("dear")).status == 200
    assert ask(shoal, key, chat("route/cheap")).status == 200
    refused = ask(shoal, key, chat("up/other"))
    assert (refused.status, refused.error["code"], refused.error["param"]) == (403, "permission_denied", "model")
    assert "it may use up/allowed-*, dear" in refused.error["message"]
    assert ask(shoal, key, chat("up/allowed-1", models=["up/other"])).status == 200  # of which only the first is asked
    refused = ask(shoal, key, {"model": "up/allowed-1", "input": "a"}, "/v1/embeddings")
    assert (refused.status, refused.error["message"]) == (403, "This key may not be used for 'embeddings'; it is for chat.")
    refused = ask(shoal, key, {"model": "up/allowed-1", "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}, "/v1/messages")
    assert refused.status == 403


def test_fallbacks_do_not_lead_out_of_a_scope(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("allowed-sick", says(whole({"error": {"message": "no"}}, 500)))
    key = make_key(shoal, "fenced", models=("up/allowed-sick",))
    answer = ask(shoal, key, chat("up/allowed-sick", models=["up/forbidden"]))
    assert answer.status == 502
    assert not upstream.received("forbidden")


def test_the_list_of_models_is_the_keys_own(shoal: Installation) -> None:
    key = make_key(shoal, "listing", models=("dear",))
    with Caller(shoal.port, key) as caller:
        caller.send(request(key, b"", "/v1/models", {"content-type": "", "content-length": ""}, "GET"))
        assert [one["id"] for one in caller.answer().json["data"]] == ["dear"]
        caller.send(request(key, b"", "/v1/models/second", {"content-type": "", "content-length": ""}, "GET"))
        assert caller.answer().status == 404


def test_a_key_comes_from_its_own_networks(shoal: Installation) -> None:
    key = make_key(shoal, "at home", ips=("192.0.2.0/24",))
    refused = ask(shoal, key, chat("up/x"))
    assert (refused.status, refused.error["message"]) == (403, "This key may not be used from 127.0.0.1.")
    assert ask(shoal, key, chat("up/x"), headers={"x-forwarded-for": "192.0.2.9"}).status == 200
    with Caller(shoal.port, key) as caller:  # the head is known, and looked at again all the same
        for _ in range(3):
            assert caller.ask(chat("up/x"), headers={"x-forwarded-for": "192.0.2.9"}).status == 200
            assert caller.ask(chat("up/x"), headers={"x-forwarded-for": "192.0.2.9, 203.0.113.1"}).status == 403


def test_keys_for_administration_and_for_models_open_different_doors(shoal: Installation) -> None:
    key = make_key(shoal, "admin", kind="admin")
    refused = wait_for(lambda: answer if (answer := ask(shoal, key, chat("up/x"))).status != 401 else None, "the key")
    assert (refused.status, refused.error["code"]) == (403, "permission_denied")
    assert "administration" in refused.error["message"]


def test_an_expired_key_is_refused_at_once(shoal: Installation) -> None:
    expires_at = time.time() + 1.5
    key = make_key(shoal, "short", expires_at_ms=int(expires_at * 1000))
    with Caller(shoal.port, key) as caller:
        assert caller.ask(chat("up/x")).status == 200
        while time.time() < expires_at - 0.3:
            assert caller.ask(chat("up/x")).status == 200
        wait_for(lambda: time.time() >= expires_at, "the moment")
        assert caller.ask(chat("up/x")).status == 401


def test_a_revoked_key_is_refused_within_a_second(shoal: Installation) -> None:
    key = make_key(shoal, "revoked", daily_nano=USD)
    assert ask(shoal, key, chat("dear")).status == 200
    in_store(shoal, lambda store: store.keys.revoke("revoked"))
    at = time.monotonic()
    wait_for(lambda: {ask(shoal, key, chat("dear")).status for _ in range(8)} == {401}, "the refusal")
    assert time.monotonic() - at < 1.5


def test_an_earlier_secret_is_good_for_a_while_and_spends_of_the_same_budget(shoal: Installation) -> None:
    earlier = make_key(shoal, "rotated", total_nano=USD)
    assert ask(shoal, earlier, chat("dear")).status == 200
    ends = time.time() + 2.0

    async def rotate(store: Store) -> str:
        (key,) = [one for one in await store.keys.list_all() if one.name == "rotated"]
        return (await store.key_changes.rotate(key.org_id, key.id, key.version, grace_s=2.0, actor="test"))[1]

    later = in_store(shoal, rotate)
    assert ask(shoal, later, chat("dear")).status == 200
    assert ask(shoal, earlier, chat("dear")).status == 200
    until_settled(shoal, later, 3 * COST)
    wait_for(lambda: time.time() > ends + 0.5, "the end of the grace period")
    assert ask(shoal, earlier, chat("dear")).status == 401
    assert ask(shoal, later, chat("dear")).status == 200


# accidents


def workers(shoal: Installation) -> list[psutil.Process]:
    """The gateway processes."""
    return [one for one in psutil.Process(shoal.process.pid).children(recursive=True) if "shoal.wiring.worker" in one.cmdline()]


def talks(process: psutil.Process, port: int) -> bool:
    """Whether a caller is connected to this process."""
    return any(line.laddr and line.laddr.port == port and line.raddr for line in process.net_connections())


def test_what_a_killed_worker_held_is_free_again(shoal: Installation, upstream: Upstream) -> None:
    held = Held()
    upstream.play("stops", held)
    key = make_key(shoal, "killed", total_nano=USD * 45 // 100)
    caller = begin(shoal, key, "stops")
    (owner,) = wait_for(lambda: found if len(found := [one for one in workers(shoal) if talks(one, shoal.port)]) == 1 else None, "one")
    refused = ask(shoal, key, chat("dear"))
    assert (refused.status, refused.headers["retry-after"]) == (402, "1")
    owner.kill()
    held.release.set()
    caller.socket.close()

    def answered() -> bool:
        try:
            return ask(shoal, key, chat("dear")).status == 200
        except ConnectionError:
            return False

    wait_for(answered, "the release of the hold", 60)
    until_settled(shoal, key, COST)


def test_while_the_store_is_away_what_is_lent_is_spent_and_then_it_is_said(shoal: Installation) -> None:
    key = make_key(shoal, "away", total_nano=100 * USD)
    free = make_key(shoal, "free")
    for _ in range(4):
        assert ask(shoal, key, chat("dear")).status == 200
        assert ask(shoal, free, chat("dear")).status == 200
    lock = sqlite3.connect(shoal.home / "shoal.db", isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    try:
        statuses: list[int] = []

        def call(_: int) -> Answer:
            return ask(shoal, key, chat("dear"))

        with ThreadPoolExecutor(40) as callers:
            answers = list(callers.map(call, range(400)))
        statuses = [one.status for one in answers]
        assert set(statuses) <= {200, 503}
        refused = [one for one in answers if one.status == 503]
        for one in refused:
            assert one.error["code"] == "overloaded"
            assert one.headers["retry-after"] == "1"
        assert ask(shoal, free, chat("dear")).status == 200
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    wait_for(lambda: ask(shoal, key, chat("dear")).status == 200, "the store's return")
