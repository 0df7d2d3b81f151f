"""A child process and the parent that keeps it alive: saying that one is ready, and noticing that the parent is gone."""

import os
import threading
from collections.abc import Callable
from contextlib import suppress

READY_FD = "SHOAL_READY_FD"


def tell_ready() -> None:
    """Called in a child once it serves. Does nothing in a process that no supervisor started."""
    told = os.environ.pop(READY_FD, None)
    if told is None:
        return
    with suppress(OSError):  # the parent has gone: `follow_parent` acts on it
        os.write(int(told), b"1")
        os.close(int(told))


def follow_parent(on_gone: Callable[[], None]) -> None:
    """Called in a child: watch standard input from a thread and call `on_gone` there when the parent has died."""

    def watch() -> None:
        while os.read(0, 64):
            continue  # nothing is ever written; whoever runs a child by hand may type
        on_gone()

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()
