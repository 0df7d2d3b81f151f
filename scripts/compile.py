"""Compile the request's path with mypyc (docs/decisions/0008): `make compile`, or `python scripts/compile.py`.

Needs a C compiler, Python's headers, and mypy and setuptools, which it installs where they are missing. Takes a minute or two, once for
each state of the sources. With `--beside`, as `make serve` runs it, it waits until Shoal has started, takes only what processor time
nobody else wants, ends with the process that started it, and is silent: Shoal runs all the same where there is nothing to compile with.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "src"))

from shoal.wiring.compiled import MODULES, SOURCE, SUFFIX, directory, is_wanted  # noqa: E402

BESIDE_AFTER_S = 20.0
TOOLS = ("mypy", "setuptools")
BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup

into, work, config, *files = sys.argv[1:]
setup(
    ext_modules=mypycify(["--config-file", config, *files], opt_level="2", debug_level="0", target_dir=work, group_name="shoal"),
    script_args=["--quiet", "build_ext", "--build-lib", into, "--build-temp", work],
)
"""
CHECK = """
import importlib
import sys
from pathlib import Path
from shoal.wiring.compiled import MODULES, Finder

sys.meta_path.insert(0, Finder(Path(sys.argv[1])))
for name in MODULES:
    importlib.import_module(f"shoal.{name}")
"""


def main(beside: bool) -> int:
    """Compile where that is still to be done; the exit status."""
    target, parent = directory(), os.getppid()
    if target.is_dir() or (beside and not is_wanted()):
        return 0
    if beside:
        yield_to_others()
        time.sleep(BESIDE_AFTER_S)
        target.parent.mkdir(exist_ok=True)
        log = (target.parent / "compile.log").open("wb")
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if any(importlib.util.find_spec(name) is None for name in TOOLS):
        install = [sys.executable, str(PROJECT / "scripts" / "install.py"), "compile"]
        if run(install, parent, PROJECT):
            return 1
    target.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="compiling-", dir=target.parent) as work:
        made = Path(work, "made")
        files = [f"shoal/{name.replace('.', '/')}.py" for name in MODULES]
        # from the sources' directory, so that tracebacks name files as they are below it
        status = run([sys.executable, "-c", BUILD, str(made), work, str(PROJECT / "pyproject.toml"), *files], parent, SOURCE)
        if status or not any(made.rglob(f"*{SUFFIX}")) or run([sys.executable, "-c", CHECK, str(made)], parent, SOURCE):
            print("compile: nothing was compiled; Shoal runs all the same, but more slowly", file=sys.stderr)
            return status or 1
        for old in target.parent.glob("compiled-*"):
            shutil.rmtree(old, ignore_errors=True)
        made.rename(target)
    print(f"compile: made {target}; the next start runs it")
    return 0


def yield_to_others() -> None:
    """Take only the processor time that nobody else wants."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(19)


def run(command: Sequence[str], parent: int, directory: Path) -> int:
    """A command's exit status; it ends when `parent`, who wanted it, is gone."""
    environment = {**os.environ, "MYPYPATH": str(SOURCE), "MYPY_CACHE_DIR": str(PROJECT / "build" / "mypy")}
    process = subprocess.Popen(command, cwd=directory, env=environment, start_new_session=True)
    while True:
        try:
            return process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            if os.getppid() != parent:
                os.killpg(process.pid, 15)
        except KeyboardInterrupt:
            os.killpg(process.pid, 15)


if __name__ == "__main__":
    sys.exit(main("--beside" in sys.argv[1:]))
