"""A scripted process tree for tests/test_supervisor.py: `python tests/supervised.py NAME...` supervises one child for every NAME.

A child says on standard output what happens to it. NAME's prefix is its behaviour: worker drains on SIGTERM, stubborn ignores it,
broken exits at once, mini is stopped last, flaky exits at once but is not essential.
"""

import os
import signal
import socket
import sys
import threading

from shoal.net.parent import follow_parent, tell_ready
from shoal.supervisor import Child, Supervisor, bind


def say(*words: object) -> None:
    """One atomic line on standard output."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def supervise(names: list[str]) -> int:
    """The parent: a listener on a free port, one child for every name."""
    listener = bind("127.0.0.1", 0)
    say("port", listener.getsockname()[1], os.getpid())
    children = [
        Child(
            name,
            [sys.executable, __file__, "--child", name, str(listener.fileno())],
            fds=[listener.fileno()],
            essential=not name.startswith(("mini", "flaky")),
            last=name.startswith("mini"),
        )
        for name in names
    ]
    grace_s = float(os.environ.get("GRACE_S", "20"))
    return Supervisor(children, grace_s=grace_s, listeners=[listener], on_ready=lambda: say("all ready")).run()


def play(name: str, fd: int) -> None:
    """A child: behaves as its name says, answers connections with its name."""
    follow_parent(lambda: os._exit(9))
    if name.startswith(("broken", "flaky")):
        say(name, "starts")
        sys.exit(f"{name}: no such weights")
    stop = threading.Event()

    def on_signal(number: int, _: object) -> None:
        say(name, "told" if number == signal.SIGTERM else "interrupted")
        if not name.startswith("stubborn"):
            stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    say(name, os.getpid())
    tell_ready()
    listener = socket.socket(fileno=fd)
    listener.setblocking(True)
    threading.Thread(target=answer, args=(listener, name), daemon=True).start()
    stop.wait()
    say(name, "done")


def answer(listener: socket.socket, name: str) -> None:
    """Send the name to whoever connects."""
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(name.encode())


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        play(sys.argv[2], int(sys.argv[3]))
    else:
        sys.exit(supervise(sys.argv[1:]))
