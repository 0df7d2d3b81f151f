"""The environment's scripts, as far as they go without installing anything."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def venv(directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["/bin/sh", str(ROOT / "scripts/venv.sh"), str(directory)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts/install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_environment_that_works_is_kept() -> None:
    before = (Path(sys.prefix) / "pyvenv.cfg").stat().st_mtime_ns
    done = venv(Path(sys.prefix))
    assert (done.returncode, done.stderr) == (0, "")
    assert (Path(sys.prefix) / "pyvenv.cfg").stat().st_mtime_ns == before


def test_what_is_no_environment_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("dear")
    done = venv(tmp_path)
    assert done.returncode == 1
    assert "move it away" in done.stderr
    assert (tmp_path / "letters").read_text() == "dear"


def test_a_python_that_is_too_old_is_refused(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")  # what `sys.exit(version < 3.11)` says there
    old.chmod(0o755)
    done = venv(tmp_path / "venv", PYTHON=str(old))
    assert done.returncode == 1
    assert "3.11 or newer" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_pips_settings_reach_uv_and_its_own_win(install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://index.invalid/simple\nextra-index-url =\n    file:///a\n    file:///b\n[install]\nproxy = http://p:1\n"
    )
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("ALL_PROXY", "http://mine:1")
    environment = install.translate_configuration()
    assert environment["UV_DEFAULT_INDEX"] == "https://index.invalid/simple"
    assert environment["UV_INDEX"].endswith("file:///a file:///b")
    assert environment["ALL_PROXY"] == "http://mine:1"


def test_make_knows_its_targets() -> None:
    done = subprocess.run(["make", "-C", str(ROOT), "--no-print-directory", "help"], capture_output=True, text=True)
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["help", "serve", "compile", "test", "lint", "bench", "clean"]
