"""`shoal serve` before anything serves: flags over file, refusals at once, the first key, the greeting."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.cli.local_key import read_local_key
from shoal.cli.serve import greet, make_first_key, read_settings
from shoal.settings import Settings


def run(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "shoal", "serve", *arguments]
    environment = {**os.environ, "SHOAL_HOME": str(home)}
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "shoal.toml"
    config.write_text('[server]\nhost = "127.0.0.2"\nport = 9000\nworkers = 3\n')
    server = read_settings(config, None, 9001, None, False).server
    assert (server.host, server.port, server.workers) == ("127.0.0.2", 9001, 3)


@pytest.mark.parametrize(("written", "flag", "enabled"), [(True, False, True), (True, True, False), (False, False, False)])
def test_no_mini_can_only_take_away(tmp_path: Path, written: bool, flag: bool, enabled: bool) -> None:
    config = tmp_path / "shoal.toml"
    config.write_text(f"[mini]\nenabled = {str(written).lower()}\n")
    assert read_settings(config, None, None, None, flag).mini.enabled is enabled


def test_a_taken_port_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(home, "--port", str(port))
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr
    assert not home.exists()


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "--config", str(tmp_path / "none.toml"))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "none.toml" in done.stderr


def test_a_first_key_is_made_once_and_not_again_when_revoked(tmp_path: Path) -> None:
    secret = make_first_key(Settings(), tmp_path)
    assert secret is not None
    assert read_local_key(tmp_path) == secret
    assert make_first_key(Settings(), tmp_path) is None
    (tmp_path / "local.key").unlink()
    assert make_first_key(Settings(), tmp_path) is None


def test_the_greeting_shows_a_new_key_and_later_only_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = make_first_key(Settings(), tmp_path)
    greet(Settings(), tmp_path, "http://127.0.0.1:8400", secret)
    first = capsys.readouterr().out
    assert f"KEY={secret}" in first
    assert "curl http://127.0.0.1:8400/openai/v1/chat/completions" in first
    greet(Settings(), tmp_path, "http://127.0.0.1:8400", None)
    later = capsys.readouterr().out
    assert str(secret) not in later
    assert f"KEY=$(cat '{tmp_path}/local.key')" in later
