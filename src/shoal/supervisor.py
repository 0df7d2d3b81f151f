"""The parent process: keeps the gateway's workers and the mini alive, and stops them in order.

Guarantees: a child that exits is started again after 0.1 s, doubling to 5 s, and 0.1 s again once one has lived for 30 s; a child
learns of the parent's death, however sudden, by end of file on its standard input; SIGTERM or SIGINT is passed on to the workers, which
have `grace_s` to end before the children marked `last` are stopped; a second signal kills at once. One thread, no polling.
"""

import errno
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from shoal.net.parent import READY_FD

FIRST_DELAY_S, LONGEST_DELAY_S, HEALTHY_AFTER_S = 0.1, 5.0, 30.0
STARTS_ALLOWED = 3
LAST_GRACE_S = 6.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class CannotListen(Exception):
    """The address cannot be listened on; the message says why and what to do."""


@dataclass(frozen=True)
class Child:
    """What to keep alive.

    `fds` are inherited under their own numbers. A child calls `net.parent.tell_ready` once it serves; when an `essential` one exits
    STARTS_ALLOWED times in a row before it ever did, the whole stops with status 1. Children marked `last` are stopped after all
    others are gone.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    fds: Sequence[int] = ()
    essential: bool = True
    last: bool = False


@dataclass
class _Slot:
    """A child's present process, or the time of its next start."""

    child: Child
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    start_at: float | None = 0.0
    delay_s: float = FIRST_DELAY_S
    was_ready: bool = False
    failed_starts: int = 0
    ready_fd: int | None = None


