"""Heads that were read before. Callers repeat theirs word for word, all but the body's length, and what the parser and the door made of
one holds for every copy of it. So a head is read once, and after that it is looked up.

Only what was admitted, and has nothing special about it, is remembered; only a request that came whole in one read is recalled.
"""

from typing import Any, NamedTuple

_LENGTHS = (b"\r\ncontent-length: ", b"\r\nContent-Length: ")
_MOST_DIGITS = 9


class Known(NamedTuple):
    """A head as it was read. `ticket` is what the door needs to admit it again."""

    method: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    ticket: Any


class Memory:
    """A bounded number of heads, the oldest forgotten first."""

    HEADS = 1024
    HEAD_BYTES = 4096

    def __init__(self) -> None:
        self._heads: dict[bytes, Known] = {}

    def recall(self, data: bytes) -> tuple[Known, bytes] | None:
        """The known head and the body, if `data` is one whole request with such a head and nothing else."""
        end = data.find(b"\r\n\r\n", 0, self.HEAD_BYTES) + 4
        if end < 4:
            return None
        place = _place_of_length(data, end)
        if place is None:
            return None
        start, stop = place
        known = self._heads.get(data[:start] + data[stop:end])
        if known is None or len(data) - end != int(data[start:stop]):
            return None
        return known, data[end:]

    def learn(self, data: bytes, known: Known) -> None:
        """Remember the head that `data` begins with; nothing happens when it is of a kind that cannot be recalled."""
        end = data.find(b"\r\n\r\n", 0, self.HEAD_BYTES) + 4
        place = _place_of_length(data, end) if end >= 4 else None
        if place is None:
            return
        if len(self._heads) >= self.HEADS:
            del self._heads[next(iter(self._heads))]
        self._heads[data[: place[0]] + data[place[1] : end]] = known


def _place_of_length(data: bytes, end: int) -> tuple[int, int] | None:
    """Where the digits of the body's length stand."""
    for name in _LENGTHS:
        at = data.find(name, 0, end)
        if at >= 0:
            start = at + len(name)
            stop = data.find(b"\r", start, end)
            return (start, stop) if 0 < stop - start <= _MOST_DIGITS and data[start:stop].isdigit() else None
    return None
