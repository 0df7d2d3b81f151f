"""Amazon's frames: any cut of the bytes, both checksums, bounded sizes, headers of every type."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.wire.bedrock.frames import Damaged, Frame, Splitter

HEADERS = {":message-type": "event", ":event-type": "contentBlockDelta", ":content-type": "application/json"}
texts = st.text(min_size=1, max_size=40).filter(lambda text: len(text.encode()) < 256)


def pack(payload: bytes, headers: dict[str, str], other: bytes = b"") -> bytes:
    """One frame, as Amazon's documentation draws it; `other` are headers that are already bytes."""
    block = b"".join(
        bytes([len(name.encode())]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    block += other
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return body + struct.pack(">I", zlib.crc32(body))


@given(st.lists(st.tuples(st.dictionaries(texts, texts, max_size=3), st.binary(max_size=60)), max_size=4), st.data())
def test_any_cut_gives_the_same_frames(frames: list[tuple[dict[str, str], bytes]], data: st.DataObject) -> None:
    stream = b"".join(pack(payload, headers) for headers, payload in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter, seen = Splitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        seen += splitter.split(stream[start:end])
    assert seen == [Frame(headers, payload) for headers, payload in frames]
    assert not splitter.pending


@given(st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_is_never_read(place: int, change: int) -> None:
    frame = bytearray(pack(b'{"delta":{"text":"hello"}}', HEADERS))
    frame[place % len(frame)] ^= change
    splitter = Splitter()
    try:
        assert list(splitter.split(bytes(frame))) == []
        assert splitter.pending
    except Damaged:
        pass


def test_headers_that_are_no_strings_are_stepped_over() -> None:
    other = b"".join(
        bytes([1]) + b"x" + kind
        for kind in (
            b"\x00",
            b"\x01",
            b"\x02z",
            b"\x03zz",
            b"\x04zzzz",
            b"\x05zzzzzzzz",
            b"\x06\x00\x03abc",
            b"\x08zzzzzzzz",
            b"\x09" + b"u" * 16,
        )
    )
    (frame,) = Splitter().split(pack(b"{}", HEADERS, other))
    assert frame.headers == HEADERS


@pytest.mark.parametrize("other", [b"\x01x\x07\x00\x09abc", b"\x01x\x0c", b"\x09x", b"\x01x\x05zz", b"\x01\xff\x00"])
def test_broken_headers_are_damage(other: bytes) -> None:
    with pytest.raises(Damaged):
        list(Splitter().split(pack(b"{}", {}, other)))


def test_a_frame_over_the_limit_is_refused_before_it_is_held() -> None:
    prelude = struct.pack(">II", 2**31, 100)
    with pytest.raises(Damaged, match="claims"):
        list(Splitter().split(prelude + struct.pack(">I", zlib.crc32(prelude))))


@pytest.mark.parametrize(("total", "headers"), [(15, 0), (20, 10), (0, 0), (400_000, 300_000)])
def test_lengths_that_contradict_each_other_are_damage(total: int, headers: int) -> None:
    prelude = struct.pack(">II", total, headers)
    with pytest.raises(Damaged):
        list(Splitter().split(prelude + struct.pack(">I", zlib.crc32(prelude))))


def test_frames_before_the_damage_are_given() -> None:
    seen = []
    with pytest.raises(Damaged):
        for frame in Splitter().split(pack(b"1", HEADERS) + b"\x00" * 12):
            seen.append(frame.payload)
    assert seen == [b"1"]
