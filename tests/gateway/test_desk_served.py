"""The way to the desk: what a caller sees of it is one server, whatever the size, the method or the pace."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from caller import Answer, Caller, get, request

ORGANISATIONS = "/admin/v1/organisations"
DOCUMENT = "/admin/v1/openapi.json"


def ask(caller: Caller, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """One request."""
    caller.send(request(caller.key, body, path, headers, method))
    return caller.answer()


def test_many_requests_go_over_one_connection_long_and_short(desk: Any) -> None:
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        caller.send(get(caller.key, ORGANISATIONS) + get(caller.key, DOCUMENT) + get(desk.shoal.key, "/v1/models") + get("", ORGANISATIONS))
        first, second, third, fourth = (caller.answer() for _ in range(4))
    assert first.json["data"][0]["id"] == "org_operator"
    assert "content-length" in first.headers
    assert second.headers["transfer-encoding"] == "chunked"  # a document of this size passes in pieces
    assert second.json["openapi"].startswith("3.")
    assert (third.status, fourth.status) == (200, 401)
    assert fourth.headers["www-authenticate"] == 'Bearer realm="shoal"'


def test_nothing_of_the_desks_own_connection_comes_through(desk: Any) -> None:
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        answer = ask(caller, "GET", ORGANISATIONS)
        assert ask(caller, "GET", ORGANISATIONS).status == 200  # the connection stays, though the desk's did not
    assert "connection" not in answer.headers
    assert "server" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_slow_reader_gets_all_of_a_long_answer(desk: Any) -> None:
    with Caller(desk.shoal.port, desk.operator.key, receive_buffer=2048) as caller:
        answers = [caller.send(get(caller.key, DOCUMENT)) or caller.answer() for _ in range(3)]
    assert len({answer.body for answer in answers}) == 1
    assert json.loads(answers[0].body)["paths"]
    assert not any(answer.cut for answer in answers)


def test_the_head_alone_is_as_a_whole_answers(desk: Any) -> None:
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        whole = ask(caller, "GET", ORGANISATIONS)
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        caller.send(request(caller.key, b"", ORGANISATIONS, {"content-type": "", "content-length": "", "connection": "close"}, "HEAD"))
        head = b""
        while data := caller.socket.recv(65536):
            head += data
    assert head.startswith(b"HTTP/1.1 200")
    assert head.endswith(b"\r\n\r\n")
    assert f"content-length: {whole.headers['content-length']}".encode() in head


def test_a_long_body_is_refused_before_it_is_read(desk: Any) -> None:
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        head = {"content-length": str(1024 * 1024 + 1), "expect": "100-continue"}
        caller.send(request(caller.key, b"", ORGANISATIONS, head))
        assert caller.answer(interim=True).status == 413
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        caller.send(request(caller.key, b"", ORGANISATIONS, {"content-length": "", "transfer-encoding": "chunked"}))
        caller.send(b"100001\r\n" + b"x" * 0x100001 + b"\r\n0\r\n\r\n")
        assert caller.answer().status == 413


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_not_possible(desk: Any, method: str) -> None:
    with Caller(desk.shoal.port, desk.operator.key) as caller:
        answer = ask(caller, method, ORGANISATIONS)
    assert answer.status in (400, 405)  # of what HTTP's parser does not know it says no more
    assert set(answer.error) == {"message", "type", "param", "code"}


def test_who_hangs_up_leaves_nothing_behind(desk: Any) -> None:
    for _ in range(20):
        caller = Caller(desk.shoal.port, desk.operator.key)
        caller.send(get(caller.key, DOCUMENT))
        caller.socket.close()
    assert desk.operator.ask("GET", "/organisations").status_code == 200
    assert "failed for a reason of our own" not in desk.shoal.log()
