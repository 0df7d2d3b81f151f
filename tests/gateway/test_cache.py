"""Kept answers: bounds, time, order, whose they are; what makes two requests the same; what a header may say."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.gateway.cache import NOT_ASKED, OVERHEAD_BYTES, AnswerCache, Hit, Recording, Stored, Wish, cache_key, describe, wish

UP = Deployment("up/m", "m", "up", "m")


def stored(body: bytes = b"{}", stream: bool = False) -> Stored:
    """An answer."""
    return Stored(body, stream, UP)


def key(body: object, key_id: str = "k1", endpoint: str = "chat", dialect: str = "openai_chat", **more: object) -> bytes:
    """A key for a JSON value."""
    return cache_key(key_id, endpoint, dialect, json.dumps(body).encode(), **more)  # type: ignore[arg-type]


def test_what_is_kept_comes_back_with_its_age() -> None:
    cache = AnswerCache()
    assert cache.look_up(b"a", 10.0) is None
    assert cache.put(b"a", stored(b"1"), 60, 10.0)
    assert cache.look_up(b"a", 12.9) == Hit(stored(b"1"), 2)
    assert cache.put(b"a", stored(b"2"), 60, 20.0)
    assert cache.look_up(b"a", 20.0) == Hit(stored(b"2"), 0)


def test_its_time_ends() -> None:
    cache = AnswerCache()
    cache.put(b"a", stored(), 60, 10.0)
    assert cache.look_up(b"a", 69.999) is not None
    assert cache.look_up(b"a", 70.0) is None
    assert (len(cache), cache.size_bytes) == (0, 0)


def test_the_least_recently_used_goes_first() -> None:
    cache = AnswerCache(max_bytes=3 * (OVERHEAD_BYTES + 2))
    for name in (b"a", b"b", b"c"):
        cache.put(name, stored(), 60, 0.0)
    cache.look_up(b"a", 1.0)
    cache.put(b"d", stored(), 60, 1.0)
    assert [cache.look_up(name, 2.0) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_an_answer_too_large_is_not_kept_and_displaces_nothing_else() -> None:
    cache = AnswerCache(max_bytes=10_000, max_entry_bytes=100)
    cache.put(b"a", stored(), 60, 0.0)
    cache.put(b"b", stored(), 60, 0.0)
    assert not cache.put(b"b", stored(b"x" * 101), 60, 0.0)
    assert (cache.look_up(b"a", 1.0) is None, cache.look_up(b"b", 1.0)) == (False, None)
    assert cache.put(b"c", stored(b"x" * 100), 60, 0.0)


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3000), st.integers(1, 5), st.integers(0, 3), st.booleans()), max_size=60
)


@given(STEPS, st.integers(2000, 9000))
def test_the_bound_holds_and_a_model_agrees(steps: list[tuple[str, int, int, int, bool]], max_bytes: int) -> None:
    """Against a plain list in order of use: same answers, same ages, never more bytes than allowed."""
    cache = AnswerCache(max_bytes=max_bytes, max_entry_bytes=2500)
    model: list[tuple[bytes, int, int, int]] = []  # name, size, made at, ends at; the last used at the end
    now = 0
    for letter, size, ttl_s, passed, looking in steps:
        now += passed
        name = letter.encode()
        mine = next((entry for entry in model if entry[0] == name), None)
        if looking:
            hit = cache.look_up(name, now)
            alive = mine is not None and now < mine[3]
            assert (hit is not None) == alive
            if mine is not None:
                model.remove(mine)
                model += [mine] if alive else []
                assert hit is None or (len(hit.stored.body), hit.age_s) == (mine[1], now - mine[2])
        else:
            model = [entry for entry in model if entry[0] != name]
            kept = size <= 2500 and size + OVERHEAD_BYTES <= max_bytes
            assert cache.put(name, stored(b"x" * size), ttl_s, now) == kept
            if kept:
                while sum(entry[1] + OVERHEAD_BYTES for entry in model) + size + OVERHEAD_BYTES > max_bytes:
                    del model[0]
                model.append((name, size, now, now + ttl_s))
        assert cache.size_bytes == sum(entry[1] + OVERHEAD_BYTES for entry in model) <= max_bytes
        assert len(cache) == len(model)


BODIES = st.dictionaries(st.sampled_from(["model", "messages", "seed", "x"]), st.one_of(st.integers(), st.text(max_size=4)), max_size=4)


@given(BODIES, BODIES, st.text(max_size=3), st.text(max_size=3), st.text(max_size=3), st.text(max_size=3))
def test_no_key_of_one_tenant_is_anothers(one: dict[str, object], two: dict[str, object], a: str, b: str, x: str, y: str) -> None:
    same = (one, a, x) == (two, b, y)
    assert (key(one, a, x) == key(two, b, y)) == same


def test_no_boundary_can_be_moved() -> None:
    assert key({}, "ab", "c") != key({}, "a", "bc")
    assert key({"a": "b"}) != key({"a": "", "b": ""})
    assert cache_key("k", "e", "d", b'{"ab":1}') != cache_key("k", "e", "d", b'{"a":"b1"}')


ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}


@pytest.mark.parametrize("name", sorted(NOT_ASKED))
def test_what_does_not_change_the_answer_does_not_count(name: str) -> None:
    assert key({**ASKED, name: "1"}) == key({name: {"x": 2}, **ASKED}) == key(ASKED)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"temperature": 0.6},
        {"messages": [{"role": "user", "content": "hi "}]},
        {"provider": {"only": ["x"]}},
        {"models": ["m", "n"]},
        {"tools": []},
        {"unheard_of": None},
        {"metadata": {"tier": "a"}},
    ],
)
def test_everything_else_counts(change: dict[str, object]) -> None:
    assert key({**ASKED, **change}) != key(ASKED)


def test_metadata_counts_only_where_a_policy_reads_it() -> None:
    told = {**ASKED, "metadata": {"run": "7"}}
    assert key(told, routed_by_metadata=False) == key(ASKED)


def test_the_order_of_members_counts_only_inside() -> None:
    shuffled = b' { "temperature" : 0.5,\n"messages": [ {"role":"user", "content" : "hi"} ], "model":"m"}'
    assert cache_key("k1", "chat", "openai_chat", shuffled) == key(ASKED)
    assert key({"s": {"a": 1, "b": 2}}) != key({"s": {"b": 2, "a": 1}})


def test_numbers_are_compared_as_written() -> None:
    """Two large numbers that are the same as floats are not the same question."""
    one, two = (b'{"seed": 1000000000000000000000000%d}' % last for last in (1, 2))
    assert cache_key("k", "e", "d", one) != cache_key("k", "e", "d", two)


def test_versions_of_a_dialect_and_models_in_paths_count() -> None:
    assert key({}, headers={b"anthropic-beta": b"x"}) != key({})
    assert key({}, headers={b"user-agent": b"x"}) == key({})
    assert key({}, model="gemini-a") != key({}, model="gemini-b")


@pytest.mark.parametrize(
    ("value", "default", "expected"),
    [
        (None, None, None),
        (None, 60, Wish(60)),
        (b"on", None, Wish(300)),
        (b" ON ", 60, Wish(60)),
        (b"off", 60, None),
        (b"1", None, Wish(1)),
        (b"86400", 60, Wish(86400)),
    ],
)
def test_a_wish(value: bytes | None, default: int | None, expected: Wish | None) -> None:
    assert wish({} if value is None else {b"x-shoal-cache": value}, default) == expected


@pytest.mark.parametrize("value", [b"", b"yes", b"0", b"-5", b"86401", b"1.5", "５".encode(), b"9" * 5000, b"\xff"])
def test_nonsense_names_the_header(value: bytes) -> None:
    with pytest.raises(Fault) as found:
        wish({b"x-shoal-cache": value})
    assert (found.value.kind, found.value.param) == ("invalid_value", "x-shoal-cache")
    assert len(found.value.message) < 250


def test_headers_of_an_answer() -> None:
    assert describe(None) == b"x-shoal-cache: MISS\r\n"
    assert describe(Hit(stored(), 7)) == b"x-shoal-cache: HIT\r\nage: 7\r\n"


@given(st.lists(st.binary(max_size=8)), st.integers(0, 20))
def test_a_recording_is_whole_or_nothing(pieces: list[bytes], limit: int) -> None:
    recording = Recording(limit)
    feed: Callable[[bytes], None] = recording.feed
    for piece in pieces:
        feed(piece)
    whole = b"".join(pieces)
    assert recording.body() == (whole if len(whole) <= limit else None)
