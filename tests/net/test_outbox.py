"""What is sent together, and only after it is on record."""

import asyncio

from shoal.core.errors import Fault
from shoal.net.outbox import Outbox


class Wire(asyncio.Transport):
    """A transport that keeps what is written, and can be closed."""

    def __init__(self, events: list[bytes]) -> None:
        super().__init__()
        self.events = events
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.events.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed


async def test_a_turns_messages_leave_after_the_record_of_all_in_their_order() -> None:
    events: list[bytes] = []
    wire, other = Wire(events), Wire(events)
    box = Outbox(asyncio.get_running_loop(), lambda: events.append(b"record"))
    box.put(wire, b"one")
    box.put(other, b"two", lambda fault: b"never")
    box.put(wire, b"three")
    assert events == []
    await asyncio.sleep(0)
    assert events == [b"record", b"one", b"two", b"three"]
    await asyncio.sleep(0)
    assert events.count(b"record") == 1


async def test_what_cannot_be_recorded_is_not_sent() -> None:
    events: list[bytes] = []
    wire = Wire(events)

    def refuse() -> None:
        raise Fault("overloaded", "The disk is full.")

    box = Outbox(asyncio.get_running_loop(), refuse)
    box.put(wire, b"a piece of a stream")
    box.put(wire, b"a settled answer", lambda fault: fault.kind.encode())
    await asyncio.sleep(0)
    assert events == [b"a piece of a stream", b"overloaded"]


async def test_who_is_gone_gets_nothing() -> None:
    events: list[bytes] = []
    gone = Wire(events)
    box = Outbox(asyncio.get_running_loop())
    box.put(gone, b"to nobody")
    gone.closed = True
    box.flush()
    assert events == []
    await asyncio.sleep(0)  # the turn's own flush finds nothing left
    assert events == []


async def test_a_record_without_a_message_is_made_too() -> None:
    events: list[bytes] = []
    box = Outbox(asyncio.get_running_loop(), lambda: events.append(b"record"))
    box.wake()
    box.wake()
    await asyncio.sleep(0)
    assert events == [b"record"]
