"""The terms of keys: bounds, patterns, and what is worked out of them once."""

import msgspec
import pytest

from shoal.core.identity import KeyRecord, Markup, principal_of
from shoal.core.terms import MOST_NANO, Terms, burst_requests, burst_tokens, covers


@pytest.mark.parametrize(
    "given",
    [
        '{"daily_nano": -1}',
        f'{{"total_nano": {MOST_NANO + 1}}}',
        '{"monthly_nano": 1e30}',
        '{"daily_nano": NaN}',
        '{"rpm": 0}',
        '{"tpm": 1.5}',
        '{"parallel": "many"}',
        '{"models": [""]}',
        '{"ips": ["10.0.0.0/99"]}',
        '{"ips": ["example.test"]}',
        '{"tags": [""]}',
        f'{{"metadata": {{"a": "{"x" * 513}"}}}}',
        '{"admin": true}',
        '{"prepaid": false}',
        "[]",
    ],
)
def test_terms_that_make_no_sense_are_refused(given: str) -> None:
    with pytest.raises((msgspec.ValidationError, msgspec.DecodeError)):
        msgspec.json.decode(given, type=Terms)


def test_no_list_is_longer_than_its_bound() -> None:
    for name, most in (("models", 256), ("ips", 256), ("tags", 64)):
        fits = msgspec.json.encode({name: ["10.0.0.1"] * most})
        assert len(getattr(msgspec.json.decode(fits, type=Terms), name)) == most
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode({name: ["10.0.0.1"] * (most + 1)}), type=Terms)


def test_terms_without_limits_are_an_empty_object() -> None:
    assert msgspec.json.encode(Terms()) == b"{}"
    assert msgspec.json.decode(b"{}", type=Terms) == Terms()
    kept = Terms(models=("up/*",), weekly_nano=5, tags=("a",), metadata={"team": "blue"})
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Terms) == kept


def test_patterns_are_whole_names_or_beginnings() -> None:
    assert covers(None, "anything")
    assert not covers((), "anything")
    assert covers(("openai/*", "minnow"), "openai/gpt-5")
    assert covers(("openai/*", "minnow"), "minnow")
    assert not covers(("openai/*", "minnow"), "minnow-embed")
    assert not covers(("open*ai",), "openai")


def test_budgets_are_those_that_are_limited() -> None:
    assert Terms().budgets == {}
    assert Terms(daily_nano=0, total_nano=7).budgets == {"daily": 0, "total": 7}


def test_bursts_follow_the_rates_unless_they_are_set() -> None:
    assert burst_requests(Terms(rpm=600)) == 20
    assert burst_requests(Terms(rpm=6)) == 5
    assert burst_requests(Terms(rpm=600, burst=1)) == 1
    assert burst_tokens(Terms(tpm=1_000)) == 1_000
    assert burst_tokens(Terms(tpm=60_000)) == 5_000
    assert burst_tokens(Terms(tpm=600_000)) == 20_000


@pytest.mark.parametrize(
    ("more", "counted", "limited", "scoped"),
    [
        ({}, False, False, False),
        ({"markup": Markup(100_000)}, False, False, False),
        ({"prepaid": True}, True, True, False),
        ({"terms": Terms(daily_nano=0)}, True, True, False),
        ({"terms": Terms(rpm=1)}, False, True, False),
        ({"terms": Terms(parallel=1)}, False, True, False),
        ({"terms": Terms(models=())}, False, False, True),
        ({"terms": Terms(routes=("fast",))}, False, False, True),
    ],
)
def test_a_principal_knows_what_must_be_looked_at(more: dict[str, object], counted: bool, limited: bool, scoped: bool) -> None:
    principal = principal_of(msgspec.structs.replace(KeyRecord("key_1", "name", b"", 1), **more))
    assert (principal.counted, principal.limited, principal.scoped) == (counted, limited, scoped)
