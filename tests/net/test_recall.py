"""recall.py: a head that was read once is looked up, and nothing is taken for it that is not its copy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.net.recall import Known, Memory

HEAD = b"POST /v1/x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\nauthorization: Bearer k\r\n\r\n"
KNOWN = Known(b"POST", b"/v1/x", b"", {b"host": b"a"}, b"ticket")


def remembered(data: bytes = HEAD % 2 + b"ab") -> Memory:
    memory = Memory()
    memory.learn(data, KNOWN)
    return memory


@given(st.binary(max_size=300))
def test_the_same_head_is_known_whatever_the_body(body: bytes) -> None:
    assert remembered().recall(HEAD % len(body) + body) == (KNOWN, body)


@given(st.binary(min_size=1, max_size=40))
def test_more_or_less_than_one_request_is_not_recalled(more: bytes) -> None:
    memory = remembered()
    whole = HEAD % 2 + b"ab"
    assert memory.recall(whole + more) is None
    assert memory.recall(whole[: -min(len(more), len(whole))]) is None


@given(st.integers(0, len(HEAD % 2) - 1), st.integers(0, 255))
def test_a_head_that_differs_in_any_byte_is_another(place: int, byte: int) -> None:
    whole = HEAD % 2 + b"ab"
    other = whole[:place] + bytes([byte]) + whole[place + 1 :]
    found = remembered().recall(other)
    assert (found is not None) == (other == whole)


@pytest.mark.parametrize(
    "data",
    [
        b"POST / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: +2\r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 2 \r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 0000000002\r\n\r\nab",
        b"POST / HTTP/1.1\r\nx: content-length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\ncontent-length: 2\r\nx: " + b"y" * Memory.HEAD_BYTES + b"\r\n\r\nab",
    ],
)
def test_other_kinds_of_heads_are_not_remembered(data: bytes) -> None:
    assert remembered(data).recall(data) is None


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    memory = Memory()
    heads = [b"POST /%d HTTP/1.1\r\ncontent-length: 1\r\n\r\na" % number for number in range(Memory.HEADS + 1)]
    for head in heads:
        memory.learn(head, KNOWN)
    assert memory.recall(heads[0]) is None
    assert memory.recall(heads[1]) is not None
    assert memory.recall(heads[-1]) is not None
