"""Quirks change what they name, tell what they drop, and leave everything else byte for byte."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.providers.quirks import apply_quirks
from shoal.providers.row import Quirks

NAMES = ["a", "b", "c", "seed", "stream_options"]
OBJECTS = st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers() | st.text() | st.lists(st.integers()), max_size=5)


@pytest.mark.parametrize(
    ("quirks", "body", "after", "dropped"),
    [
        (Quirks(), b'{"a":1}', b'{"a":1}', ()),
        (Quirks(drop=("user",)), b'{ "a" : 1.0 }', b'{ "a" : 1.0 }', ()),
        (Quirks(drop=("user",)), b'{"a":1.50,"user":"x"}', b'{"a":1.50}', ("user",)),
        (Quirks(drop=("user",)), b'{"a":{"user":1}}', b'{"a":{"user":1}}', ()),
        (Quirks(rename={"seed": "random_seed"}), b'{"seed":1,"a":2}', b'{"random_seed":1,"a":2}', ()),
        (Quirks(rename={"seed": "random_seed"}), b'{"random_seed":3,"seed":1}', b'{"random_seed":1}', ()),
        (Quirks(default={"b": [1]}), b'{"a":1}', b'{"a":1,"b":[1]}', ()),
        (Quirks(default={"b": 1}), b"{ }", b'{ "b":1}', ()),
        (Quirks(default={"b": 1}), b'{"b":null}', b'{"b":null}', ()),
        (Quirks(default={"b": 1, "c": 2}), b'{"b":0}', b'{"b":0,"c":2}', ()),
        (Quirks(drop=("messages[].name",)), b'{"messages":[{"name":"x","a":1.50}]}', b'{"messages":[{"a":1.50}]}', ("messages[].name",)),
        (Quirks(drop=("messages[].name",)), b'{"messages":[{"a":{"name":1}}], "name":2}', b'{"messages":[{"a":{"name":1}}], "name":2}', ()),
        (Quirks(drop=("messages[].name",)), b'{"messages":{"name":1}}', b'{"messages":{"name":1}}', ()),
        (Quirks(drop=("stream_options",)), b'{"stream_options":{},"a":1}', b'{"a":1}', ()),  # the gateway's own
    ],
)
def test_cases(quirks: Quirks, body: bytes, after: bytes, dropped: tuple[str, ...]) -> None:
    assert apply_quirks(body, quirks) == (after, dropped)


def test_nothing_to_do_gives_the_body_itself() -> None:
    body = b'{"messages":[{"role":"user","content":"the seed"}]}'
    assert apply_quirks(body, Quirks(drop=("seed",), rename={"user": "x"}))[0] is body
    assert apply_quirks(body, Quirks(drop=("role",)))[0] is body  # it occurs, but not as a member of the request


@given(OBJECTS)
def test_what_is_not_named_stays(members: dict[str, Any]) -> None:
    body, dropped = apply_quirks(json.dumps(members).encode(), Quirks(drop=("a",), rename={"seed": "random_seed"}, default={"b": 0}))
    after = json.loads(body)
    assert dropped == (("a",) if "a" in members else ())
    assert after == {"b": 0} | {("random_seed" if name == "seed" else name): value for name, value in members.items() if name != "a"}
