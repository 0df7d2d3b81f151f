"""The one thread that steps all pipelines of this process, in turn, so that several share the cores instead of fighting over them.

OpenVINO keeps the interpreter's lock while it steps: several threads would step one after the other, too, but would keep the event loop
waiting for all of them. Whoever has work gets one step a round. The thread carries out what it is told between any two steps.
"""

import queue
import threading
from collections.abc import Callable
from typing import Protocol


class Stepped(Protocol):
    """Something that works in steps. All of it is called in the stepper's thread."""

    def step(self) -> bool:
        """Take one step; whether there is more to do."""

    def break_off(self, error: Exception) -> None:
        """A command or a step has raised: do no more."""


class Stepper:
    """Steps whoever has work, and sleeps while nobody has."""

    def __init__(self) -> None:
        self._commands: queue.SimpleQueue[tuple[Stepped, Callable[[], bool]] | None] = queue.SimpleQueue()
        self._busy: dict[Stepped, None] = {}
        self._thread = threading.Thread(target=self._work, name="stepper", daemon=True)
        self._thread.start()

    def tell(self, one: Stepped, command: Callable[[], bool]) -> None:
        """Have `command` carried out before the next step; what it answers is whether `one` has work."""
        self._commands.put((one, command))

    def close(self) -> None:
        """End the thread after its current step and what it was told before."""
        self._commands.put(None)
        self._thread.join()

    def _work(self) -> None:
        while self._obey():
            for one in list(self._busy):
                if one in self._busy:
                    self._mark(one, one.step)
                if not self._commands.empty() and not self._obey():
                    return

    def _obey(self) -> bool:
        """Carry out all commands, waiting for one if there is nothing to step. False: close."""
        while True:
            try:
                told = self._commands.get(block=not self._busy)
            except queue.Empty:
                return True
            if told is None:
                return False
            self._mark(*told)

    def _mark(self, one: Stepped, action: Callable[[], bool]) -> None:
        """Do something for `one`, and see whether it has work."""
        try:
            more = action()
        except Exception as error:  # supervised: whatever the library threw is for `one` to tell
            more = False
            one.break_off(error)
        if more:
            self._busy[one] = None
        else:
            self._busy.pop(one, None)
