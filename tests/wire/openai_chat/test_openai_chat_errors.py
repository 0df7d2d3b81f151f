"""Errors that hide in a 200, that come in shapes of their own, or whose code says more than their status."""

import json
from typing import Any

import pytest

from shoal.core.errors import Fault
from shoal.wire.openai_chat.errors import read, read_within, write, write_event


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m"}, "m"),
        ({"code": "some code", "error": "m"}, "m"),
        ({"object": "error", "message": "m", "type": "invalid_request_error"}, "m"),
        ({"message": {"detail": [{"loc": ["a"]}]}}, '{"detail":[{"loc":["a"]}]}'),
        ({"detail": "m"}, "m"),
        ([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}}], "m"),
        ({"error": {"message": "m", "param": 5, "code": 1.5, "type": []}}, "m"),
        ({"nothing": "m"}, "The upstream answered with status 422."),
        ("m", "The upstream answered with status 422."),
    ],
)
def test_a_message_is_found_wherever_it_is(body: Any, message: str) -> None:
    fault = read(422, {}, json.dumps(body).encode())
    assert (fault.kind, fault.status, fault.message) == ("upstream_rejected", 422, message)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "context_length_exceeded", "context_length"),
        (400, "3051", "context_length"),
        (400, 3051, "context_length"),
        (400, "1261", "context_length"),
        (400, "invalid_api_key", "upstream_auth"),
        (400, "API_KEY_INVALID", "upstream_auth"),
        (402, None, "upstream_auth"),
        (504, None, "upstream_timeout"),
    ],
)
def test_a_code_says_more_than_a_status(status: int, code: str | int | None, kind: str) -> None:
    fault = read(status, {}, json.dumps({"error": {"message": "m", "code": code}}).encode())
    assert (fault.kind, fault.upstream_status) == (kind, status)


def test_a_half_hidden_key_is_hidden_whole() -> None:
    fault = read(400, {}, b'{"code":"x","error":"Incorrect API key provided: sk***Yz. Get one."}')
    assert fault.message == "Incorrect API key provided: *** Get one."


def test_what_the_provider_behind_a_provider_said_is_passed_on() -> None:
    behind = {"provider_name": "Other", "is_byok": False, "raw": '{"error":{"message":"no effort, sk-or-****ab"}}'}
    told = {"error": {"code": 400, "message": "Provider returned error", "metadata": behind}}
    fault = read(400, {}, json.dumps(told).encode())
    assert fault.error()["metadata"] == behind | {"raw": '{"error":{"message":"no effort, ***"}}'}
    assert fault.error()["code"] == "400"


def test_what_a_model_made_instead_of_a_call_is_passed_on() -> None:
    said = {"message": "m", "type": "invalid_request_error", "code": "tool_use_failed", "failed_generation": "{"}
    assert read(400, {}, json.dumps({"error": said}).encode()).error() == {**said, "param": None}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 400, "message": "m"}, "upstream_rejected"),
        ({"code": "502"}, "upstream_error"),
        ({"code": 429}, "upstream_busy"),
        ({"code": "rate_limit_exceeded"}, "upstream_busy"),
        ({"type": "rate_limit_error"}, "upstream_busy"),
        ({"type": "invalid_request_error", "code": "tool_use_failed"}, "upstream_rejected"),
        ({"type": "invalid_request_error", "code": "context_length_exceeded"}, "context_length"),
        ({"type": "authentication_error"}, "upstream_auth"),
        ({"type": "overloaded_error"}, "upstream_error"),
        ({"code": 401}, "upstream_auth"),
        ({"code": 12}, "upstream_error"),
        ({"message": "rate limit"}, "upstream_error"),
    ],
)
def test_inside_a_200_the_code_or_the_type_is_the_status(error: dict[str, Any], kind: str) -> None:
    assert read_within(json.dumps({"error": error}).encode()).kind == kind


def test_a_caller_reads_openais_shape_and_the_receipt() -> None:
    fault = Fault("invalid_value", "no", param="n")
    body = write(fault, b'{"id":"r"}')
    assert json.loads(body) == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "n", "code": "invalid_value"},
        "shoal": {"id": "r"},
    }
    assert write_event(fault, b"null") == b"data: " + write(fault, b"null") + b"\n\n"
