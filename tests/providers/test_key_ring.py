"""Several keys of one provider: used in turn, resting when told to, never the wrong one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.providers.credentials import KeyRing, header_of


def test_keys_take_turns_and_rest() -> None:
    ring = KeyRing(["a", "b", "c", "a"])
    assert len(ring) == 3
    assert [ring.pick(0.0) for _ in range(4)] == ["a", "b", "c", "a"]
    ring.cool("b", 10.0)
    assert [ring.pick(1.0) for _ in range(4)] == ["c", "a", "c", "a"]
    assert ring.awake(1.0) == 2
    assert {ring.pick(10.0) for _ in range(3)} == {"a", "b", "c"}


def test_when_all_rest_the_first_to_wake_is_used() -> None:
    ring = KeyRing(["a", "b"])
    ring.cool("a", 20.0)
    ring.cool("b", 10.0)
    ring.cool("b", 5.0)  # the longer rest stays
    assert (ring.pick(0.0), ring.pick(9.0), ring.awake(9.0)) == ("b", "b", 0)
    ring.cool("stranger", 99.0)
    assert len(ring) == 2


def test_a_ring_without_keys_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="key"):
        KeyRing([])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=40))
def test_a_resting_key_is_used_only_when_all_rest(events: list[tuple[int, int]]) -> None:
    ring, until = KeyRing(["0", "1", "2", "3"]), [0.0] * 4
    for now, (key, rest) in enumerate(events):
        ring.cool(str(key), now + rest)
        until[key] = max(until[key], now + rest)
        picked = int(ring.pick(now))
        assert until[picked] <= now or (all(one > now for one in until) and until[picked] == min(until))


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ("bearer", ("authorization", "Bearer k")),
        ("x-api-key", ("x-api-key", "k")),
        ("x-goog-api-key", ("x-goog-api-key", "k")),
        ("api-key", ("api-key", "k")),
        ("none", None),
        ("aws", None),
        ("google", None),
    ],
)
def test_how_a_key_is_sent(auth: str, header: tuple[str, str] | None) -> None:
    assert header_of(auth, "k") == header  # type: ignore[arg-type]
