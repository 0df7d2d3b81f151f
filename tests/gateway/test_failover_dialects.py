"""Upstreams of every dialect that are busy, broken, slow or talk nonsense: what the caller sees, and whom else the gateway asks."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from faulty import (
    CALLERS,
    DIALECTS,
    FIRST,
    SECOND,
    Faulty,
    Heard,
    ask,
    ask_all,
    config,
    cuts,
    finished,
    fresh,
    places,
    says,
    sends,
    stalls,
    stream_head,
    unfinished,
)
from installation import Installation
from polyglot import WHOLE, WORDS, frame
from upstream import Line, Received, Script, event, whole

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
EACH = pytest.mark.parametrize("dialect", DIALECTS)
BROKEN = "upstream_error"
BUSY = "rate_limit_exceeded"
GARBLED = "upstream_bad_answer"


PATIENT = """
[providers.patient]
base_url = "http://127.0.0.1:{port}/anthropic"
dialect = "anthropic"
discover = false
timeouts = {{ idle_s = 60.0 }}
"""


@pytest.fixture(scope="module")
def faulty() -> Iterator[Faulty]:
    server = Faulty()
    yield server
    server.close()


@pytest.fixture(scope="module")
def server(faulty: Faulty, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    server = Installation(tmp_path_factory.mktemp("failover-dialects"), config(faulty.port, PATIENT.format(port=faulty.port))).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()


AMAZONS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
ANTHROPICS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}
GOOGLES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
}
OPENAIS = {400: "invalid_request_error", 401: "invalid_request_error", 429: "requests"}


def error(dialect: str, status: int, headers: str = "", details: Sequence[Any] = ()) -> bytes:
    """An error as each provider words it; `details` are Google's."""
    google = {"code": status, "message": WORDS, "status": GOOGLES.get(status, "UNKNOWN"), "details": list(details)}
    bodies: dict[str, Any] = {
        "openai_chat": {"error": {"message": WORDS, "type": OPENAIS.get(status, "server_error"), "param": None, "code": None}},
        "openai_responses": {"error": {"message": WORDS, "type": OPENAIS.get(status, "server_error"), "param": None, "code": None}},
        "anthropic": {"type": "error", "error": {"type": ANTHROPICS.get(status, "api_error"), "message": WORDS}, "request_id": "req_up"},
        "gemini": {"error": google},
        "bedrock": {"message": WORDS},
        "cohere": {"id": "e", "message": WORDS},
    }
    if dialect == "bedrock":
        headers += f"x-amzn-errortype: {AMAZONS.get(status, 'InternalServerException')}:http://internal.amazon.com/\r\n"
    return whole(bodies[dialect], status, headers)


