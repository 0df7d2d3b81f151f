"""Zero retention: who may ask for it, and that what stays behind holds nothing of the caller's."""

import msgspec
import pytest

from shoal.core.errors import Fault
from shoal.core.ledger import Entry
from shoal.gateway.retention import wish, withhold

SECRET = "my-secret-words"
RECEIPT = {
    "id": "req_1",
    "requested": "gpt-4o",
    "model": "gpt-4o",
    "provider": "openai",
    "attempts": [{"provider": "openai", "model": "gpt-4o", "ms": 1.5}],
    "cost_usd": 0.25,
    "usage": {"input": 3},
    "overhead_ms": 0.1,
    "first_byte_ms": 1.0,
    "duration_ms": 2.0,
    "dropped": [SECRET],
    "warnings": [f"no such thing: {SECRET}"],
    "metadata": {SECRET: SECRET},
}


def entry(requested: str = "gpt-4o", model: str = "gpt-4o", receipt: object = RECEIPT) -> Entry:
    """A ledger's entry."""
    return Entry(
        request_id="req_1",
        at_ms=1,
        key_id="k",
        endpoint="chat",
        requested_model=requested,
        model=model,
        provider="openai",
        deployment="openai/gpt-4o",
        status=200,
        stream=False,
        input_tokens=3,
        cost_nano=250_000_000,
        receipt=msgspec.Raw(msgspec.json.encode(receipt)),
    )


@pytest.mark.parametrize(
    ("header", "setting", "expected"),
    [(None, None, False), (b"none", None, True), (b" None ", None, True), (None, "none", True), (b"none", "none", True)],
)
def test_a_wish_for_zero_retention(header: bytes | None, setting: str | None, expected: bool) -> None:
    assert wish({} if header is None else {b"x-shoal-retention": header}, setting) == expected


@pytest.mark.parametrize("value", [b"", b"all", b"30", b"nothing", b"\xff" * 1000])
@pytest.mark.parametrize("setting", [None, "none"])
def test_unknown_retention_names_the_header(value: bytes, setting: str | None) -> None:
    with pytest.raises(Fault) as found:
        wish({b"x-shoal-retention": value}, setting)
    assert (found.value.kind, found.value.param) == ("invalid_value", "x-shoal-retention")


def test_only_the_bill_stays() -> None:
    bare = withhold(entry())
    assert SECRET.encode() not in msgspec.json.encode(bare)
    receipt = msgspec.json.decode(bare.receipt)
    assert receipt == {name: RECEIPT[name] for name in RECEIPT if name not in ("dropped", "warnings", "metadata")} | {"retention": "none"}
    assert bytes(bare.receipt).index(b'"cost_usd":0.25')
    assert msgspec.structs.replace(bare, receipt=entry().receipt) == entry()


def test_a_name_that_is_no_model_is_the_callers_text() -> None:
    bare = withhold(entry(requested=SECRET, model="", receipt={**RECEIPT, "requested": SECRET, "model": None}))
    assert SECRET.encode() not in msgspec.json.encode(bare)
    assert msgspec.json.decode(bare.receipt)["requested"] is None


def test_without_a_receipt() -> None:
    assert msgspec.json.decode(withhold(entry(receipt=None)).receipt) == {"requested": "gpt-4o", "retention": "none"}
