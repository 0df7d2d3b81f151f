"""Errors of the Messages API: what an upstream's mean, and what a caller reads."""

import json

import pytest

from shoal.core.errors import Fault
from shoal.wire.anthropic.dialect import CALLER, UPSTREAM


def said(type: str, message: str = "words") -> bytes:
    """An error answer of the upstream."""
    return json.dumps({"type": "error", "error": {"type": type, "message": message}, "request_id": "req_up"}).encode()


@pytest.mark.parametrize(
    ("status", "type", "kind", "shown"),
    [
        (400, "invalid_request_error", "upstream_rejected", 400),
        (401, "authentication_error", "upstream_auth", 502),
        (402, "billing_error", "upstream_auth", 502),
        (403, "permission_error", "upstream_auth", 502),
        (404, "not_found_error", "upstream_not_found", 404),
        (409, "conflict_error", "upstream_rejected", 409),
        (413, "request_too_large", "upstream_rejected", 413),
        (429, "rate_limit_error", "upstream_busy", 429),
        (500, "api_error", "upstream_error", 502),
        (504, "timeout_error", "upstream_timeout", 504),
        (529, "overloaded_error", "upstream_error", 502),
        (302, "", "upstream_error", 502),
    ],
)
def test_what_an_upstream_means(status: int, type: str, kind: str, shown: int) -> None:
    fault = UPSTREAM.fault(status, {b"retry-after": b"2"}, said(type))
    assert (fault.kind, fault.status, fault.upstream_status) == (kind, shown, status)
    assert (fault.message == "words") == (kind in ("upstream_rejected", "upstream_not_found"))
    assert fault.retry_after_s == (2 if status in (429, 500, 504, 529) else None)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": 3}', b'{"error": null}', b"[]", b"\xff"])
def test_bodies_that_say_nothing(body: bytes) -> None:
    assert UPSTREAM.fault(400, {}, body).message == "The upstream answered with status 400."


def test_other_words_for_waiting() -> None:
    assert UPSTREAM.fault(429, {b"retry-after-ms": b"1500"}, b"").retry_after_s == 1.5
    assert UPSTREAM.fault(429, {b"retry-after": b"soon"}, b"").retry_after_s is None
    assert UPSTREAM.fault(429, {b"retry-after": b"inf"}, b"").retry_after_s is None
    assert UPSTREAM.fault(400, {}, b'{"error": "plain"}').message == "plain"


@pytest.mark.parametrize(
    ("fault", "type"),
    [
        (Fault("missing_parameter", "m", param="max_tokens"), "invalid_request_error"),
        (Fault("invalid_api_key", "m"), "authentication_error"),
        (Fault("insufficient_quota", "m"), "billing_error"),
        (Fault("model_not_found", "m"), "not_found_error"),
        (Fault("method_not_allowed", "m"), "invalid_request_error"),
        (Fault("request_timeout", "m"), "timeout_error"),
        (Fault("body_too_large", "m"), "request_too_large"),
        (Fault("rate_limited", "m"), "rate_limit_error"),
        (Fault("internal", "m"), "api_error"),
        (Fault("overloaded", "m"), "overloaded_error"),
        (Fault("upstream_cut", "m"), "api_error"),
        (Fault("upstream_timeout", "m"), "timeout_error"),
        (Fault("upstream_error", "m", upstream_status=529), "overloaded_error"),
    ],
)
def test_what_a_caller_reads(fault: Fault, type: str) -> None:
    expected = {"type": "error", "error": {"type": type, "message": "m"}, "request_id": "r", "shoal": {"id": "r"}}
    assert json.loads(CALLER.error(fault, b'{"id":"r"}')) == expected
    event = CALLER.error_event(fault, b'{"id":"r"}')
    assert event.startswith(b"event: error\ndata: ")
    assert event.endswith(b"\n\n")
    assert json.loads(event.removeprefix(b"event: error\ndata: ")) == expected


def test_an_error_without_a_receipt() -> None:
    assert json.loads(CALLER.error(Fault("internal", "m"), b"null"))["request_id"] is None
