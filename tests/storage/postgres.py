"""A PostgreSQL of the tests' own: a cluster in a directory, run as an unprivileged user, reached over a Unix socket and a free port.

Tests make it once a session, fast and unsafe (no fsync), where Debian's package or the PATH has the programs; benchmarks make it safe.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil

PATIENCE_S = 60.0


def find_programs() -> Path | None:
    """The directory with initdb and postgres, the newest there is."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]))
    on_path = shutil.which("postgres")
    places = [*([Path(on_path).parent] if on_path else []), *versions]
    return next((place for place in reversed(places) if (place / "initdb").exists()), None)


def _find_user() -> pwd.struct_passwd:
    """Who runs it: PostgreSQL refuses to be root's."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    names = [name for name in ("postgres", "nobody") if any(one.pw_name == name for one in pwd.getpwall())]
    return pwd.getpwnam(names[0])


class Cluster:
    """One server. `url` is a database's address; every test takes a database of its own."""

    def __init__(self, programs: Path, directory: Path, *, safe: bool = False) -> None:
        self.programs, self._data = programs, directory / "data"
        self._sync = "on" if safe else "off"
        self._log = directory / "log"
        self._user = _find_user()
        self._databases = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._data.mkdir(parents=True)
        for path in (directory, self._data):
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
        initdb = (programs / "initdb", "-D", self._data, "-U", "shoal", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        subprocess.run(initdb, **self._as_user(), check=True, capture_output=True, timeout=PATIENCE_S)
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": self._sync,
            "full_page_writes": self._sync,
            "max_connections": 60,
            "shared_buffers": "16MB",
            "deadlock_timeout": "200ms",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            command = (self.programs / "postgres", "-D", self._data, *options)
            self.process = subprocess.Popen(command, **self._as_user(), stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE_S
        ready = (self.programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q")
        while subprocess.run(ready, timeout=PATIENCE_S).returncode:
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.02)  # nothing tells when it is ready
        return self.process

    def kill(self) -> None:
        """End it as kill -9 of every one of its processes does."""
        parent = psutil.Process(self.process.pid)
        parent.suspend()  # so that it does not see its children end
        for process in (*parent.children(recursive=True), parent):
            process.kill()
        self.process.wait(PATIENCE_S)

    def suspend(self) -> None:
        """Let it fall silent, all of its processes, as behind a network that is cut."""
        for process in self._family():
            process.suspend()

    def resume(self) -> None:
        """Let it go on."""
        for process in self._family():
            process.resume()

    def _family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self) -> None:
        """End it at once, in order."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(PATIENCE_S)

    def new_database(self, template: str = "template1") -> str:
        """The URL of a fresh database, a copy of the one whose name is given."""
        self._databases += 1
        name = f"shoal_{self._databases}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return f"postgresql://shoal@127.0.0.1:{self.port}/{name}"

    def drop(self, url: str) -> None:
        """Remove a database, whoever is in it."""
        self.sql(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def sql(self, statement: str) -> None:
        """Run a statement, outside of any test's database."""
        psql = (self.programs / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "shoal", "-d", "postgres", "-qc", statement)
        subprocess.run(psql, check=True, capture_output=True, timeout=PATIENCE_S)

    def _as_user(self) -> dict[str, int | str | dict[str, str]]:
        there = {"cwd": "/", "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
        return there | ({"user": self._user.pw_uid, "group": self._user.pw_gid} if os.getuid() == 0 else {})
