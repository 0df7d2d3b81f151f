"""Requests that are wrong: the right status, OpenAI's error shape, the parameter by name; and the connection goes on."""

import json
from typing import Any

import pytest

from caller import CHAT, Caller, chat, get, request
from conftest import BODY_BYTES
from installation import Installation

GOOD = chat("up/bad-input")


@pytest.mark.parametrize("path", [CHAT, "/openai" + CHAT])
@pytest.mark.parametrize(
    ("body", "status", "param", "code"),
    [
        (b"", 400, None, "invalid_json"),
        (b"{", 400, None, "invalid_json"),
        (b"[]", 400, None, "invalid_type"),
        (b"\x00", 400, None, "invalid_json"),
        (json.dumps(GOOD).encode() + b"\x00", 400, None, "invalid_json"),
        (b'{"model":"\\ud800","messages":[1]}', 400, None, "invalid_json"),
        (b'{"model":"m","messages":["\xed\xa0\x80"]}', 400, None, "invalid_json"),
        (b'{"model":"m","messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, None, "invalid_json"),
        ({**GOOD, "messages": "hi"}, 400, "messages", "invalid_type"),
        ({**GOOD, "messages": []}, 400, "messages", "invalid_value"),
        ({**GOOD, "temperature": "hot"}, 400, "temperature", "invalid_type"),
        ({**GOOD, "max_tokens": -1}, 400, "max_tokens", "invalid_value"),
        ({**GOOD, "stream_options": {"include_usage": 3}}, 400, "stream_options.include_usage", "invalid_type"),
        ({"model": "up/x"}, 400, "messages", "missing_required_parameter"),
        ({"messages": [1]}, 400, "model", "missing_required_parameter"),
        ({**GOOD, "model": "no-such-model"}, 404, "model", "model_not_found"),
        ({**GOOD, "model": "nobody/model"}, 404, "model", "model_not_found"),
        ({**GOOD, "model": "up/"}, 404, "model", "model_not_found"),
        ({**GOOD, "model": "no-such-model" * 30 + "\u0000\u202e"}, 404, "model", "model_not_found"),
    ],
)
def test_a_bad_body_is_named(shoal: Installation, path: str, body: Any, status: int, param: str | None, code: str) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        answer = caller.ask(body, path)
        assert (answer.status, answer.error["param"], answer.error["code"]) == (status, param, code)
        assert answer.error["type"] == "invalid_request_error"
        assert len(answer.body) < 4000
        assert answer.headers["x-request-id"] == answer.json["shoal"]["id"]
        assert caller.ask(GOOD).status == 200  # on the same connection


def test_a_lone_surrogate_is_refused_and_an_escaped_nul_passes(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        body = b'{"model":"up/bad-input","messages":[{"role":"user","content":"%b"}]}'
        refused = caller.ask(body % b"\\ud800")
        assert (refused.error["code"], "half of a surrogate pair" in refused.error["message"]) == ("invalid_json", True)
        assert caller.ask(body % b"\\u0000 \\ud83d\\ude00").status == 200


def test_ten_thousand_messages_pass(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        assert caller.ask({**GOOD, "messages": GOOD["messages"] * 10_000}).status == 200


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("", 200),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
    ],
)
def test_the_content_type_must_be_json(shoal: Installation, kind: str, status: int) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        answer = caller.ask(GOOD, headers={"content-type": kind})
        assert answer.status == status
        if status != 200:
            assert answer.error["code"] == "unsupported_media_type"
            assert caller.ask(GOOD).status == 200


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate"])
def test_compressed_bodies_are_refused(shoal: Installation, coding: str) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        assert caller.ask(GOOD, headers={"content-encoding": coding}).status == 415
        assert caller.ask(GOOD, headers={"content-encoding": "identity"}).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("PUT", CHAT, 405, "method_not_allowed"),
        ("OPTIONS", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("GET", "/", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("POST", "/v1/chat/completion", 404, "unknown_url"),
        ("POST", "/v1/chat/completions/", 404, "unknown_url"),
        ("POST", "//v1/chat/completions", 404, "unknown_url"),
        ("POST", "/v1/chat/../chat/completions", 404, "unknown_url"),
        ("POST", "/v1%2Fchat/completions", 404, "unknown_url"),
        ("POST", "/v1/chat/completions%00", 404, "unknown_url"),
        ("GET", "/openai/openai/v1/models", 404, "unknown_url"),
        ("GET", "/etc/passwd", 404, "unknown_url"),
        ("OPTIONS", "*", 404, "unknown_url"),
        ("GET", "/v1/receipts/req_" + "0" * 32, 404, "not_found"),
        ("GET", "/v1/receipts/%2e%2e", 404, "not_found"),
        ("GET", "/v1/models/nothing", 404, "model_not_found"),
        ("GET", "/v1/models/%ff%00", 404, "model_not_found"),
    ],
)
def test_a_wrong_method_or_path_is_told(shoal: Installation, method: str, path: str, status: int, code: str) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(request(shoal.key, GOOD if method == "POST" else b"", path, method=method))
        answer = caller.answer()
        assert (answer.status, answer.error["code"]) == (status, code)
        assert ("allow" in answer.headers) == (status == 405)
        assert caller.ask(GOOD).status == 200


def test_head_has_the_headers_of_get_and_no_body(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(get(shoal.key, "/v1/models"))
        whole = caller.answer()
        caller.send(request(shoal.key, b"", "/v1/models", {"content-length": ""}, "HEAD") + get(shoal.key, "/healthz"))
        caller.unread += caller.socket.recv(65536)
        head, _, caller.unread = caller.unread.partition(b"\r\n\r\n")
        assert b"content-length: %d" % len(whole.body) in head
        assert caller.answer().json == {"status": "ok"}


@pytest.mark.parametrize("target", ["http://gateway.test/v1/models", "HTTP://gateway.test:80/v1/models?x=y", "https://g/openai/v1/models"])
def test_absolute_targets_are_understood(shoal: Installation, target: str) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(get(shoal.key, target))
        assert caller.answer().json["object"] == "list"


def test_queries_are_ignored(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        assert caller.ask(GOOD, CHAT + "?api-version=1&x=%00").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer sk-other"},
        {"authorization": "Bearer sk-shoal-" + "A" * 43},
        {"authorization": "Bearer sk-shoal-" + "A" * 5000},
        {"authorization": "Bearer \xff\xfe"},
        {"authorization": "", "x-api-key": "sk-shoal-" + "B" * 43},
        {"authorization": "", "x-goog-api-key": "x"},
    ],
)
def test_a_key_that_is_missing_or_wrong_is_refused(shoal: Installation, headers: dict[str, str]) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        for path in (CHAT, "/v1/models", "/v1/models/x", "/v1/receipts/x"):
            caller.send(request("", GOOD, path, headers, "POST" if path == CHAT else "GET"))
            answer = caller.answer()
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert caller.ask(GOOD).status == 200


@pytest.mark.parametrize("name", ["x-api-key", "x-goog-api-key", "X-API-Key"])
def test_keys_of_other_dialects_are_known(shoal: Installation, name: str) -> None:
    with Caller(shoal.port) as caller:
        assert caller.ask(GOOD, headers={"authorization": "", name: shoal.key}).status == 200


def test_strangers_are_told_nothing_before_their_key(shoal: Installation) -> None:
    with Caller(shoal.port, "sk-other") as caller:
        assert caller.ask(b"{").status == 401
        assert caller.ask({**GOOD, "model": "no-such-model"}).status == 401
        for path in ("/healthz", "/readyz", "/metrics"):
            caller.send(get("", path))
            answer = caller.answer()
            assert answer.status == 200
            assert b"sk-" not in answer.body


# sizes


def padded(size: int) -> bytes:
    """A good body of exactly this size."""
    bare = json.dumps({**GOOD, "x": ""}).encode()
    return json.dumps({**GOOD, "x": "a" * (size - len(bare))}).encode()


def test_the_largest_body_passes(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        assert caller.ask(padded(BODY_BYTES)).status == 200
        assert caller.ask(GOOD).status == 200


def test_a_larger_body_is_refused(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        answer = caller.ask(padded(BODY_BYTES + 1))
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert "2 MiB" in answer.error["message"]
        assert caller.closed()


def test_a_far_larger_body_is_not_even_read(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(request(shoal.key, b"", headers={"content-length": str(10**15)}))
        answer = caller.answer()
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert caller.closed()


def test_a_body_without_a_length_is_bounded_too(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(request(shoal.key, b"", headers={"content-length": "", "transfer-encoding": "chunked"}))
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(BODY_BYTES // 65536 + 2):
            caller.send(piece)
        answer = caller.answer()
        assert (answer.status, answer.error["code"]) == (413, "request_too_large")
        assert caller.closed()


@pytest.mark.parametrize("length", [str(2**63), str(2**64 + 1), "9" * 400])
def test_an_absurd_length_is_refused(shoal: Installation, length: str) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(request(shoal.key, b"", headers={"content-length": length}))
        assert caller.answer().status in (400, 413)
        assert caller.closed()


def test_who_waits_for_the_go_ahead_gets_it_or_an_answer(shoal: Installation) -> None:
    body = json.dumps(GOOD).encode()
    head = {"expect": "100-continue"}
    with Caller(shoal.port, shoal.key) as caller:
        for _ in range(2):
            caller.send(request(shoal.key, b"", headers={**head, "content-length": str(len(body))}))
            assert caller.answer(interim=True).status == 100
            caller.send(body)
            assert caller.answer(interim=True).status == 200
        caller.send(request(shoal.key, b"", headers={**head, "content-length": str(BODY_BYTES + 1)}))
        assert caller.answer(interim=True).status == 413
        assert caller.closed()
    with Caller(shoal.port) as caller:
        caller.send(request("sk-other", b"", headers={**head, "content-length": str(len(body))}))
        assert caller.answer(interim=True).status == 401
        assert caller.closed()


def test_oversized_headers_are_refused(shoal: Installation) -> None:
    for many in ({"x-a": "a" * 70_000}, {f"x-{n}": "a" * 100 for n in range(700)}):
        with Caller(shoal.port, shoal.key) as caller:
            answer = caller.ask(GOOD, headers=many)
            assert (answer.status, answer.error["code"]) == (431, "headers_too_large")
            assert caller.closed()
    with Caller(shoal.port, shoal.key) as caller:
        caller.send(get(shoal.key, "/v1/models?" + "q" * 70_000))
        assert caller.answer().status == 431
        assert caller.closed()


def test_an_endless_header_is_refused_before_it_ends(shoal: Installation) -> None:
    for start in (b"GET / HTTP/1.1\r\nx-a: ", b"GET /"):
        with Caller(shoal.port) as caller:
            caller.send(start)
            for _ in range(500):
                caller.send(b"a" * 1000)
            assert caller.answer().status == 431
            assert caller.closed()


def test_large_headers_that_fit_pass(shoal: Installation) -> None:
    with Caller(shoal.port, shoal.key) as caller:
        for _ in range(2):
            assert caller.ask(GOOD, headers={"x-a": "a" * 60_000}).status == 200
