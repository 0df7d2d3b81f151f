"""The splitter, cut anywhere: events come out whole, with their own bytes, however the stream arrives and whatever ends its lines."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.wire.sse import Overlong, Splitter, data_of

ENDS = (b"\n", b"\r\n", b"\r")
LINES = st.sampled_from([b"data: {}", b"data:x", b"data", b": comment", b"event: ping", b"id: 7", b"data: a\tb", "data: ü€".encode()])
PLAIN = st.lists(st.sampled_from([b"data: 1", b": keep-alive", b"event: x", b"\n", b"\r\n", b"\r", b"x"]), max_size=30).map(b"".join)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Events, each with its ends, and what is left over without one."""
    events = []
    for _ in range(draw(st.integers(0, 6))):
        lines = draw(st.lists(LINES, min_size=1, max_size=3))
        ends = [draw(st.sampled_from(ENDS)) for _ in lines]
        last = draw(st.sampled_from(ENDS))
        if ends[-1] == b"\r" and last == b"\n":
            last = b"\r\n"  # CR LF would be one line end, not two
        events.append(b"".join(line + end for line, end in zip(lines, ends, strict=True)) + last)
    return events, draw(st.sampled_from([b"", b"data: unfinished"]))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(streams(), st.lists(st.integers(0, 10_000), max_size=40))
def test_any_cut_gives_the_same_events(stream: tuple[list[bytes], bytes], places: list[int]) -> None:
    events, rest = stream
    data = b"".join(events) + (rest or b"data: next")
    splitter = Splitter()
    found = [event for piece in cut(data, places) for event in splitter.split(piece)]
    assert found == events
    assert splitter.rest == (rest or b"data: next")


@given(PLAIN, st.lists(st.integers(0, 1000), max_size=60))
def test_nothing_is_lost_and_cuts_do_not_matter(data: bytes, places: list[int]) -> None:
    at_once, piecewise = Splitter(), Splitter()
    expected = at_once.split(data)
    found = [event for piece in cut(data, places) for event in piecewise.split(piece)]
    assert found == expected
    assert b"".join(found) + piecewise.rest == data
    assert all(re.search(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)\Z", event) for event in found)


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("second", ENDS)
def test_every_mix_of_line_ends_ends_an_event(first: bytes, second: bytes) -> None:
    splitter = Splitter()
    events = splitter.split(b"data: 1" + first + second + b"data: 2")
    if (first, second) == (b"\r", b"\n"):
        assert events == []  # that is one CRLF
    else:
        assert events == [b"data: 1" + first + second]


@pytest.mark.parametrize("data", [b"data: 1\r\n\r", b"data: 1\r\r", b"data: 1\n\r"])
def test_a_last_cr_waits_for_its_lf(data: bytes) -> None:
    splitter = Splitter()
    assert splitter.split(data) == []
    assert splitter.split(b"\ndata: 2\n\n") == [data + b"\n", b"data: 2\n\n"]


def test_a_whole_piece_may_be_taken_as_it_is() -> None:
    splitter = Splitter()
    assert splitter.whole(b"data: 1\n\n")
    assert not splitter.whole(b"data: 1\n")
    splitter.split(b"data: 1\n")
    assert not splitter.whole(b"\n\n")


def test_an_endless_event_is_refused() -> None:
    splitter = Splitter(limit=100)
    splitter.split(b"x" * 100)
    with pytest.raises(Overlong, match="100 bytes"):
        splitter.split(b"x")


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: {}\n\n", b"{}"),
        (b"data:{}\r\n\r\n", b"{}"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"event: x\rdata:  y\r\r", b" y"),
        (b": comment\n\n", None),
        (b"event: ping\n\n", None),
        (b"data\n\n", b""),
        (b"data: \n\n", b""),
        (b"database: 1\n\n", None),
    ],
)
def test_data_of_an_event(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data
