"""Everything that can go wrong with a request, in one table.

A kind decides the HTTP status, OpenAI's `type` and `code`, whether the same or another deployment may be tried, and whether the
failure counts against a deployment's health. Kinds are derived from statuses and codes, never from the words of a message.
"""

from typing import NamedTuple

import msgspec


class Row(NamedTuple):
    """What a kind of fault means to the caller, to routing and to health."""

    status: int
    type: str
    code: str | None
    retry_same: bool = False
    try_another: bool = False
    hurts_health: bool = False


_BAD = "invalid_request_error"

KINDS: dict[str, Row] = {
    # the caller's own
    "invalid_request": Row(400, _BAD, None),
    "invalid_json": Row(400, _BAD, "invalid_json"),
    "invalid_type": Row(400, _BAD, "invalid_type"),
    "invalid_value": Row(400, _BAD, "invalid_value"),
    "missing_parameter": Row(400, _BAD, "missing_required_parameter"),
    "unsupported_parameter": Row(400, _BAD, "unsupported_parameter"),
    "provider_not_configured": Row(400, _BAD, "provider_not_configured"),
    "previous_response_not_found": Row(400, _BAD, "previous_response_not_found"),
    "context_length": Row(400, _BAD, "context_length_exceeded"),
    "bad_http": Row(400, _BAD, "bad_http"),
    "invalid_api_key": Row(401, _BAD, "invalid_api_key"),
    "insufficient_quota": Row(402, "insufficient_quota", "insufficient_quota"),
    "forbidden": Row(403, _BAD, "permission_denied"),
    "model_not_found": Row(404, _BAD, "model_not_found"),
    "unknown_url": Row(404, _BAD, "unknown_url"),
    "not_found": Row(404, _BAD, "not_found"),
    "method_not_allowed": Row(405, _BAD, "method_not_allowed"),
    "request_timeout": Row(408, _BAD, "request_timeout"),
    "conflict": Row(409, _BAD, "conflict"),  # with what is there: a taken name, a version that is no more
    "precondition_failed": Row(412, _BAD, "precondition_failed"),
    "body_too_large": Row(413, _BAD, "request_too_large"),
    "unsupported_media_type": Row(415, _BAD, "unsupported_media_type"),
    "rate_limited": Row(429, "rate_limit_error", "rate_limit_exceeded"),
    "headers_too_large": Row(431, _BAD, "headers_too_large"),
    "superseded": Row(499, _BAD, "superseded"),  # a try that another one overtook
    "client_gone": Row(499, _BAD, "client_closed_request"),
    # ours
    "internal": Row(500, "server_error", "internal_error"),
    "overloaded": Row(503, "server_error", "overloaded"),
    "draining": Row(503, "server_error", "draining"),
    "not_ready": Row(503, "server_error", "model_loading", try_another=True),
    # an upstream's
    "upstream_rejected": Row(400, _BAD, None),  # the status and the body are the upstream's own
    "upstream_auth": Row(502, "upstream_error", "upstream_auth", try_another=True, hurts_health=True),
    "upstream_not_found": Row(404, _BAD, "model_not_found", try_another=True, hurts_health=True),
    "upstream_busy": Row(429, "rate_limit_error", "rate_limit_exceeded", True, True, True),
    "upstream_error": Row(502, "upstream_error", "upstream_error", True, True, True),
    "upstream_unreachable": Row(502, "upstream_error", "upstream_unreachable", True, True, True),
    "upstream_timeout": Row(504, "upstream_error", "upstream_timeout", False, True, True),
    "upstream_garbled": Row(502, "upstream_error", "upstream_bad_answer", True, True, True),
    "upstream_cut": Row(502, "upstream_error", "upstream_connection_lost", True, True, True),
}


class Fault(Exception):
    """One failure: a kind from KINDS, what was wrong and what to do next (`message`), and the offending parameter if there is one."""

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        upstream_status: int | None = None,
        upstream_body: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.row = KINDS[kind]
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.upstream_status = upstream_status
        self.upstream_body = upstream_body

    @property
    def status(self) -> int:
        """The HTTP status the caller sees; a rejected request keeps the upstream's own."""
        if self.kind == "upstream_rejected" and self.upstream_status is not None:
            return self.upstream_status
        return self.row.status

    def error(self) -> dict[str, str | None]:
        """The value of OpenAI's `error` member: message, type, param, code."""
        return {"message": self.message, "type": self.row.type, "param": self.param, "code": self.row.code}

    def body(self) -> bytes:
        """OpenAI's error object as JSON: `{"error": {...}}`."""
        return msgspec.json.encode({"error": self.error()})
