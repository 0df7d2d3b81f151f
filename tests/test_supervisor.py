"""The parent process, with real children: restarts, deaths, the order of stopping, the listening socket."""

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shoal.supervisor import CannotListen, bind

SCRIPT = str(Path(__file__).with_name("supervised.py"))
PATIENCE_S = 20.0


class Tree:
    """A running `supervised.py` and the lines its processes print; the pipe ends when the last of them is gone."""

    def __init__(self, *names: str, grace_s: float = 20.0) -> None:
        self.parent = subprocess.Popen(
            [sys.executable, SCRIPT, *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "GRACE_S": str(grace_s)},
        )
        self.pending = b""
        self.port = int(self.line()[1])

    def line(self, within_s: float = PATIENCE_S) -> list[str]:
        """The next line's words; [] at the end of the pipe."""
        assert self.parent.stdout is not None
        deadline = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            selector.register(self.parent.stdout, selectors.EVENT_READ)
            while b"\n" not in self.pending:
                assert selector.select(max(0.0, deadline - time.monotonic())), f"nothing said within {within_s} s"
                data = os.read(self.parent.stdout.fileno(), 4096)
                if not data:
                    return []
                self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        return line.decode().split()

    def lines(self, count: int) -> list[list[str]]:
        """The next `count` lines."""
        return [self.line() for _ in range(count)]

    def rest(self) -> list[str]:
        """Every line until all processes are gone."""
        return [" ".join(words) for words in iter(self.line, [])]


@pytest.fixture
def tree(request: pytest.FixtureRequest) -> Iterator[Tree]:
    """A tree of the names given by the marker parameter, ended after the test whatever happened."""
    tree = Tree(*request.param)
    yield tree
    tree.parent.kill()
    tree.parent.communicate()


@pytest.mark.parametrize("tree", [["worker"]], indirect=True)
def test_a_killed_child_is_back_within_a_second(tree: Tree) -> None:
    _, pid = sorted(tree.lines(2))[1]
    os.kill(int(pid), signal.SIGKILL)
    name, other = tree.line(within_s=1.0)
    assert (name, other != pid) == ("worker", True)


@pytest.mark.parametrize("tree", [["worker1", "worker2", "mini"]], indirect=True)
def test_children_are_gone_within_a_second_of_a_killed_parent(tree: Tree) -> None:
    tree.lines(4)
    tree.parent.kill()
    assert tree.line(within_s=1.0) == []


@pytest.mark.parametrize("tree", [["mini", "worker1", "worker2"]], indirect=True)
def test_workers_drain_before_the_mini_is_told(tree: Tree) -> None:
    tree.lines(4)
    tree.parent.terminate()
    said = tree.rest()
    assert said[4:] == ["mini told", "mini done"]
    assert sorted(said[:4]) == ["worker1 done", "worker1 told", "worker2 done", "worker2 told"]
    assert tree.parent.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("tree", [["worker", "mini"]], indirect=True)
def test_an_interrupt_reaches_the_workers_as_one(tree: Tree) -> None:
    tree.lines(3)
    tree.parent.send_signal(signal.SIGINT)
    assert tree.rest() == ["worker interrupted", "worker done", "mini told", "mini done"]


@pytest.mark.parametrize("tree", [["worker1", "worker2"]], indirect=True)
def test_ready_is_announced_once_and_a_restart_announces_nothing(tree: Tree) -> None:
    said = tree.lines(3)
    assert sum(words == ["all", "ready"] for words in said) == 1
    pid = next(words[1] for words in said if words[0] == "worker1")
    os.kill(int(pid), signal.SIGKILL)
    assert tree.line()[0] == "worker1"
    tree.parent.send_signal(signal.SIGINT)
    assert "all ready" not in tree.rest()


@pytest.mark.parametrize("tree", [["stubborn", "mini"]], indirect=True)
def test_a_second_signal_kills_at_once(tree: Tree) -> None:
    tree.lines(3)
    tree.parent.terminate()
    assert tree.line() == ["stubborn", "told"]
    tree.parent.terminate()
    assert tree.rest() == []
    assert tree.parent.wait(PATIENCE_S) == 0


def test_a_worker_that_does_not_drain_in_time_is_killed() -> None:
    tree = Tree("stubborn", "mini", grace_s=0.2)
    tree.lines(3)
    tree.parent.terminate()
    assert tree.rest() == ["stubborn told", "mini told", "mini done"]
    assert b"stubborn did not stop in time" in tree.parent.communicate()[1]
    assert tree.parent.returncode == 0


def test_a_hopeless_start_ends_the_parent_and_shows_the_error() -> None:
    tree = Tree("broken", "mini")
    assert [line for line in tree.rest() if line.startswith("broken")] == ["broken starts"] * 3
    error = tree.parent.communicate()[1].decode()
    assert "broken: no such weights" in error
    assert "failed to start 3 times" in error
    assert tree.parent.returncode == 1


@pytest.mark.parametrize("tree", [["flaky"]], indirect=True)
def test_a_child_that_is_not_essential_is_started_for_ever_with_growing_pauses(tree: Tree) -> None:
    times = [time.monotonic() for _ in range(6) if tree.line() == ["flaky", "starts"]]
    assert times[4] - times[3] > 0.7  # 0.8 s by then; the first pause is 0.1 s
    tree.parent.terminate()
    assert tree.rest() == []
    assert tree.parent.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("tree", [["worker", "flaky"]], indirect=True)
def test_nobody_waits_for_a_child_that_is_not_essential_and_cannot_start(tree: Tree) -> None:
    assert ["all", "ready"] in tree.lines(5)


@pytest.mark.parametrize("tree", [["worker"]], indirect=True)
def test_the_socket_outlives_a_worker(tree: Tree) -> None:
    pid = next(words[1] for words in tree.lines(2) if words[0] == "worker")
    worker = psutil.Process(int(pid))
    worker.kill()
    worker.wait(PATIENCE_S)  # until it is gone it may still accept
    with socket.create_connection(("127.0.0.1", tree.port), timeout=PATIENCE_S) as connection:
        assert connection.recv(100) == b"worker"


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"port {port} on 127\.0\.0\.1 is in use.*--port"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "message"), [("no such host", "cannot be resolved"), ("a" * 64, "cannot be resolved"), ("192.0.2.1", "no address")]
)
def test_an_impossible_host_is_explained(host: str, message: str) -> None:
    with pytest.raises(CannotListen, match=message):
        bind(host, 0)