@dataclass
class Supervisor:
    """Runs `children` until a signal or a hopeless start; construct it, then call `run` from the main thread.

    `listeners` are the parent's copies of inherited sockets, closed as soon as stopping begins so that only draining workers hold
    them. `on_ready` is called once, when every child has told that it is ready.
    """

    children: Sequence[Child]
    grace_s: float = 30.0
    listeners: Sequence[socket.socket] = ()
    on_ready: Callable[[], None] | None = None
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)
    _slots: list[_Slot] = field(init=False)
    _selector: selectors.BaseSelector = field(init=False)
    _stopping: list[_Slot] | None = None  # the group being stopped now
    _kill_at: float | None = None
    _told: signal.Signals = signal.SIGTERM  # what the workers are told: Ctrl-C is in more of a hurry
    _status: int = 0

    def run(self) -> int:
        """Start everything and stay until everything has stopped; returns the exit status: 0, or 1 when a child could not start."""
        self._slots = [_Slot(child) for child in self.children]
        with selectors.DefaultSelector() as self._selector, self._signals():
            while not self._is_over():
                self._start_due()
                for key, _ in self._selector.select(self._wait_s()):
                    key.data()
                self._reap()
                self._advance_stop()
        return self._status

    def stop(self, status: int = 0) -> None:
        """Begin to stop: the others first, then the children marked `last`. Called again, kills whatever is left."""
        self._status = self._status or status
        if self._stopping is not None:
            self._kill(self._slots)
            return
        for listener in self.listeners:
            listener.close()
        self._stop_group(last=False)

    # -- starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.start_at is not None and slot.start_at <= now and self._stopping is None:
                self._start(slot)

    def _start(self, slot: _Slot) -> None:
        child, slot.start_at, slot.started_at = slot.child, None, time.monotonic()
        ready, tell = os.pipe()
        try:
            slot.process = subprocess.Popen(
                child.argv,
                env={**(os.environ if child.env is None else child.env), READY_FD: str(tell)},
                stdin=subprocess.PIPE,  # never written to: its end of file is how a child learns that we died
                pass_fds=(*child.fds, tell),
                start_new_session=True,  # Ctrl-C in the terminal reaches us alone, we decide the order
            )
        except OSError as error:
            self.log(f"shoal: {child.name} cannot be started: {error}")
            os.close(ready)
            self._ended(slot)
        else:
            slot.ready_fd = ready
            self._selector.register(ready, selectors.EVENT_READ, lambda: self._hear(slot))
        finally:
            os.close(tell)

    def _hear(self, slot: _Slot) -> None:
        """The ready pipe has a byte (ready) or was closed (the process is about to end)."""
        if slot.ready_fd is None:
            return
        told = os.read(slot.ready_fd, 1)
        self._deafen(slot)
        if not told:
            return
        slot.was_ready, slot.failed_starts = True, 0
        self._announce()

    def _announce(self) -> None:
        """Nobody waits for an inessential child that could not start."""
        if self.on_ready is not None and all(s.was_ready or (s.failed_starts and not s.child.essential) for s in self._slots):
            announce, self.on_ready = self.on_ready, None
            announce()

    def _deafen(self, slot: _Slot) -> None:
        if slot.ready_fd is not None:
            self._selector.unregister(slot.ready_fd)
            os.close(slot.ready_fd)
            slot.ready_fd = None

    # -- ending

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.process is not None and slot.process.poll() is not None:
                self._hear_last(slot)
                if self._stopping is None:
                    self.log(f"shoal: {slot.child.name} {_describe(slot.process.returncode)}, starting it again")
                if slot.process.stdin is not None:
                    slot.process.stdin.close()
                slot.process = None
                self._ended(slot)

    def _hear_last(self, slot: _Slot) -> None:
        """A process may have told that it is ready and died before we looked."""
        if slot.ready_fd is not None:
            os.set_blocking(slot.ready_fd, False)  # a grandchild may hold the other end open
            with suppress(BlockingIOError):
                self._hear(slot)
            self._deafen(slot)

    def _ended(self, slot: _Slot) -> None:
        if self._stopping is not None:
            return
        now = time.monotonic()
        if now - slot.started_at >= HEALTHY_AFTER_S:
            slot.delay_s = FIRST_DELAY_S
        slot.start_at = now + slot.delay_s
        slot.delay_s = min(slot.delay_s * 2, LONGEST_DELAY_S)
        if not slot.was_ready:
            slot.failed_starts += 1
            self._announce()
            if slot.child.essential and slot.failed_starts >= STARTS_ALLOWED:
                self.log(f"shoal: {slot.child.name} failed to start {STARTS_ALLOWED} times, giving up; its error is above")
                self.stop(1)

    # -- stopping

    def _stop_group(self, *, last: bool) -> None:
        self._stopping = [slot for slot in self._slots if slot.child.last is last and slot.process is not None]
        self._kill_at = time.monotonic() + (LAST_GRACE_S if last else self.grace_s)
        for slot in self._stopping:
            _signal(slot, signal.SIGTERM if last else self._told)

    def _advance_stop(self) -> None:
        if self._stopping is None:
            return
        if all(slot.process is None for slot in self._stopping):
            if any(slot.process is not None for slot in self._slots):
                self._stop_group(last=True)
        elif self._kill_at is not None and time.monotonic() >= self._kill_at:
            names = ", ".join(slot.child.name for slot in self._stopping if slot.process is not None)
            self.log(f"shoal: {names} did not stop in time, killed")
            self._kill_at = None
            self._kill(self._stopping)

    def _kill(self, slots: Sequence[_Slot]) -> None:
        for slot in slots:
            _signal(slot, signal.SIGKILL)

    # -- waiting

    def _is_over(self) -> bool:
        return self._stopping is not None and all(slot.process is None for slot in self._slots)

    def _wait_s(self) -> float | None:
        """Until the next start or kill that is due; None waits for a signal or a ready pipe alone."""
        if self._stopping is not None:
            due = [] if self._kill_at is None else [self._kill_at]
        else:
            due = [slot.start_at for slot in self._slots if slot.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into readable bytes, so that nothing runs inside a handler."""
        awake, wake = os.pipe()
        os.set_blocking(awake, False)
        os.set_blocking(wake, False)
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        wakeup_before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._selector.register(awake, selectors.EVENT_READ, lambda: self._on_signals(os.read(awake, 512)))
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(awake)
            os.close(wake)

    def _on_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGCHLD:
                continue
            if number == signal.SIGINT:
                self._told = signal.SIGINT
            self.stop()


def _describe(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"


def _signal(slot: _Slot, number: signal.Signals) -> None:
    """Signal the child; SIGKILL takes its whole session, so that it leaves nothing behind."""
    if slot.process is None:
        return
    with suppress(ProcessLookupError, PermissionError):  # it may have ended this moment (macOS says EPERM of a zombie's group)
        if number == signal.SIGKILL:
            os.killpg(slot.process.pid, number)
        else:
            slot.process.send_signal(number)


def bind(host: str, port: int, backlog: int = 2048) -> socket.socket:
    """A listening TCP socket on host:port (port 0: any free one); raises CannotListen. Its fd is handed to the workers."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:  # UnicodeError: a label longer than 63 characters
        raise CannotListen(f"the host {host!r} cannot be resolved ({error}); try --host 127.0.0.1") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(backlog)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise CannotListen(_why_not(host, port, error)) from error
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use by another program; stop that one, or choose another port: --port {port % 65535 + 1}"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} may not be used by this user; choose one above 1023: --port 8400"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {host}; use --host 127.0.0.1, or 0.0.0.0 for every address"
    return f"cannot listen on {host} port {port}: {error.strerror or error}"