def wait_header(dialect: str, ms: int) -> tuple[str, list[Any]]:
    """How an upstream asks for a wait: by a header, in milliseconds or seconds, or in Google's body."""
    if dialect == "gemini":
        return "", [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{ms / 1000:g}s"}]
    return (f"retry-after-ms: {ms}\r\n" if ms % 1000 else f"retry-after: {ms // 1000}\r\n"), []


def alone(heard: Heard, status: int, code: str) -> None:
    """An error answer in OpenAI's shape."""
    assert (heard.status, heard.cut, heard.answer.error["code"]) == (status, False, code)
    assert WORDS not in heard.answer.error["message"]
    assert b"sk-upstream" not in heard.answer.body


def spare(faulty: Faulty, dialect: str = "openai_chat") -> str:
    """A model that answers SECOND."""
    return faulty.plays(fresh(dialect), says(dialect, SECOND))


# statuses


@BOTH
@EACH
def test_a_wait_that_is_asked_for_is_waited_for(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    headers, details = wait_header(dialect, 600)
    model = faulty.plays(fresh(dialect), sends(error(dialect, 429, headers, details)), says(dialect, FIRST))
    heard = ask(server, [model], stream=stream)
    assert (heard.text, heard.ended, heard.attempts) == (FIRST.text, True, [BUSY, None])
    first, second = faulty.heard(model)
    assert 0.59 < second.at - first.at < 5
    assert [one.get("status") for one in heard.receipt["attempts"]] == [429, None]


@BOTH
@EACH
def test_nobody_waits_long_where_another_can_be_asked(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    headers, details = wait_header(dialect, 60_000)
    model = faulty.plays(fresh(dialect), sends(error(dialect, 429, headers, details)))
    started = time.monotonic()
    heard = ask(server, [model, spare(faulty, dialect)], stream=stream)
    assert (heard.text, heard.attempts) == (SECOND.text, [BUSY, None])
    assert time.monotonic() - started < 3
    again = ask(server, [model, spare(faulty, dialect)], stream=stream)
    assert again.attempts == [None]  # it is left alone for as long as it has asked to be
    assert len(faulty.heard(model)) == 1


@BOTH
@EACH
def test_a_wait_too_long_is_told_to_the_caller(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    headers, details = wait_header(dialect, 90_000)
    heard = ask(server, [faulty.plays(fresh(dialect), sends(error(dialect, 429, headers, details)))], stream=stream)
    alone(heard, 429, BUSY)
    assert heard.answer.headers["retry-after"] == "90"
    assert heard.attempts == [BUSY]


@BOTH
@EACH
def test_an_upstreams_trouble_is_tried_again_and_then_elsewhere(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    statuses = (500, 503, 529)
    bad = [sends(error(dialect, status)) for status in statuses]
    broken = [(faulty.plays(fresh(dialect), script), spare(faulty)) for script in bad]
    passing = [(faulty.plays(fresh(dialect), script, says(dialect, FIRST)),) for script in bad]
    lonely = [(faulty.plays(fresh(dialect), script),) for script in bad]
    heard = ask_all(server, [*broken, *passing, *lonely], stream=stream)
    for status, first, second, third in zip(statuses, heard[:3], heard[3:6], heard[6:], strict=True):
        assert (first.text, first.attempts) == (SECOND.text, [BROKEN] * 3 + [None])
        assert (second.text, second.attempts) == (FIRST.text, [BROKEN, None])
        alone(third, 502, BROKEN)
        assert [one["status"] for one in third.receipt["attempts"]] == [500 if dialect == "bedrock" and status == 529 else status] * 3
        assert third.receipt["cost_usd"] == 0


@BOTH
@EACH
def test_a_callers_mistake_is_told_and_hurts_nobody(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    model = faulty.plays(fresh(dialect), *[sends(error(dialect, 400))] * 6, says(dialect, FIRST))
    for heard in [ask(server, [model], stream=stream) for _ in range(6)]:
        assert (heard.status, heard.answer.error["message"]) == (400, WORDS)
        assert heard.attempts in ([None], ["upstream_rejected"]), heard.attempts
    after = ask(server, [model, spare(faulty)], stream=stream)
    assert (after.text, after.attempts) == (FIRST.text, [None])


@BOTH
@EACH
def test_a_refused_key_is_no_business_of_the_callers(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    status = 403 if stream else 401
    model = faulty.plays(fresh(dialect), sends(error(dialect, status)))
    alone(ask(server, [model], stream=stream), 502, "upstream_auth")
    heard = ask(server, [faulty.plays(fresh(dialect), sends(error(dialect, status))), spare(faulty)], stream=stream)
    assert (heard.text, heard.attempts) == (SECOND.text, ["upstream_auth", None])
    again = ask(server, [model, spare(faulty)], stream=stream)
    assert (again.text, again.attempts) == (SECOND.text, [None])  # nobody with a refused key is asked first


@BOTH
@EACH
def test_a_redirect_is_not_followed(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    secret = f"location: http://127.0.0.1:{faulty.port}/{dialect}/secret\r\n"
    asked = [(faulty.plays(fresh(dialect), sends(whole(b"", status, secret))), spare(faulty)) for status in (302, 307, 308)]
    for (model, _), heard in zip(asked, ask_all(server, asked, stream=stream), strict=True):
        assert (heard.text, heard.attempts[-2:]) == (SECOND.text, [BROKEN, None])
        assert {one.line.split()[1].endswith(b"secret") for one in faulty.heard(model)} == {False}


# answers that are none


@BOTH
@EACH
def test_what_is_no_answer_is_asked_for_again_elsewhere(server: Installation, faulty: Faulty, dialect: str, stream: bool) -> None:
    kind = "application/json"
    nonsense = [
        whole(b"<html>busy</html>", kind="text/html"),
        whole(b'{"id": "x", "ch', kind=kind),
        whole(b"[1]", kind=kind),
        whole(b"", kind=kind),
        whole(b"\x1f\x8b\x08\x00", headers="content-encoding: gzip\r\n"),
        whole(b"[" * 100_000),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        finished(dialect, b"data: {]\n\n" if dialect != "bedrock" else b"\0" * 16),
    ]
    asked = [(faulty.plays(fresh(dialect), cuts(data)), spare(faulty)) for data in nonsense]
    for data, heard in zip(nonsense, ask_all(server, asked, stream=stream), strict=True):
        assert (heard.text, heard.ended, heard.attempts[-1]) == (SECOND.text, True, None), data[-80:]
        assert set(heard.attempts[:-1]) <= {GARBLED, "upstream_connection_lost"}, (data[-80:], heard.attempts)


@EACH
def test_an_upstream_that_sends_far_too_much_is_left(server: Installation, faulty: Faulty, dialect: str) -> None:
    filler = b"data: " + b"x" * (17 << 20) if dialect != "bedrock" else frame("contentBlockDelta", {"delta": {"text": "x" * (17 << 20)}})
    early = faulty.plays(fresh(dialect), cuts(finished(dialect, filler)))
    body, shown, _ = places(dialect, FIRST)
    late = faulty.plays(fresh(dialect), cuts(finished(dialect, body[:shown] + filler)))
    heads = faulty.plays(fresh(dialect), cuts(b"HTTP/1.1 200 OK\r\nx-a: " + b"a" * 300_000))
    first, second, third = ask_all(server, [(early, spare(faulty)), (late, spare(faulty)), (heads, spare(faulty))], stream=True)
    for heard in (first, third):
        assert (heard.text, set(heard.attempts[:-1])) == (SECOND.text, {GARBLED})
    assert [one["code"] for one in second.errors] == [GARBLED]
    assert FIRST.text.startswith(second.text) and second.text


# errors inside a success


CODES = {400: "invalid_prompt", 429: BUSY, 500: "server_error"}


def within(dialect: str, status: int) -> bytes:
    """An error in a stream."""
    if dialect == "bedrock":
        name = AMAZONS[status][0].lower() + AMAZONS[status][1:]
        return frame(name, {"message": WORDS}, exception=True)
    if dialect == "cohere":
        return event({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": WORDS}})
    return event(
        {
            "openai_chat": {"error": {"message": WORDS, "code": status}},
            "openai_responses": {
                "type": "error",
                "code": {400: "invalid_prompt", 429: BUSY, 500: "server_error"}[status],
                "message": WORDS,
            },
            "anthropic": {"type": "error", "error": {"type": ANTHROPICS[status], "message": WORDS}},
            "gemini": {"error": {"code": status, "message": WORDS, "status": GOOGLES[status]}},
        }[dialect]
    )


@EACH
@pytest.mark.parametrize("status", [429, 500])
def test_an_error_event_is_an_error(server: Installation, faulty: Faulty, dialect: str, status: int) -> None:
    body, shown, _ = places(dialect, FIRST)
    bad = within(dialect, status)
    early = faulty.plays(fresh(dialect), sends(finished(dialect, bad)))
    late = faulty.plays(fresh(dialect), sends(finished(dialect, body[:shown] + bad + body[shown:])))
    first, second = ask_all(server, [(early, spare(faulty)), (late, spare(faulty))], stream=True)
    code = BROKEN if status == 500 or dialect == "cohere" else BUSY
    assert (first.text, set(first.attempts[:-1]), first.errors) == (SECOND.text, {code}, [])
    assert [one["code"] for one in second.errors] == [code]
    assert FIRST.text.startswith(second.text) and second.text  # words in the same bytes as the error are not lost
    assert WORDS not in str(second.errors)


@pytest.mark.parametrize("dialect", [one for one in DIALECTS if one != "bedrock"])
def test_an_error_in_a_success_is_an_error(server: Installation, faulty: Faulty, dialect: str) -> None:
    """Whole answers, for callers of another dialect and of the same one."""
    bodies: dict[str, Any] = {
        "openai_chat": {"error": {"message": WORDS, "code": 500}},
        "openai_responses": WHOLE[dialect](FIRST) | {"status": "failed", "error": {"code": "server_error", "message": WORDS}},
        "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": WORDS}},
        "gemini": {"error": {"code": 503, "message": WORDS, "status": "UNAVAILABLE"}},
        "cohere": WHOLE[dialect](FIRST) | {"finish_reason": "ERROR"},
    }
    for caller in {"openai_chat", dialect} & set(CALLERS):
        model = faulty.plays(fresh(dialect), sends(whole(bodies[dialect])))
        heard = ask(server, [model, spare(faulty)], stream=False, caller=caller)
        assert (heard.text, heard.attempts) == (SECOND.text, [BROKEN] * 3 + [None]), caller


@EACH
def test_garbage_after_a_whole_answer_does_no_harm(server: Installation, faulty: Faulty, dialect: str) -> None:
    body, _, whole_at = places(dialect, FIRST)
    garbage = b"data: {]\n\n" if dialect != "bedrock" else b"\0" * 64
    blank = b"" if dialect == "bedrock" else b"\n\n"
    broken = stream_head(dialect) + b"%x\r\n%b\r\nzz\r\n" % (whole_at, body[:whole_at])  # the framing is garbage, too
    scripts = [sends(finished(dialect, body[:whole_at] + blank + garbage)), sends(finished(dialect, body + garbage)), cuts(broken)]
    for heard in ask_all(server, [(faulty.plays(fresh(dialect), script), spare(faulty)) for script in scripts], stream=True):
        assert (heard.text, heard.ended, heard.errors, heard.attempts) == (FIRST.text, True, [], [None])


@pytest.mark.parametrize("dialect", [one for one in DIALECTS if one != "cohere"])
def test_a_callers_mistake_in_a_stream_is_told(server: Installation, faulty: Faulty, dialect: str) -> None:
    model = faulty.plays(fresh(dialect), sends(finished(dialect, within(dialect, 400))))
    heard = ask(server, [model], stream=True)
    assert (heard.status, heard.answer.error["message"]) == (400, WORDS)
    assert len(faulty.heard(model)) == 1


# times


def slowly(dialect: str, pause_s: float) -> Script:
    """Answers well, after a while."""

    def play(line: Line, request: Received) -> None:
        threading.Event().wait(pause_s)
        says(dialect, FIRST)(line, request)

    return play


@BOTH
def test_silence_is_left_and_slowness_is_waited_for(server: Installation, faulty: Faulty, stream: bool) -> None:
    """Silence before the head, after it, and between words, and a slow first word; of all dialects at once."""
    cases: list[tuple[str, str, tuple[str, ...]]] = []
    for dialect in DIALECTS:
        body, shown, whole_at = places(dialect, FIRST)
        silent = {"before": stalls(b""), "head": stalls(b"HTTP/1.1 200 OK\r\nx-a:"), "after": stalls(stream_head(dialect))}
        if stream:
            silent |= {"words": stalls(unfinished(dialect, body[:shown])), "end": stalls(unfinished(dialect, body[:whole_at]))}
        cases += [(dialect, name, (faulty.plays(fresh(dialect), script), spare(faulty))) for name, script in silent.items()]
        cases.append((dialect, "slow", (faulty.plays(fresh(dialect), slowly(dialect, 0.5)), spare(faulty))))
        cases.append((dialect, "alone", (faulty.plays(fresh(dialect), stalls(b"")),)))
    started = time.monotonic()
    for (dialect, name, _), heard in zip(cases, ask_all(server, [models for _, _, models in cases], stream=stream), strict=True):
        case = (dialect, name)
        match name:
            case "slow":
                assert (heard.text, heard.attempts) == (FIRST.text, [None]), case
                assert heard.receipt["overhead_ms"] < 300
            case "alone":
                alone(heard, 504, "upstream_timeout")
            case "words":
                assert [one["code"] for one in heard.errors] == ["upstream_timeout"], case
                assert heard.text and FIRST.text.startswith(heard.text), case
            case "end":
                assert (heard.text, heard.ended, heard.attempts) == (FIRST.text, True, [None]), case
            case _:
                assert (heard.text, heard.attempts) == (SECOND.text, ["upstream_timeout", None]), case
    assert time.monotonic() - started < 20


def test_an_answer_that_is_whole_does_not_wait_for_the_end_of_its_stream(server: Installation, faulty: Faulty) -> None:
    body, _, whole_at = places("anthropic", FIRST)
    ends = (body[:whole_at] + b"\n\n", body)
    models = [faulty.plays(f"patient/{number}", stalls(unfinished("anthropic", data))) for number, data in enumerate(ends)]
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        cases = [(model, caller) for model in models for caller in ("openai_chat", "anthropic")]
        for heard in pool.map(lambda case: ask(server, [case[0]], stream=True, caller=case[1]), cases):
            assert (heard.text, heard.ended, heard.errors) == (FIRST.text, True, [])
    assert time.monotonic() - started < 20  # and not 60


# callers of other dialects


@BOTH
@pytest.mark.parametrize("dialect", ["anthropic", "gemini", "bedrock"])
@pytest.mark.parametrize("caller", [one for one in CALLERS if one != "openai_chat"])
def test_callers_of_every_dialect_see_their_own_words(
    server: Installation, faulty: Faulty, caller: str, dialect: str, stream: bool
) -> None:
    busy = faulty.plays(fresh(dialect), sends(error(dialect, 429, "retry-after: 90\r\n")))
    broken = faulty.plays(fresh(dialect), sends(error(dialect, 500)))
    wrong = faulty.plays(fresh(dialect), sends(error(dialect, 400)))
    denied = faulty.plays(fresh(dialect), sends(error(dialect, 401)))
    asked = [(busy,), (broken,), (wrong,), (denied,), (broken, spare(faulty))]
    *failed, answered = ask_all(server, asked, stream=stream, caller=caller)
    assert (answered.text, answered.ended) == (SECOND.text, True)
    assert [one.status for one in failed] == [429, 502, 400, 502]
    names = {
        "anthropic": ["rate_limit_error", "api_error", "invalid_request_error", "api_error"],
        "gemini": ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "INVALID_ARGUMENT", "UNAVAILABLE"],
        "openai_responses": ["rate_limit_error", "upstream_error", "invalid_request_error", "upstream_error"],
    }[caller]
    assert [one.errors[0]["status" if caller == "gemini" else "type"] for one in failed] == names
    assert all(len(one.errors) == 1 and one.receipt["attempts"] for one in failed)
