"""A real `shoal serve` with a home of its own, as an operator starts it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import psutil

PATIENCE_S = 30.0
Value = TypeVar("Value")


def wait_for(look: Callable[[], Value | None], what: str, timeout_s: float = PATIENCE_S) -> Value:
    """The first true value of `look`; fails when there is none in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {timeout_s:g} s"
        time.sleep(0.01)


class Installation:
    """One server process tree. `key` is the first key, which the greeting shows."""

    def __init__(
        self, home: Path, config: str, env: Mapping[str, str] | None = None, wrap: tuple[str, ...] = (), mini: bool = False
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.config = home / "shoal.toml"
        self.config.write_text(config, "utf-8")
        clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.env = {**clean, "SHOAL_HOME": str(home), **(env or {})}
        self.wrap = wrap
        self.mini = mini
        self.key = ""
        self.port = 0
        self.said: list[str] = []

    def start(self, port: int = 0, patience_s: float = PATIENCE_S) -> "Installation":
        """Start and wait until it serves."""
        argv = [*self.wrap, sys.executable, "-m", "shoal", "serve", "--config", str(self.config), "--port", str(port)]
        argv += [] if self.mini else ["--no-mini"]
        with (self.home / "stderr.txt").open("ab") as log:
            self.process = subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True)
        self.said.clear()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        greeting = wait_for(self._greeting, "the greeting", patience_s)
        self.port = int(greeting)
        shown = re.search(r"KEY=(sk-shoal-[\w-]{43})", "".join(self.said))
        self.key = shown.group(1) if shown else self.key
        return self

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.said.extend(lines)

    def _greeting(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.log()}")
        text = "".join(self.said)
        found = re.search(r"Shoal serves on http://127\.0\.0\.1:(\d+)", text)
        return found.group(1) if found and "Or talk:" in text else None

    def log(self) -> str:
        """What it has said on standard error."""
        return (self.home / "stderr.txt").read_text("utf-8", "replace")

    def worker(self) -> psutil.Process:
        """The first gateway process."""
        return wait_for(self._worker, "the worker's start")

    def workers(self) -> list[psutil.Process]:
        """Every gateway process that runs now."""
        return self.children("shoal.wiring.worker")

    def children(self, module: str) -> list[psutil.Process]:
        """The processes that run a module now."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                if module in child.cmdline():
                    found.append(child)
        return found

    def child(self, module: str) -> psutil.Process:
        """The process that runs a module."""
        return wait_for(lambda: next(iter(self.children(module)), None), f"the start of {module}")

    def _worker(self) -> psutil.Process | None:
        return next(iter(self.workers()), None)

    def shoal(self, *arguments: str) -> str:
        """Run another command of the same installation; its standard output."""
        argv = [sys.executable, "-m", "shoal", *arguments]
        return subprocess.run(argv, env=self.env, check=True, capture_output=True, text=True, timeout=PATIENCE_S).stdout

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL to the parent."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        """The exit status."""
        status = self.process.wait(PATIENCE_S * 2)
        self._reader.join(PATIENCE_S)
        return status
