"""Failures in Google's shape: kinds by status, code and reason, never by words, and back into that shape for callers."""

import json
from typing import Any

import pytest

from shoal.core.errors import Fault
from shoal.wire.gemini.errors import read, read_within, write, write_event


def body(code: int, status: str, *details: dict[str, Any], message: str = "It failed.") -> bytes:
    """An error of Google's."""
    return json.dumps({"error": {"code": code, "message": message, "status": status, "details": list(details)}}, indent=2).encode()


def reason(name: str) -> dict[str, Any]:
    """Why, in a word."""
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": name, "domain": "googleapis.com", "metadata": {"a": "b"}}


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        (400, "INVALID_ARGUMENT", "upstream_rejected"),
        (400, "FAILED_PRECONDITION", "upstream_auth"),
        (400, "OUT_OF_RANGE", "upstream_rejected"),
        (401, "UNAUTHENTICATED", "upstream_auth"),
        (403, "PERMISSION_DENIED", "upstream_auth"),
        (404, "NOT_FOUND", "upstream_not_found"),
        (408, "DEADLINE_EXCEEDED", "upstream_timeout"),
        (413, "INVALID_ARGUMENT", "upstream_rejected"),
        (429, "RESOURCE_EXHAUSTED", "upstream_busy"),
        (499, "CANCELLED", "upstream_error"),
        (500, "INTERNAL", "upstream_error"),
        (503, "UNAVAILABLE", "upstream_error"),
        (504, "DEADLINE_EXCEEDED", "upstream_timeout"),
    ],
)
def test_kinds_whole_and_within_a_stream(code: int, status: str, kind: str) -> None:
    assert read(code, {}, body(code, status)).kind == kind
    assert read_within(body(code, status)).kind == kind
    assert read_within(b"[" + body(code, status) + b"]").kind == kind


def test_a_code_that_is_missing_is_told_by_the_status() -> None:
    assert read_within(b'{"error":{"status":"RESOURCE_EXHAUSTED"}}').kind == "upstream_busy"
    assert read_within(b'{"error":{}}').kind == "upstream_error"


@pytest.mark.parametrize("name", ["API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED", "SERVICE_DISABLED"])
def test_a_bad_key_is_not_the_callers_mistake(name: str) -> None:
    fault = read(400, {}, body(400, "INVALID_ARGUMENT", reason(name), message="API key not valid: AIza-secret"))
    assert fault.kind == "upstream_auth" and fault.status == 502
    assert "secret" not in fault.message


def test_words_decide_nothing() -> None:
    assert read(400, {}, body(400, "INVALID_ARGUMENT", message="API_KEY_INVALID RESOURCE_EXHAUSTED")).kind == "upstream_rejected"


def test_a_callers_mistake_keeps_status_and_words() -> None:
    fault = read(400, {}, body(400, "INVALID_ARGUMENT", message="The input token count exceeds the maximum."))
    assert (fault.status, fault.message) == (400, "The input token count exceeds the maximum.")


@pytest.mark.parametrize(
    ("delay", "headers", "seconds"),
    [
        ("37s", {}, 37.0),
        ("45.837906927s", {b"retry-after": b"1"}, 45.837906927),
        ("0s", {}, 0.0),
        (None, {b"retry-after": b"12"}, 12.0),
        ("soon", {b"retry-after": b"12"}, 12.0),
        (None, {}, None),
        ("infs", {}, None),
        ("1e9s", {}, 86_400.0),
    ],
)
def test_how_long_to_wait(delay: str | None, headers: dict[bytes, bytes], seconds: float | None) -> None:
    quota = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "x"}]}
    info = [] if delay is None else [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    assert read(429, headers, body(429, "RESOURCE_EXHAUSTED", quota, *info)).retry_after_s == seconds


@pytest.mark.parametrize("text", [b"", b"<html>", b"[]", b"null", b'{"error":"x"}', b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_goes_by_its_status(text: bytes) -> None:
    assert read(503, {}, text).kind == "upstream_error"
    assert read(429, {}, text).kind == "upstream_busy"
    assert read_within(text).kind == "upstream_error"


def test_a_fault_for_a_caller() -> None:
    fault = Fault("rate_limited", "Slow down.", param="contents", retry_after_s=2.5)
    found = json.loads(write(fault, b'{"attempts":0}'))
    assert found["shoal"] == {"attempts": 0}
    error = found["error"]
    assert (error["code"], error["message"], error["status"]) == (429, "Slow down.", "RESOURCE_EXHAUSTED")
    assert error["details"][0]["reason"] == "RATE_LIMIT_EXCEEDED"
    assert error["details"][1]["fieldViolations"] == [{"field": "contents", "description": "Slow down."}]
    assert error["details"][2]["retryDelay"] == "2.5s"
    assert read(429, {}, write(fault, b"null")).retry_after_s == 2.5


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_json", "INVALID_ARGUMENT"),
        ("invalid_api_key", "UNAUTHENTICATED"),
        ("model_not_found", "NOT_FOUND"),
        ("body_too_large", "INVALID_ARGUMENT"),
        ("internal", "INTERNAL"),
        ("upstream_error", "UNAVAILABLE"),
        ("upstream_timeout", "DEADLINE_EXCEEDED"),
    ],
)
def test_every_fault_has_a_status_of_googles(kind: str, status: str) -> None:
    assert json.loads(write(Fault(kind, "x"), b"null"))["error"]["status"] == status


def test_an_event_holds_the_same() -> None:
    fault = Fault("upstream_cut", "It broke.")
    assert write_event(fault, b"null") == b"data: " + write(fault, b"null") + b"\r\n\r\n"
