"""The one table of faults: complete, consistent, and in OpenAI's shape."""

import json

import pytest

from shoal.core.errors import KINDS, Fault


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_makes_an_openai_error(kind: str) -> None:
    fault = Fault(kind, 'say "what" to do', param="messages")
    error = json.loads(fault.body())["error"]
    assert error == {"message": 'say "what" to do', "type": fault.row.type, "param": "messages", "code": fault.row.code}
    assert 400 <= fault.status < 600
    assert str(fault) == fault.message


def test_the_table_is_consistent() -> None:
    for kind, row in KINDS.items():
        assert row.try_another or not row.retry_same, f"{kind}: what may be retried may be tried elsewhere"
        assert row.try_another or not row.hurts_health, f"{kind}: a sick deployment is a reason to try another"
        assert (row.type == "invalid_request_error") <= (row.status < 500), kind
        if row.status < 500 and row.status != 429 and not kind.startswith("upstream_"):
            assert not row.try_another, f"{kind}: the caller's own mistake is the same everywhere"


def test_a_rejected_request_keeps_the_upstreams_status() -> None:
    assert Fault("upstream_rejected", "x", upstream_status=422).status == 422
    assert Fault("upstream_rejected", "x").status == 400
    assert Fault("upstream_auth", "x", upstream_status=401).status == 502


def test_an_unknown_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Fault("no_such_kind", "x")
