"""Server-sent events, cut out of a byte stream that may be cut anywhere (WHATWG HTML, 9.2.6: lines end in LF, CRLF or CR)."""

import re

# the end of a line, be it LF, CR or the LF of a CRLF, and an empty line after it
_END = re.compile(rb"(?:\n|\r(?!\n))(?:\n|\r\n?)")


class Unusable(Exception):
    """Bytes that cannot be cut into events."""


class Overlong(Unusable):
    """An event exceeds the limit."""


class Splitter:
    """Cuts a stream into whole events, each with its own bytes up to and including the blank line that ends it."""

    __slots__ = ("_limit", "_rest", "_searched")

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._rest = b""
        self._searched = 0

    @property
    def rest(self) -> bytes:
        """Bytes of an event that has not ended yet."""
        return self._rest

    def last(self) -> bytes | None:
        """The event that the end of the bytes completes, if one has begun: an upstream may leave out the last blank line."""
        return self._rest.rstrip(b"\r\n") + b"\n\n" if self._rest.strip() else None

    def whole(self, data: bytes) -> bool:
        """Whether `data` starts where an event starts and ends where one ends, so that it may be taken as it is."""
        return not self._rest and data.endswith(b"\n\n")

    def split(self, data: bytes) -> list[bytes]:
        """The events completed by `data`. Errors: Overlong, once the events before the one without end have been given."""
        buffer = self._rest + data if self._rest else data
        events: list[bytes] = []
        start, search = 0, max(0, self._searched - 3)
        while (end := _END.search(buffer, search)) is not None:
            # a CR at the very end may be half of a CRLF: the blank line is complete, but its last byte is still to come
            if end.end() == len(buffer) and buffer.endswith(b"\r"):
                break
            events.append(buffer[start : end.end()])
            start = search = end.end()
        self._rest = buffer[start:]
        self._searched = len(self._rest)
        if len(self._rest) > self._limit and not events:
            raise Overlong(f"an event exceeds {self._limit} bytes")
        return events


def data_of(event: bytes) -> bytes | None:
    """An event's data (its `data:` lines joined by LF), or None when it has none, as comments and keep-alives do."""
    if event.startswith(b"data: ") and event.count(b"\n") == 2 and event.endswith(b"\n\n") and b"\r" not in event:
        return event[6:-2]
    lines = re.split(rb"\r\n|\n|\r", event)
    found = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    if not found and b"data" not in lines:
        return None
    return b"\n".join(found)
