"""What a teacher has said and what it cost, in a file that only grows: work that was killed at any moment is taken up from it.

A call is written down before it is made, with the most it may cost. One that was under way when its process died may have been charged,
so it counts as that; an answer replaces it. Every line is synced to the disk before it is relied on.
"""

import asyncio
import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.distil.asking import Said
from shoal.distil.rows import Message

FILE = "answers.jsonl"


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """One call: the question's key, which sample of it, and the most that it may cost; then what came of it. `why` is why nothing did;
    `void` is a call that came to nothing and cost nothing."""

    key: str
    sample: int
    most_nano: int = 0
    said: Said | None = None
    why: str = ""
    void: bool = False

    @property
    def spent_nano(self) -> int:
        """What it cost; the most that it may have where that is not known."""
        if self.said is not None and self.said.cost_nano is not None:
            return self.said.cost_nano
        return self.most_nano


def key_of(messages: Sequence[Message]) -> str:
    """A name for a question, to the letter."""
    return hashlib.sha256(msgspec.json.encode(messages, order="sorted")).hexdigest()[:24]


class AnswerLog:
    """The file, for one process at a time. Errors: Fault conflict where another has it; OSError, such as for a disk that is full."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = (directory / FILE).open("r+b" if (directory / FILE).exists() else "w+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise Fault("conflict", f"Another process asks the same already, and writes to {directory}.") from None
        self._lock = threading.Lock()  # held by threads: whoever waits for one may be cancelled
        self.lines: dict[tuple[str, int], Line] = {}
        self.spent_nano = 0
        """What all calls cost, also those that were made again; those count at their most whose cost is not known."""
        self._load()

    def _load(self) -> None:
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]  # a line that was being written does not count
        for text in whole.splitlines():
            self._note(msgspec.json.decode(text, type=Line))
        self._file.seek(len(whole))
        self._file.truncate()

    def _note(self, line: Line) -> None:
        before = self.lines.get((line.key, line.sample))
        ends = line.said is not None or line.why or line.void
        self.spent_nano += line.spent_nano - (before.spent_nano if before is not None and ends else 0)
        self.lines[line.key, line.sample] = line

    def is_open(self, key: str, sample: int) -> bool:
        """Whether this is still to be asked."""
        line = self.lines.get((key, sample))
        return line is None or (line.said is None and not line.why)

    async def write(self, line: Line) -> None:
        """Add a line; it is on the disk when this returns."""
        await asyncio.to_thread(self._append, msgspec.json.encode(line) + b"\n")
        self._note(line)

    def _append(self, data: bytes) -> None:
        with self._lock:
            at = self._file.tell()
            try:
                self._file.write(data)
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError:  # half a line would spoil the next one
                self._file.seek(at)
                self._file.truncate()
                raise

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> "AnswerLog":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()
