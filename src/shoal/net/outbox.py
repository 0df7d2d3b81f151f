"""What is to be sent leaves together, at the end of a turn of the event loop: one wake-up of the other side does for many messages.

Before anything leaves, whatever must be on record is put there (`commit`), once for all that was settled in the turn. What cannot be
recorded is not sent: `instead` says what is.
"""

import asyncio
from collections.abc import Callable

from shoal.core.errors import Fault

Instead = Callable[[Fault], bytes]


class Outbox:
    """The messages of one turn, in order."""

    __slots__ = ("_awake", "_items", "_loop", "commit")

    def __init__(self, loop: asyncio.AbstractEventLoop, commit: Callable[[], None] | None = None) -> None:
        self._loop = loop
        self._items: list[tuple[asyncio.Transport, bytes, Instead | None]] = []
        self._awake = False
        self.commit = commit

    def put(self, transport: asyncio.Transport, data: bytes, instead: Instead | None = None) -> None:
        """Send at the end of this turn. `instead` marks what depends on the record."""
        if not self._awake:
            self.wake()
        self._items.append((transport, data, instead))

    def wake(self) -> None:
        """See to it that `flush` comes."""
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Record and send what is there, now."""
        self._awake = False
        refused: Fault | None = None
        if self.commit is not None:
            try:
                self.commit()
            except Fault as fault:
                refused = fault
        items, self._items = self._items, []
        for transport, data, instead in items:
            if instead is not None and refused is not None:
                data = instead(refused)
            if data and not transport.is_closing():
                transport.write(data)


_boxes: dict[asyncio.AbstractEventLoop, Outbox] = {}


def outbox(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The outbox of an event loop."""
    box = _boxes.get(loop)
    if box is None:
        _boxes.clear()  # of loops that are no more: a process has one
        box = _boxes[loop] = Outbox(loop)
    return box
