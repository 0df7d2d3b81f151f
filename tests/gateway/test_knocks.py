"""How often strangers may knock, and which keys a request carries. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.gateway.auth import Knocks, presented, well_formed


class Clock:
    """Time as it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def knock(knocks: Knocks, peer: str = "a") -> bool:
    """Whether one more refusal is only that."""
    try:
        knocks.count(peer)
    except Fault as fault:
        assert fault.kind == "rate_limited"
        assert fault.retry_after_s is not None
        assert fault.retry_after_s > 0
        return False
    return True


def test_a_burst_then_a_rate() -> None:
    clock = Clock()
    knocks = Knocks(2.0, clock)
    assert [knock(knocks) for _ in range(8)] == [True] * 6 + [False] * 2
    clock.now += 0.5
    assert [knock(knocks) for _ in range(2)] == [True, False]
    assert knock(knocks, "b")  # another peer has its own
    clock.now += 1000
    assert [knock(knocks) for _ in range(7)] == [True] * 6 + [False]


@given(st.lists(st.tuples(st.floats(0, 2), st.sampled_from("abc")), max_size=200))
def test_no_peer_gets_more_than_its_rate(knocked: list[tuple[float, str]]) -> None:
    clock = Clock()
    knocks = Knocks(1.0, clock)
    passed = dict.fromkeys("abc", 0)
    for pause, peer in knocked:
        clock.now += pause
        passed[peer] += knock(knocks, peer)
    assert all(count <= 3 + clock.now + 1e-6 for count in passed.values())


def test_many_peers_take_a_bounded_room() -> None:
    knocks = Knocks(1.0, Clock())
    for number in range(12_000):
        assert knock(knocks, str(number))
    assert len(knocks._buckets) <= Knocks._PEERS


@pytest.mark.parametrize(
    ("headers", "secret"),
    [
        ({b"authorization": b"Bearer abc"}, b"abc"),
        ({b"authorization": b"bearer  abc "}, b"abc"),
        ({b"authorization": b"Basic abc", b"x-api-key": b"def"}, b""),
        ({b"authorization": b""}, b""),
        ({b"x-api-key": b"def"}, b"def"),
        ({b"x-goog-api-key": b"ghi"}, b"ghi"),
        ({}, None),
    ],
)
def test_the_key_that_is_presented(headers: dict[bytes, bytes], secret: bytes | None) -> None:
    assert presented(headers) == secret


def test_only_our_own_shape_is_asked_about() -> None:
    assert well_formed(b"sk-shoal-" + b"A" * 43)
    for other in (b"", b"sk-shoal-", b"sk-shoal-" + b"A" * 42, b"sk-shoal-" + b"A" * 44, b"sk-other-" + b"A" * 43):
        assert not well_formed(other)
