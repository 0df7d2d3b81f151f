"""What passes between the trainer and the process that works on a job: the order on its standard input, and what it tells on its output.

Both are JSON, a line each. The order holds secrets (a key for the teacher, the address of the store), so it is in no argument, no
environment and no file. Standard input then stays open: its end tells the process that the trainer is gone.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.distil.licences import Override
from shoal.distil.watch import Cancelled
from shoal.storage.jobs import Job, Level, Outcome

_OFTEN_S = 0.25


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, where and with what. `store` and `home` are addresses; `url` and `key` lead to the gateway, "" where nobody is asked;
    `authority` is a file with the certificate that it shows."""

    job: Job
    store: str
    home: str
    org_name: str
    url: str = ""
    key: str = ""
    authority: str = ""
    threads: int = 2
    watts_per_core: float
    usd_per_hour: float
    most_minutes: float
    budget_nano: int
    overrides: tuple[Override, ...] = ()


class Told(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line. Either something to say, a stage's progress, a checkpoint, or the end."""

    say: str = ""
    level: Level = "info"
    stage: str = ""
    done: int = 0
    total: int = 0
    figures: dict[str, float] = {}
    checkpoint: int | None = None
    end: Outcome | None = None


class Teller:
    """A Watch that writes lines. Steps come often: of each stage a line in a quarter of a second is written, and its last."""

    def __init__(self, write: Callable[[bytes], Any]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._stage, self._at = "", 0.0
        self.cancelled = False

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        """Progress. Raises Cancelled."""
        if self.cancelled:
            raise Cancelled
        now = time.monotonic()
        if stage == self._stage and now < self._at + _OFTEN_S and done < total:
            return
        self._stage, self._at = stage, now
        self._tell(Told(stage=stage, done=done, total=total, figures=_finite(figures)))

    def say(self, message: str, level: str = "info") -> None:
        """One event."""
        self._tell(Told(say=message, level=level if level in ("warn", "error") else "info"))  # type: ignore[arg-type]

    def checkpoint(self, step: int, **figures: float) -> None:
        """A state that can be taken up again."""
        self._tell(Told(checkpoint=step, figures=_finite(figures)))

    def end(self, outcome: Outcome) -> None:
        """The last line."""
        self._tell(Told(end=outcome))

    def _tell(self, told: Told) -> None:
        with self._lock:
            self._write(msgspec.json.encode(told) + b"\n")


def _finite(figures: dict[str, float]) -> dict[str, float]:
    """JSON has no word for what is not a number."""
    return {name: float(value) for name, value in figures.items() if abs(float(value)) < float("inf")}
