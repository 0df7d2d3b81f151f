"""What all streamed answers share, whatever their dialect, and whether they are read or passed on.

What comes before a fault in the same bytes is given before the fault. Once an answer is whole, neither garbage nor a cut takes it back, but
an error that the upstream tells of does. Half an event at the end is a cut. So no way of cutting the bytes changes what is told.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

import msgspec

from shoal.core.answer import Began, Delta, Used
from shoal.core.errors import Fault
from shoal.core.ports import Settle
from shoal.core.usage import Usage
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
    """A stream, event by event. `whole` is set once the answer is complete: what may follow are counts."""

    def __init__(self, splitter: Splitter[Event]) -> None:
        self._splitter = splitter
        self._over = False  # what came after the whole answer could not be read
        self.failed: Fault | None = None
        self.whole = False

    def _break(self, error: Exception) -> None:
        """The stream cannot be read on."""
        if self.failed is not None:
            return
        told = isinstance(error, Fault) and error.kind != "upstream_garbled"
        if self.whole and not told:
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


def _is_complete(event: bytes) -> bool:
    """Whether an event, which passes unseen where it is plain, is not half of one, or garbage."""
    data = sse.data_of(event)
    data = event.strip() if data is None else data.strip()
    if data == b"[DONE]" or event.startswith(b":"):
        return True
    try:
        msgspec.json.decode(data)
    except _UNREADABLE:
        return False
    return True


IsSilent = Callable[[bytes], bool]


def is_silent_to(reader: Reader[bytes]) -> IsSilent:
    """Whether an event shows nothing, as a reader finds it that has read all before. What it cannot read may mean something to others.

    Errors: Fault, or whatever else the reader raises, for an error that the upstream tells of and for what nobody can read.
    """

    def is_silent(event: bytes) -> bool:
        told: list[Delta] = []
        try:
            reader.take(event, told)
        except (Fault, *_UNREADABLE) as error:
            if not _is_complete(event) or (isinstance(error, Fault) and error.kind != "upstream_garbled"):
                raise
            return False
        return not reader.whole and all(isinstance(delta, Began | Used) for delta in told)

    return is_silent


class Passing(_Streamed[bytes]):
    """A stream that is passed on, but for what must change (core.ports.Passage). `done`: nothing more is passed.

    Events at the beginning that show nothing of the answer, by `is_silent`, are held back: until then somebody else may be asked.
    """

    def __init__(self, settle: Settle, is_silent: IsSilent | None = None) -> None:
        self._events = sse.Splitter()
        super().__init__(self._events)
        self._settle = settle
        self._is_silent = is_silent
        self._held: list[bytes] = []
        self.done = False

    def is_plain(self, data: bytes) -> bool:
        """Whether bytes that are whole events may pass unseen; most of a stream is words."""
        return False

    @abstractmethod
    def take(self, event: bytes) -> bytes:
        """What is passed on of an event. Errors: Fault; what msgspec raises; ValueError."""

    @abstractmethod
    def end(self) -> bytes:
        """What ends a whole answer; sets `done`. Errors: Fault."""

    def settle(self, usage: Usage | None) -> tuple[str | None, bytes]:
        """The cost and the receipt. Errors: Fault, which breaks even what is whole: an answer that cannot be accounted for is not given."""
        try:
            return self._settle(usage)
        except Fault as fault:
            self.failed = fault
            raise

    def feed(self, data: bytes) -> bytes:
        """Bytes to pass on now, whole events only. A fault is `failed`; nothing comes after it."""
        if self.done or self._over or self.failed is not None:
            return b""
        if self._is_silent is None and self._events.whole(data) and self.is_plain(data):
            return data
        out: list[bytes] = []
        try:
            for event in self._events.split(data):
                if self.whole and not _is_complete(event):
                    raise ValueError("garbage after a whole answer")
                passed = self.take(event)
                out.append(passed if self._is_silent is None else self._hold(event, passed, self._is_silent))
                if self.done:
                    break
        except (Fault, sse.Unusable, *_UNREADABLE) as error:
            self._break(error)
        return out[0] if len(out) == 1 else b"".join(out)

    def _hold(self, event: bytes, passed: bytes, is_silent: IsSilent) -> bytes:
        """What is passed on of an event before which nothing was shown: nothing, or all so far."""
        self._held.append(passed)
        return b"" if not self.done and is_silent(event) else self._release()

    def _release(self) -> bytes:
        held, self._held, self._is_silent = self._held, [], None
        return b"".join(held)

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
                out = self.take(last) if _is_complete(last) else b""
            except (Fault, *_UNREADABLE) as error:
                self._break(error)
        self._check_end()
        return self._release() + out + (b"" if self.done else self.end())
