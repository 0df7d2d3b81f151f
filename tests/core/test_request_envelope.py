"""The envelope: what the gateway must know is checked and named when it is wrong; everything else keeps its bytes."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.chat import ChatFields, CompletionFields, EmbeddingFields, read_request, splice
from shoal.core.errors import Fault

CHAT = msgspec.json.Decoder(ChatFields)
GOOD = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def refuse(body: bytes, decoder: Any = CHAT) -> Fault:
    """The fault that a body earns."""
    with pytest.raises(Fault) as found:
        read_request(body, decoder)
    assert found.value.status == 400
    assert json.loads(found.value.body())["error"]["message"]
    return found.value


@pytest.mark.parametrize(
    ("wrong", "param", "code"),
    [
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": {}}, "messages", "invalid_type"),
        ({"model": 7}, "model", "invalid_type"),
        ({"model": ""}, "model", "invalid_value"),
        ({"model": None}, "model", "invalid_type"),
        ({"model": "m" * 513}, "model", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": [1]}, "temperature", "invalid_type"),
        ({"max_tokens": -1}, "max_tokens", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"max_tokens": "9"}, "max_tokens", "invalid_type"),
        ({"max_completion_tokens": -5}, "max_completion_tokens", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream": 1}, "stream", "invalid_type"),
        ({"stream_options": []}, "stream_options", "invalid_type"),
        ({"stream_options": {"include_usage": "yes"}}, "stream_options.include_usage", "invalid_type"),
        ({"tools": "none"}, "tools", "invalid_type"),
        ({"metadata": {"a": 1}}, "metadata", "invalid_type"),
        ({"user": 7}, "user", "invalid_type"),
        ({"seed": "x"}, "seed", "invalid_type"),
        ({"top_logprobs": -1}, "top_logprobs", "invalid_value"),
    ],
)
def test_a_wrong_field_is_named(wrong: dict[str, Any], param: str, code: str) -> None:
    fault = refuse(json.dumps({**GOOD, **wrong}).encode())
    assert (fault.param, fault.row.code) == (param, code)
    assert param in fault.message


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_field_is_named(name: str) -> None:
    fault = refuse(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())
    assert (fault.param, fault.row.code) == (name, "missing_required_parameter")


def test_the_other_endpoints_name_theirs() -> None:
    assert refuse(b'{"model":"m"}', msgspec.json.Decoder(CompletionFields)).param == "prompt"
    assert refuse(b'{"model":"m","prompt":7}', msgspec.json.Decoder(CompletionFields)).param == "prompt"
    assert refuse(b'{"model":"m"}', msgspec.json.Decoder(EmbeddingFields)).param == "input"
    assert refuse(b'{"model":"m","input":[]}', msgspec.json.Decoder(EmbeddingFields)).param == "input"
    assert refuse(b'{"model":"m","input":"x","dimensions":0}', msgspec.json.Decoder(EmbeddingFields)).param == "dimensions"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"model":"m","messages":[{]}',
        b'{"model":"m","messages":[1]} trailing',
        b'{"model":"m","messages":[1]}\x00',
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{}",
        b"{'model':'m'}",
        b'{"model":"m","messages":[NaN]}',
        b'{"model":"m","messages":[1],"temperature":Infinity}',
        b'{"model":"\x00","messages":[1]}',
        b'{"model":"m","messages":["\xed\xa0\x80"]}',
        b'{"model":"m","messages":["\xc3\x28"],"x":"\xff"}',
        b'{"model":"\\ud800","messages":[1]}',
        b'{"model":"m","messages":[1],"user":"\\udfff"}',
        b'{"model":"m","messages":[1],"temperature":1e999}',
        b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"m","messages":[1],"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 1_000_000,
    ],
)
def test_what_is_not_a_usable_json_object_is_refused(body: bytes) -> None:
    fault = refuse(body)
    assert fault.kind in ("invalid_json", "invalid_type", "invalid_value")
    assert len(fault.message) < 1000


def test_big_numbers_are_not_our_business() -> None:
    request = read_request(b'{"model":"m","messages":[123456789012345678901234567890],"x":1e400}', CHAT)
    assert request.model == "m"


def test_ten_thousand_messages_are_read() -> None:
    body = json.dumps({**GOOD, "messages": GOOD["messages"] * 10_000}).encode()
    assert len(read_request(body, CHAT).fields.messages) == 10_000  # type: ignore[union-attr]


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=6), st.sampled_from([None, 1]))
def test_splice_changes_what_it_is_told_and_nothing_else(more: dict[str, Any], indent: int | None) -> None:
    value = {**more, **GOOD}
    body = json.dumps(value, indent=indent).encode()
    changed = splice(body, {"model": b'"other"', "new": b"[1.50]"}, ("messages",))
    expected = {**value, "model": "other", "new": [1.5]}
    del expected["messages"]
    assert json.loads(changed) == expected
    assert list(json.loads(changed)) == list(expected)


@given(st.sampled_from([b"1.0", b"1e5", b"-0.0", b'"\\u00e9"', b'"\\/"', b"[ 1 ,2]", b'{ "a" : 1 }', b"123456789012345678901234567890"]))
def test_splice_keeps_each_members_own_bytes(raw: bytes) -> None:
    assert raw in splice(b'{"model":"m","x":%b}' % raw, {"model": b'"other"'})


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from([b"{", b"}", b'"model"', b":", b'"m"', b",", b'"messages"', b"[1]"])).map(b"".join)
)
def test_any_bytes_give_a_request_or_a_fault(body: bytes) -> None:
    try:
        assert read_request(body, CHAT).model
    except Fault as fault:
        assert fault.status == 400
