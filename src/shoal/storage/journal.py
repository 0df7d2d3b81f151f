"""The file a request is written to before its last byte leaves: one line, one write(2), no wait for a disk.

A segment belongs to the process that holds its flock: locked means that more may come, unlocked that it is complete, whoever wrote it
and however that ended. A line is whole or absent: what a full disk cut short is taken back. Folding (fold.py) syncs, reads and removes.
"""

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from shoal.core.errors import Fault
from shoal.core.ledger import Entry

SUFFIX = ".jsonl"
SEGMENT_BYTES = 16 * 1024 * 1024


class Journal:
    """Appends entries to segments of a directory. One per process; not thread-safe: only the event loop's thread appends."""

    def __init__(self, directory: Path, worker_id: str, segment_bytes: int = SEGMENT_BYTES) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_]{1,32}", worker_id):
            raise ValueError(f"a worker's id has 1 to 32 letters, digits or underscores, not {worker_id!r}")
        self.directory = directory
        self.live: str | None = None  # the name of the segment being written
        self._worker_id = worker_id
        self._limit = segment_bytes
        self.wake: Callable[[], None] | None = None  # sees to it that `commit` is called; without it every entry is written at once
        self._encode = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []
        self._file = -1
        self._size = 0
        self._torn = False  # the segment ends in half a line that could not be taken back
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open_segment()
        except OSError as error:
            raise _explain(error) from error

    def append(self, entry: Entry) -> None:
        """Take one entry, to be written by the next `commit`. Errors: as `commit`, where nobody is woken for that."""
        line = self._encode(entry).replace(b"\n", b" ") + b"\n"  # JSON strings hold no bare line break, a pretty-printed receipt may
        self._lines.append(line)
        if self.wake is None:
            self.commit()
        elif len(self._lines) == 1:
            self.wake()

    def commit(self) -> None:
        """Write the entries there are, in one piece. Raises Fault(overloaded) when the disk takes no more; nothing of them remains then."""
        if not self._lines:
            return
        line = b"".join(self._lines)
        self._lines.clear()
        try:
            if self._size + len(line) > self._limit and self._size:
                self._rotate()
            if self._torn:
                line = b"\n" + line
            written = os.write(self._file, line)
            if written != len(line):
                written += os.write(self._file, line[written:])  # says why it was short
            if written != len(line):
                raise OSError(errno.EIO, "the write stayed short")
        except OSError as error:
            self._take_back()
            raise _explain(error) from error
        self._torn = False
        self._size += written

    def close(self) -> None:
        """Give the segment up: it is complete, and whoever folds next may remove it. A closed journal takes no more."""
        if self._file >= 0:
            self.commit()
            os.close(self._file)
        self._file, self.live = -1, None

    def _rotate(self) -> None:
        old = self._file
        self._open_segment()  # first: when this fails, the old segment is still there to be tried again
        os.close(old)

    def _open_segment(self) -> None:
        """A fresh segment, locked. Who folds may take a new file for an abandoned one before the lock is ours: then another is made."""
        while True:
            name = f"{time.time_ns()}-{self._worker_id}-{secrets.token_hex(4)}{SUFFIX}"
            file = os.open(self.directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if try_lock(file):
                    break
            except OSError:
                os.close(file)
                raise
            os.close(file)
        self._file, self.live, self._size, self._torn = file, name, 0, False

    def _take_back(self) -> None:
        if self._file < 0:
            return
        try:
            os.ftruncate(self._file, self._size)
        except OSError:
            self._size = os.fstat(self._file).st_size
            self._torn = True  # the next line begins with a line break, and the half one is set aside when it is folded


def try_lock(file: int) -> bool:
    """Take a segment's lock if nobody holds it; False also when the segment has been removed meanwhile."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file).st_nlink > 0


def _explain(error: OSError) -> Fault:
    return Fault(
        "overloaded",
        f"The request cannot be recorded ({error.strerror}), so it is not answered: the operator must make room on the disk that holds "
        "the journal, or check its permissions.",
    )
