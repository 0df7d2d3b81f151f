"""One job being worked on: a process of its own that does the work, and what it tells, brought into the store.

Guarantees: the process, with all that it started, is killed within a second once the job is not ours any more (cancelled, paused, taken
up by another trainer), and once the store has been away for longer than others wait for us; what it told before its end is in the store.
"""

import asyncio
import errno
import importlib.util
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from shoal.distil.telling import Order, Told
from shoal.storage.jobs import DEAD_AFTER_MS, Checkpoint, Event, Job, Outcome, Trouble
from shoal.storage.store import STORE_ERRORS, Store

log = logging.getLogger("shoal.trainer")

LOOK_S = 0.5
BEAT_S = 5.0
_AWAY_S = DEAD_AFTER_MS / 1000 * 0.7
_SPARSE_S, _SPARSE_SHARE = 15.0, 0.02
_LINE_BYTES = 1024 * 1024
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "sklearn", "matplotlib", "nncf")
COMMAND = (sys.executable, "-m", "shoal.distil.job")
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}  # threads of a training that wait for each other leave the cores to who serves


def find_missing() -> list[str]:
    """What training needs and is not installed."""
    return [name for name in _PACKAGES if importlib.util.find_spec(name) is None]


class Labour:
    """Works on one claimed job until it has ended, died, or is not ours any more."""

    def __init__(self, store: Store, job: Job, order: Order, command: Sequence[str] = COMMAND) -> None:
        self._store, self._job, self._order, self._command = store, job, order, command
        self.directory = Path(order.home) / "jobs" / job.id
        self._told: list[Told] = []
        self._news = asyncio.Event()
        self._end: Outcome | None = None
        self._shown_stage, self._shown_at, self._shown_share = "", 0.0, 0.0

    async def run(self) -> bool:
        """False: the process died, and the job wants to be taken up again."""
        if missing := find_missing():
            text = f"Training needs {', '.join(missing)}, which this machine has not: pip install 'shoal[distil]'"
            await self._finish(_failure("not_installed", text))
            return True
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (self.directory / "stderr.txt").open("ab") as errors:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                    limit=_LINE_BYTES,
                    env=_PATIENT | os.environ,
                )
        except OSError as error:
            await self._finish(explain_disk(error, self.directory))
            return True
        try:
            return await self._accompany(process)
        finally:
            _kill(process)
            await process.wait()

    async def _accompany(self, process: asyncio.subprocess.Process) -> bool:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):  # it died at once: its exit says so
            process.stdin.write(msgspec.json.encode(self._order) + b"\n")
            await process.stdin.drain()
        reading = asyncio.create_task(self._read(process.stdout))
        try:
            deadline = time.monotonic() + self._order.most_minutes * 60 * 1.25 + 300
            if not await self._relay(reading, deadline):
                return True
        finally:
            _kill(process)
            await reading
        await process.wait()
        if self._end is None:
            log.warning(
                "the process of job %s ended with status %s; its last words are in %s", self._job.id, process.returncode, self.directory
            )
            return False
        await self._finish(self._end)
        return True

    async def _read(self, lines: asyncio.StreamReader) -> None:
        """Until the end of its output. What is no line of ours, printed by a library, is left out."""
        while True:
            try:
                line = await lines.readline()
            except ValueError:  # longer than any of ours
                continue
            if not line:
                break
            try:
                told = msgspec.json.decode(line, type=Told)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if told.end is not None:
                self._end = told.end
                break
            self._told.append(told)
            self._news.set()
        self._news.set()

    async def _relay(self, reading: "asyncio.Task[None]", deadline: float) -> bool:
        """Bring what is told into the store until there is no more; False: the job is not ours any more."""
        heard_at = beaten_at = time.monotonic()
        while True:
            ended = reading.done()
            now = time.monotonic()
            try:
                if self._told:
                    held = await self._say()
                    beaten_at = now
                elif now >= beaten_at + BEAT_S:
                    held = await self._store.jobs.beat(self._job)
                    beaten_at = now
                else:
                    held = await self._store.jobs.is_held(self._job)
                heard_at = now
            except STORE_ERRORS as error:
                log.error("cannot bring what job %s tells into the database, will try again: %s", self._job.id, error)
                held = now < heard_at + _AWAY_S
                ended = False if held else ended  # the last words are kept until the database is back
            if not held:
                return False
            if ended and not self._told:
                return True
            if now > deadline:
                self._end = _failure("timeout", f"The job took longer than {self._order.most_minutes:g} minutes: [distil] most_minutes.")
                return True
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK_S)
            self._news.clear()

    async def _say(self) -> bool:
        told = self._told[:]
        events: list[Event] = []
        finish_ms: int | None = None
        for one in told:
            if one.say:
                events.append(Event(message=one.say, level=one.level))
            elif one.stage:
                if (left := one.figures.get("seconds_left")) is not None:
                    finish_ms = int((time.time() + left) * 1000)
                if self._is_worth_telling(one):
                    data = {"stage": one.stage, "step": one.done, "total_steps": one.total, **one.figures}
                    events.append(Event(message=_progress(one), kind="metrics", data=data))
        checkpoints = [Checkpoint(step=one.checkpoint, metrics=one.figures) for one in told if one.checkpoint is not None]
        held = await self._store.jobs.say(self._job, events, finish_ms, checkpoints)
        del self._told[: len(told)]
        return held

    def _is_worth_telling(self, told: Told) -> bool:
        """The first and the last of a stage, and some between."""
        share, now = told.done / max(1, told.total), time.monotonic()
        new = told.stage != self._shown_stage
        if new or told.done >= told.total or now > self._shown_at + _SPARSE_S or share >= self._shown_share + _SPARSE_SHARE:
            self._shown_stage, self._shown_at, self._shown_share = told.stage, now, share
            return True
        return False

    async def _finish(self, outcome: Outcome) -> None:
        """Until the store has heard it, or the job is another's."""
        while True:
            try:
                await self._store.jobs.finish(self._job, outcome)
                return
            except STORE_ERRORS as error:
                log.error("cannot say how job %s ended, will try again: %s", self._job.id, error)
                await asyncio.sleep(BEAT_S)


def explain_disk(error: OSError, directory: Path) -> Outcome:
    """The failure behind an error of the disk."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        text = f"The disk that holds {directory} is full: make room, and make the job again; what is finished of it is kept there."
        return _failure("disk_full", text)
    return _failure("disk_error", f"{directory} cannot be used: {error.strerror or error}.")


def _failure(code: str, message: str) -> Outcome:
    return Outcome(status="failed", error=Trouble(code, message))


def _progress(told: Told) -> str:
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in told.figures.items() if name != "seconds_left")
    return f"{told.stage}: {told.done}/{told.total}" + (f", {figures}" if figures else "")


def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
