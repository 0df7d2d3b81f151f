"""What all streamed answers share, whatever their dialect, and whether they are read or passed on.

What comes before a fault in the same bytes is given before the fault. Once an answer is whole, nothing that follows takes it back: no
error, no garbage, no cut. Half an event at the end is a cut. So no way of cutting the bytes changes what is told.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

import msgspec

from shoal.core.answer import Delta
from shoal.core.errors import Fault
from shoal.wire import sse

Event = TypeVar("Event")
Cut = TypeVar("Cut", covariant=True)

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Splitter(Protocol[Cut]):
    """Cuts a stream into events."""

    def split(self, data: bytes) -> Iterable[Cut]:
        """The events completed by `data`. Errors: sse.Unusable."""

    def last(self) -> Cut | None:
        """The event that the end of the bytes completes, if there may be one."""


class _Streamed(ABC, Generic[Event]):
    """A stream, event by event."""

    def __init__(self, splitter: Splitter[Event]) -> None:
        self._splitter = splitter
        self._over = False  # what came after the whole answer could not be read
        self.failed: Fault | None = None

    @property
    @abstractmethod
    def whole(self) -> bool:
        """Whether the answer is complete: what may follow are counts."""

    def _break(self, error: Exception) -> None:
        """The stream cannot be read on."""
        if self.whole:
            self._over = True
        elif isinstance(error, Fault):
            self.failed = error
        elif isinstance(error, sse.Unusable):
            self.failed = Fault("upstream_garbled", f"The upstream's stream is not usable: {error}.")
        else:
            self.failed = Fault("upstream_garbled", "The upstream's stream holds an event that cannot be read.")

    def _check_end(self) -> None:
        """The body has ended, its last event is read. Errors: Fault."""
        if self.failed is not None and self.failed.kind != "upstream_garbled":
            raise self.failed
        if not self.whole:
            raise Fault("upstream_cut", "The upstream ended the stream before its answer was complete.")


class Reader(_Streamed[Event]):
    """A stream to deltas. See core.ports.AnswerReader."""

    @abstractmethod
    def take(self, event: Event, out: list[Delta]) -> None:
        """Add what an event says to `out`. Errors: Fault; what msgspec raises; ValueError."""

    def end(self, out: list[Delta]) -> None:
        """Add what was kept for the end of a whole answer. Errors: Fault."""

    def feed(self, data: bytes) -> list[Delta]:
        """What these bytes complete. Errors: Fault, for an error event (its own kind) or what cannot be read (upstream_garbled)."""
        if self.failed is not None:
            raise self.failed
        out: list[Delta] = []
        if self._over:
            return out
        try:
            for event in self._splitter.split(data):
                self.take(event, out)
        except (Fault, sse.Unusable, *_UNREADABLE) as error:
            self._break(error)
        if self.failed is not None and not out:
            raise self.failed
        return out

    def close(self) -> list[Delta]:
        """The body has ended. Errors: Fault upstream_cut when the answer was not complete."""
        if self.failed is not None:
            raise self.failed
        out: list[Delta] = []
        last = None if self._over else self._splitter.last()
        if last is not None:
            try:
                self.take(last, out)
            except (Fault, *_UNREADABLE) as error:
                self._break(error)
        self._check_end()
        self.end(out)
        return out


class Passing(_Streamed[bytes]):
    """A stream that is passed on, but for what must change (core.ports.Passage). `done`: nothing more is passed."""

    def __init__(self) -> None:
        self._events = sse.Splitter()
        super().__init__(self._events)
        self.done = False

    def is_plain(self, data: bytes) -> bool:
        """Whether bytes that are whole events may pass unseen; most of a stream is words."""
        return False

    @abstractmethod
    def take(self, event: bytes) -> bytes:
        """What is passed on of an event. Errors: Fault; what msgspec raises; ValueError."""

    @abstractmethod
    def end(self) -> bytes:
        """What ends a whole answer, if `done` is not set yet; sets it. Errors: Fault."""

    def feed(self, data: bytes) -> bytes:
        """Bytes to pass on now, whole events only. A fault is `failed`; nothing comes after it."""
        if self.done or self._over or self.failed is not None:
            return b""
        if self._events.whole(data) and self.is_plain(data):
            return data
        out: list[bytes] = []
        try:
            for event in self._events.split(data):
                out.append(self.take(event))
                if self.done:
                    break
        except (Fault, sse.Unusable, *_UNREADABLE) as error:
            self._break(error)
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> bytes:
        """What ends the stream, now that the body has ended. Errors: Fault upstream_cut when the answer was not complete."""
        if self.failed is not None:
            raise self.failed
        if self.done:
            return b""
        out = b""
        last = None if self._over else self._events.last()
        if last is not None:
            try:
                out = self.take(last)
            except (Fault, *_UNREADABLE) as error:
                self._break(error)
        self._check_end()
        return out if self.done else out + self.end()
