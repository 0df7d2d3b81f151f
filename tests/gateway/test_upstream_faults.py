"""Upstreams that fail, in every way: what can be tried again is; what cannot ends in one typed error, and nothing is lost in between."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from caller import Answer, Caller, chat, get, request
from conftest import Neighbours
from installation import Installation
from upstream import (
    DONE,
    EVENTS,
    STREAM_HEAD,
    Line,
    Received,
    Script,
    Upstream,
    chunked,
    completion,
    default,
    delta,
    event,
    head,
    says,
    stream,
    whole,
)

USAGE_WANTED = {"stream": True, "stream_options": {"include_usage": True}}


def ask(shoal: Installation, model: str, **more: Any) -> Answer:
    """A request on a connection of its own."""
    with Caller(shoal.port, shoal.key) as caller:
        return caller.ask(chat(model, **more))


def cut(data: bytes) -> Script:
    """Sends these bytes and hangs up."""

    def play(line: Line, request: Received) -> None:
        line.send(data)
        line.close()

    return play


def then_silence(data: bytes) -> Script:
    """Sends these bytes and no more."""

    def play(line: Line, request: Received) -> None:
        line.send(data)
        line.wait_gone()
        line.close()

    return play


def receipt(shoal: Installation, request_id: str) -> Any:
    """The receipt that the ledger holds."""
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(get(shoal.key, f"/v1/receipts/{request_id}"))
        return caller.answer().json


# cut at every byte

FIRST = len(STREAM_HEAD) + len(b"%x\r\n" % len(EVENTS[0])) + len(EVENTS[0])  # bytes until the first event is whole
ALL = stream()
LAST_BYTE_NEEDED = ALL.index(EVENTS[2]) + len(EVENTS[2].rstrip())  # the upstream has said why it stopped


def many(shoal: Installation, models: list[str], **more: Any) -> list[Answer]:
    """All of them at once."""
    with ThreadPoolExecutor(48) as pool:
        return list(pool.map(lambda model: ask(shoal, model, **more), models))


def test_a_stream_cut_before_its_first_event_is_tried_again(shoal: Installation, upstream: Upstream) -> None:
    models = [f"cut-early-{size}" for size in range(FIRST)]
    for size, model in enumerate(models):
        upstream.play(model, cut(ALL[:size]), default)
    for model, answer in zip(models, many(shoal, [f"up/{model}" for model in models], **USAGE_WANTED), strict=True):
        tries = ("1", "2") if model == models[0] else ("2",)  # a kept connection that ends without a byte is replaced, and that is no try
        assert (answer.status, answer.cut) == (200, False), model
        assert answer.headers["x-shoal-attempts"] in tries, model
        assert [json.loads(data).get("error") for data in answer.events[:-1]] == [None] * (len(EVENTS) - 1)
        assert answer.events[-1] == b"[DONE]"
        assert len(upstream.received(model)) == 2


def test_a_stream_always_cut_before_its_first_event_is_a_typed_error(shoal: Installation, upstream: Upstream) -> None:
    sizes = [0, 1, 20, len(STREAM_HEAD) - 1, len(STREAM_HEAD), FIRST - 1]
    for size in sizes:
        upstream.play(f"cut-always-{size}", cut(ALL[:size]))
    for answer in many(shoal, [f"up/cut-always-{size}" for size in sizes], stream=True):
        assert (answer.status, answer.error["code"], answer.error["type"]) == (502, "upstream_connection_lost", "upstream_error")
        assert answer.headers["x-shoal-attempts"] == "3"
        assert [one["error"] for one in answer.json["shoal"]["attempts"]] == ["upstream_connection_lost"] * 3
        assert answer.json["shoal"]["cost_usd"] == 0


def test_a_stream_cut_after_its_first_event_ends_in_one_error_event(shoal: Installation, upstream: Upstream) -> None:
    sizes = range(FIRST, len(ALL))
    for size in sizes:
        upstream.play(f"cut-late-{size}", cut(ALL[:size]))
    for size, answer in zip(sizes, many(shoal, [f"up/cut-late-{size}" for size in sizes], **USAGE_WANTED), strict=True):
        assert (answer.status, answer.cut) == (200, False)  # our own framing ends in order
        assert len(upstream.received(f"cut-late-{size}")) == 1
        whole_events = ALL[:size].count(b"\n\n")
        if size >= LAST_BYTE_NEEDED:
            assert answer.events[-1] == b"[DONE]", size
            assert b'"error"' not in answer.body
            continue
        assert b"[DONE]" not in answer.body
        *passed, last = [json.loads(data) for data in answer.events]
        assert len(passed) == whole_events, size
        assert last["error"]["code"] == "upstream_connection_lost"
        assert not any("error" in one for one in passed)


def test_a_broken_stream_has_a_receipt(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("cut-receipt", cut(ALL[:FIRST]))
    answer = ask(shoal, "up/cut-receipt", stream=True)
    last = json.loads(answer.events[-1])
    kept = receipt(shoal, answer.headers["x-request-id"])
    assert kept == last["shoal"]
    assert kept["cost_usd"] is None  # something came, and what it cost is not known


def test_a_whole_answer_cut_anywhere_is_tried_again(shoal: Installation, upstream: Upstream) -> None:
    data = whole(completion())
    models = [f"cut-whole-{size}" for size in range(0, len(data), 3)]
    for size, model in zip(range(0, len(data), 3), models, strict=True):
        upstream.play(model, cut(data[:size]), default)
    for answer in many(shoal, [f"up/{model}" for model in models]):
        assert (answer.status, answer.headers["x-shoal-attempts"]) == (200, "2")
        assert answer.json["choices"][0]["message"]["content"] == "Hello."


def test_a_body_that_ends_with_the_connection_passes(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("eof-stream", cut(head(kind="text/event-stream", headers="connection: close\r\n") + b"".join(EVENTS)))
    upstream.play("eof-whole", cut(head(headers="connection: close\r\n") + json.dumps(completion()).encode()))
    assert ask(shoal, "up/eof-stream", stream=True).events[-1] == b"[DONE]"
    assert ask(shoal, "up/eof-whole").status == 200


def test_an_odd_chunking_changes_nothing(shoal: Installation, upstream: Upstream) -> None:
    data = b"".join(EVENTS)
    for size in (1, 2, 7, 1000):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        upstream.play(f"chunks-{size}", says(STREAM_HEAD + chunked(pieces)))
        assert ask(shoal, f"up/chunks-{size}", stream=True).body.replace(b"\n", b"").endswith(DONE.strip())
    bodies = {
        tuple(data for data in ask(shoal, f"up/chunks-{size}", **USAGE_WANTED).events if b"shoal" not in data) for size in (1, 2, 7, 1000)
    }
    assert len(bodies) == 1


# garbage


@pytest.mark.parametrize(
    ("name", "answer", "code"),
    [
        ("not http", b"SSH-2.0-OpenSSH_9.2\r\n", "upstream_bad_answer"),
        ("bad chunk", STREAM_HEAD + b"zz\r\n", "upstream_bad_answer"),
        ("json for a stream", whole(completion()), "upstream_bad_answer"),
        ("html", whole(b"<html>busy</html>", kind="text/html"), "upstream_bad_answer"),
        ("not json in an event", STREAM_HEAD + chunked([event(b'{"error"')]), "upstream_bad_answer"),
        ("an empty stream", STREAM_HEAD + b"0\r\n\r\n", "upstream_connection_lost"),
        ("only comments", STREAM_HEAD.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n") + chunked([]), "upstream_connection_lost"),
        ("an error event first", STREAM_HEAD + chunked([event({"error": {"message": "secret traceback"}}), DONE]), "upstream_error"),
        ("switching protocols", b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", "upstream_bad_answer"),
        ("huge headers", b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 300_000, "upstream_bad_answer"),
    ],
)
def test_garbage_is_a_typed_error(shoal: Installation, upstream: Upstream, name: str, answer: bytes, code: str) -> None:
    upstream.play(name, cut(answer))
    found = ask(shoal, f"up/{name}", stream=True)
    assert (found.status, found.error["code"]) == (502, code)
    assert b"secret" not in found.body


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("whole html", whole(b"<html>", kind="text/html")),
        ("whole gzip", whole(b"\x1f\x8b\x08\x00", headers="content-encoding: gzip\r\n")),
        ("whole list", whole(b"[]")),
        ("whole empty", whole(b"")),
        ("whole deep", whole(b"[" * 200_000)),
        ("whole not utf-8", whole(b'{"usage":"\xff"}')),
    ],
)
def test_a_whole_answer_that_is_no_json_object_is_a_typed_error(shoal: Installation, upstream: Upstream, name: str, answer: bytes) -> None:
    upstream.play(name, says(answer))
    found = ask(shoal, f"up/{name}")
    assert (found.status, found.error["code"]) == (502, "upstream_bad_answer")


def test_an_interim_answer_is_passed_over(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("interim", says(b"HTTP/1.1 100 Continue\r\n\r\n" + whole(completion())))
    assert ask(shoal, "up/interim").status == 200


def test_an_error_in_the_middle_of_a_stream_is_one_event(shoal: Installation, upstream: Upstream) -> None:
    said = {"error": {"message": "secret traceback", "type": "server_error", "code": 500}}
    upstream.play("error-event", says(STREAM_HEAD + chunked([delta("Hel"), event(said) + delta("lost"), DONE])))
    answer = ask(shoal, "up/error-event", stream=True)
    first, last = answer.events
    assert json.loads(first)["choices"][0]["delta"]["content"] == "Hel"
    assert json.loads(last)["error"]["type"] == "upstream_error"
    assert b"secret" not in answer.body
    assert not answer.cut


def test_an_error_instead_of_a_stream_is_what_it_says(shoal: Installation, upstream: Upstream) -> None:
    """In a success, as a whole JSON object."""
    refused = {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
    upstream.play("whole-error", says(whole(refused)))
    answer = ask(shoal, "up/whole-error", stream=True)
    assert (answer.status, answer.error["message"], answer.error["code"]) == (400, "too long", "context_length_exceeded")
    upstream.play("whole-answer", says(whole(completion())))
    assert ask(shoal, "up/whole-answer", stream=True).error["code"] == "upstream_bad_answer"


def test_garbage_in_the_middle_of_a_stream_is_one_error_event(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("garbage-event", says(STREAM_HEAD + chunked([delta("Hel"), event(b'{"usage":{}'), delta("lost"), DONE])))
    answer = ask(shoal, "up/garbage-event", stream=True)
    assert json.loads(answer.events[-1])["error"]["code"] == "upstream_bad_answer"
    assert b"lost" not in answer.body
    assert b"[DONE]" not in answer.body


# statuses


def said(status: int, headers: str = "", **more: Any) -> bytes:
    """An error answer."""
    return whole(
        {"error": {"message": "sk-upstream-secret says no", "type": "some_type", "param": "p", "code": "some_code", **more}},
        status,
        headers,
    )


@pytest.mark.parametrize("streaming", [False, True])
def test_a_callers_mistake_comes_back_as_the_upstream_put_it(shoal: Installation, upstream: Upstream, streaming: bool) -> None:
    for status in (400, 409, 413, 422):
        upstream.play(f"rejects-{status}", says(said(status, message="too long")))
        answer = ask(shoal, f"up/rejects-{status}", stream=streaming)
        assert answer.status == status
        assert answer.error == {"message": "too long", "type": "some_type", "param": "p", "code": "some_code"}
        assert answer.headers["x-shoal-attempts"] == "1"
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [401, 403])
def test_our_key_and_what_is_said_of_it_stay_here(shoal: Installation, upstream: Upstream, status: int) -> None:
    upstream.play(f"auth-{status}", says(said(status)))
    answer = ask(shoal, f"up/auth-{status}")
    assert (answer.status, answer.error["code"]) == (502, "upstream_auth")
    assert b"sk-upstream" not in answer.body
    assert "sk-upstream" not in str(answer.headers)
    assert b"says no" not in answer.body
    assert len(upstream.received(f"auth-{status}")) == 1


def test_a_key_that_is_refused_with_400_is_not_the_callers_mistake(shoal: Installation, upstream: Upstream) -> None:
    """As xAI does; a caller who makes an upstream say something that looks so is told of its mistake, and hurts nobody."""
    refusal = {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***Yz. Get one."}
    upstream.play("hidden-key", says(whole(refusal, 400)))
    answer = ask(shoal, "up/hidden-key")
    assert (answer.status, answer.error["code"]) == (502, "upstream_auth")
    assert b"***" not in answer.body
    upstream.play("said-key", says(whole(refusal, 400)))
    answer = ask(shoal, "up/said-key", messages=[{"role": "user", "content": "xa***Yz"}])
    assert (answer.status, answer.error["code"]) == (400, refusal["code"])


@pytest.mark.parametrize("status", [500, 502, 503, 529])
def test_an_upstreams_trouble_is_tried_again(shoal: Installation, upstream: Upstream, status: int) -> None:
    upstream.play(f"trouble-{status}", says(said(status)), says(said(status)), default)
    answer = ask(shoal, f"up/trouble-{status}")
    assert (answer.status, answer.headers["x-shoal-attempts"]) == (200, "3")
    upstream.play(f"trouble-{status}", says(said(status)))
    answer = ask(shoal, f"up/trouble-{status}")
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert b"says no" not in answer.body
    assert [one["status"] for one in answer.json["shoal"]["attempts"]] == [status] * 3


def test_retry_after_is_honoured(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("busy", says(said(429, "retry-after: 1\r\n")), default)
    assert ask(shoal, "up/busy").status == 200
    first, second = upstream.received("busy")
    assert 0.95 < second.at - first.at < 5.0


def test_a_long_retry_after_is_passed_on(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("very-busy", says(said(429, "retry-after: 120\r\n")))
    answer = ask(shoal, "up/very-busy")
    assert (answer.status, answer.error["code"], answer.error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert answer.headers["retry-after"] == "120"
    assert len(upstream.received("very-busy")) == 1


def test_a_redirect_is_not_followed(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("moved", says(whole(b"", 307, "location: http://169.254.169.254/\r\n")))
    answer = ask(shoal, "up/moved")
    assert (answer.status, answer.error["code"]) == (502, "upstream_error")
    assert "redirect" in answer.error["message"]


# times


def test_silence_ends(shoal: Installation, upstream: Upstream) -> None:
    """Before the answer, in its head, in a whole body and in the middle of a stream; all of them at once."""
    upstream.play("silent", then_silence(b""))
    upstream.play("silent-head", then_silence(b"HTTP/1.1 200 OK\r\nx-a:"))
    upstream.play("silent-body", then_silence(head(framing="content-length: 10\r\n") + b"{"))
    upstream.play("silent-stream", then_silence(STREAM_HEAD))
    upstream.play("silent-middle", then_silence(ALL[:FIRST]))
    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        asked = [("silent", False), ("silent", True), ("silent-head", False), ("silent-body", False), ("silent-stream", True)]
        answers = [pool.submit(ask, shoal, f"up/{model}", stream=streaming) for model, streaming in asked]
        middle = pool.submit(ask, shoal, "up/silent-middle", stream=True)
        for answer in answers:
            found = answer.result()
            assert (found.status, found.error["code"]) == (504, "upstream_timeout")
            assert found.headers["x-shoal-attempts"] == "1"
        assert json.loads(middle.result().events[-1])["error"]["code"] == "upstream_timeout"
    assert 1.4 < time.monotonic() - started < 10


def test_a_slow_first_byte_is_waited_for(shoal: Installation, upstream: Upstream) -> None:
    def play(line: Line, request: Received) -> None:
        threading.Event().wait(0.7)
        default(line, request)

    upstream.play("slow-first", play)
    answer = ask(shoal, "up/slow-first")
    assert answer.status == 200
    assert float(answer.headers["x-shoal-overhead-ms"]) < 200  # waiting for an upstream is not our overhead


# who cannot be reached


@pytest.mark.parametrize("provider", ["refused", "nowhere", "stranger", "misnamed", "not-tls", "no-tunnel"])
def test_who_cannot_be_reached_is_a_typed_error(shoal: Installation, provider: str) -> None:
    answer = ask(shoal, f"{provider}/x")
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
    hint = {"stranger": "certificate", "misnamed": "certificate", "no-tunnel": "407", "not-tls": "TLS"}.get(provider, "connect")
    assert hint.lower() in answer.error["message"].lower()


def test_a_key_that_is_not_set_is_named(shoal: Installation) -> None:
    answer = ask(shoal, "keyless/x")
    assert (answer.status, answer.error["code"]) == (400, "provider_not_configured")
    assert "SHOAL_TEST_KEY_THAT_IS_NOT_SET" in answer.error["message"]


def test_a_trusted_certificate_is_trusted(shoal: Installation, neighbours: Neighbours) -> None:
    for _ in range(3):
        assert ask(shoal, "trusted/x").status == 200
        assert ask(shoal, "trusted/x", stream=True).events[-1] == b"[DONE]"
    assert neighbours.trusted.connections == 1


def test_a_proxy_is_asked_for_the_whole_address(shoal: Installation, upstream: Upstream) -> None:
    assert ask(shoal, "proxied/through-proxy").status == 200
    (sent,) = upstream.received("through-proxy")
    assert sent.line == b"POST http://plain.test:8080/base/v1/chat/completions HTTP/1.1"
    assert sent.headers[b"host"] == b"plain.test:8080"
    assert sent.headers[b"proxy-authorization"] == b"Basic dXNlcjpwQHNz"


def test_a_tunnel_is_opened_for_tls(shoal: Installation, neighbours: Neighbours) -> None:
    assert ask(shoal, "tunnelled/x").status == 200
    assert ask(shoal, "tunnelled/x", stream=True).events[-1] == b"[DONE]"
    assert [one.line for one in neighbours.tunnel.tunnels if b"secure" in one.line] == [b"CONNECT secure.test:443 HTTP/1.1"]
    assert neighbours.tunnel.received("x")[0].line == b"POST /v1/chat/completions HTTP/1.1"


# another deployment


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("name", "answer", "tries"),
    [
        ("auth", said(401), 2),
        ("missing", said(404), 2),
        ("busy", said(429, "retry-after: 60\r\n"), 2),
        ("cut", ALL[: FIRST - 1], 4),
        ("down", said(503), 4),
    ],
)
def test_the_second_deployment_takes_over(
    shoal: Installation, upstream: Upstream, name: str, answer: bytes, tries: int, streaming: bool
) -> None:
    first, second = f"{name}-1-{streaming}", f"{name}-2-{streaming}"  # each its own, since a circuit that has opened stays open
    upstream.play(first, cut(answer))
    upstream.play(second, default)
    found = ask(shoal, f"up/{first}", models=[f"up/{second}"], stream=streaming)
    assert (found.status, found.headers["x-shoal-attempts"]) == (200, str(tries))
    assert [one.json["model"] for one in upstream.received(second)] == [second]
    assert "models" not in upstream.received(second)[0].json


def test_a_silent_first_deployment_is_not_asked_twice(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("silent-1", then_silence(b""))
    answer = ask(shoal, "up/silent-1", models=["up/silent-2"])
    assert (answer.status, answer.headers["x-shoal-attempts"]) == (200, "2")


def test_the_callers_mistake_is_not_taken_to_the_second(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("pair-1", says(said(400)))
    before = len(upstream.received("pair-2"))
    assert ask(shoal, "pair").status == 400
    assert len(upstream.received("pair-2")) == before


def test_who_refuses_connections_is_passed_over(shoal: Installation) -> None:
    answer = ask(shoal, "refused-first")
    assert (answer.status, answer.headers["x-shoal-provider"]) == (200, "up")


def test_a_connection_closed_between_requests_is_no_failure(shoal: Installation, upstream: Upstream) -> None:
    """The upstream closes after each answer, without having said that it would."""
    upstream.play("closes", cut(whole(completion())))
    for _ in range(5):
        answer = ask(shoal, "up/closes")
        assert (answer.status, answer.headers["x-shoal-attempts"]) == (200, "1")


def test_many_at_once_are_all_answered(shoal: Installation, upstream: Upstream) -> None:
    upstream.play("many", default)
    data = request(shoal.key, chat("up/many", stream=True))

    def run(_: int) -> int:
        with Caller(shoal.port) as caller:
            caller.send(data * 5)
            return sum(caller.answer().events[-1] == b"[DONE]" for _ in range(5))

    with ThreadPoolExecutor(32) as pool:
        assert sum(pool.map(run, range(100))) == 500
