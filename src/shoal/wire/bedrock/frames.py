"""Amazon's binary event stream (application/vnd.amazon.eventstream), cut out of bytes that may be cut anywhere.

A frame is: its length and its headers' length (4 bytes each), their CRC32, the headers, the payload, and the CRC32 of all before.
Both checksums are checked, and no frame may exceed a limit, so that a damaged length is found before memory is spent on it.
https://docs.aws.amazon.com/lexv2/latest/dg/event-stream-encoding.html, https://smithy.io/2.0/aws/amazon-eventstream.html
"""

import struct
import zlib
from collections.abc import Iterator

import msgspec

from shoal.wire.sse import Unusable

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_TRUE, _FALSE, _BYTES, _STRING = 0, 1, 6, 7
_SIZES = {_TRUE: 0, _FALSE: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}  # by the value's type: byte, short, int, long, timestamp, UUID
_LEAST = _PRELUDE.size + _CRC.size
_LONGEST_HEADERS = 128 * 1024


class Damaged(Unusable):
    """The stream does not hold frames, or not whole ones."""


class Frame(msgspec.Struct, frozen=True):
    """One event: its headers that are strings, and its payload."""

    headers: dict[str, str]
    payload: bytes


class Splitter:
    """Cuts a stream into frames. Amazon allows payloads of 16 MB; no event of a conversation comes near that."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = 16 * 1024 * 1024 + _LONGEST_HEADERS) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def pending(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._buffer)

    def last(self) -> None:
        """Nothing: the end of the bytes completes no frame."""

    def split(self, data: bytes) -> Iterator[Frame]:
        """The frames completed by `data`, one by one. Errors: Damaged, after the frames before the damage."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= _PRELUDE.size:
                total, headers_length, checksum = _PRELUDE.unpack_from(buffer, start)
                if zlib.crc32(buffer[start : start + 8]) != checksum:
                    raise Damaged("a frame's prelude does not match its checksum")
                if headers_length > _LONGEST_HEADERS or not headers_length + _LEAST <= total <= self._limit:
                    raise Damaged(f"a frame claims {total} bytes, {headers_length} of them headers")
                if len(buffer) - start < total:
                    break
                frame = _read(bytes(buffer[start : start + total]), headers_length)
                start += total
                yield frame
        finally:
            del buffer[:start]


def _read(frame: bytes, headers_length: int) -> Frame:
    body, (checksum,) = frame[: -_CRC.size], _CRC.unpack(frame[-_CRC.size :])
    if zlib.crc32(body) != checksum:
        raise Damaged("a frame does not match its checksum")
    end = _PRELUDE.size + headers_length
    try:
        return Frame(dict(_headers(body[_PRELUDE.size : end])), body[end:])
    except (IndexError, KeyError, UnicodeDecodeError):
        raise Damaged("a frame's headers cannot be read") from None


def _headers(data: bytes) -> Iterator[tuple[str, str]]:
    """Each header is a name (its length in 1 byte), a type, and a value; only strings mean something here, the others are stepped over."""
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name, kind = data[at + 1 : name_end].decode(), data[name_end]
        at = name_end + 1
        if kind in (_BYTES, _STRING):
            length = (data[at] << 8) | data[at + 1]
            value, at = data[at + 2 : at + 2 + length], at + 2 + length
            if kind == _STRING:
                yield name, value.decode()
        else:
            at += _SIZES[kind]
        if at > len(data):
            raise IndexError
