"""The command itself: quick to say what it can do, honest in its exit status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import shoal

HEAVY = {"asyncio", "httpx", "huggingface_hub", "litestar", "numpy", "openvino", "platformdirs", "sqlalchemy", "uvicorn", "uvloop"}


def run(home: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "shoal", *arguments],
        env={**os.environ, "SHOAL_HOME": str(home), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_loads_nothing_that_its_help_does_not_need() -> None:
    code = "import sys, shoal.cli.main; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) & HEAVY == set()


@pytest.mark.parametrize("verb", ["", "serve", "keys", "keys create", "models", "pull", "chat", "bench"])
def test_everything_explains_itself(verb: str, tmp_path: Path) -> None:
    done = run(tmp_path, *verb.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: shoal {verb}".strip() in done.stdout


def test_the_version_is_said(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout == f"shoal {shoal.__version__}\n"


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m shoal models --json | true"
    environment = {**os.environ, "SHOAL_HOME": str(tmp_path)}
    done = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, text=True)
    assert done.stderr == ""


def test_an_unknown_verb_is_a_usage_error(tmp_path: Path) -> None:
    assert run(tmp_path, "swim").returncode == 2
