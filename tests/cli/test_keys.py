"""`shoal keys`, as an operator types it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shoal.cli.keys import app

SECRET = re.compile(r"sk-shoal-[A-Za-z0-9_-]{43}\n")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SHOAL_CONFIG", raising=False)
    return tmp_path / "home"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def list_keys() -> list[dict[str, Any]]:
    return json.loads(invoke("list", "--json").stdout)["keys"]


def test_create_prints_the_secret_alone_before_there_is_a_home(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shoal", "keys", "create", "app"], capture_output=True, text=True, env=os.environ, timeout=60, check=True
    )
    assert SECRET.fullmatch(done.stdout)
    assert '"app"' in done.stderr
    assert done.stdout.strip() not in done.stderr
    assert (home / "shoal.db").exists()


def test_create_list_revoke_list(home: Path) -> None:
    assert invoke("list").stderr == "There are no keys yet: shoal keys create NAME\n"
    secret = invoke("create", "my app").stdout
    (key,) = list_keys()
    assert (key["name"], key["hint"], key["revoked_at"]) == ("my app", secret.strip()[-4:], None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", key["created_at"] or "")
    revoked = invoke("revoke", "my app")
    assert (revoked.exit_code, revoked.stdout, revoked.stderr) == (0, "", f'Key "my app" ({key["id"]}) is revoked.\n')
    assert list_keys()[0]["revoked_at"] is not None
    assert secret.strip() not in invoke("list").stdout


def test_a_table_shows_any_name_as_it_is(home: Path) -> None:
    invoke("create", "[bold]x[/bold] 🐟")
    assert "[bold]x[/bold] 🐟" in invoke("list").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", ""], "has 0 characters"),
        (["create", "a\nb"], "must be printable"),
        (["create", "taken"], "is taken"),
        (["revoke", "unknown"], "shoal keys list"),
        (["revoke", "key_unknown"], "shoal keys list"),
        (["list", "--config", "missing.toml"], "missing.toml"),
    ],
)
def test_what_cannot_be_done_is_said_on_stderr(home: Path, arguments: list[str], message: str) -> None:
    invoke("create", "taken")
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("shoal: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_configured_database_is_used(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "shoal.toml"
    config.write_text(f'[storage]\nurl = "sqlite:///{tmp_path}/elsewhere.db"\n')
    assert invoke("create", "app", "--config", config).exit_code == 0
    assert (tmp_path / "elsewhere.db").exists()
    assert not (home / "shoal.db").exists()


def test_a_database_that_cannot_be_used_is_explained(home: Path) -> None:
    home.mkdir()
    (home / "shoal.db").write_bytes(b"dear diary, " * 500)
    done = invoke("create", "app")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "file is not a database" in done.stderr


def test_a_key_is_made_on_terms(home: Path) -> None:
    done = invoke(
        *("create", "limited", "--budget", "5.00", "--daily", "0.000000001", "--rpm", "60", "--tpm", "1000", "--parallel", "2"),
        *("--models", "up/*, minnow", "--models", "dear", "--endpoints", "chat", "--ips", "10.0.0.0/8", "--expires", "30d", "--tag", "a"),
        *("--retention", "none"),
    )
    assert SECRET.fullmatch(done.stdout), done.stderr
    (key,) = list_keys()
    assert key["terms"] == {
        "total_nano": 5_000_000_000,
        "daily_nano": 1,
        "rpm": 60,
        "tpm": 1000,
        "parallel": 2,
        "models": ["up/*", "minnow", "dear"],
        "endpoints": ["chat"],
        "ips": ["10.0.0.0/8"],
        "tags": ["a"],
        "retention": "none",
    }
    assert (key["kind"], key["project_id"]) == ("inference", "proj_default")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(key["expires_at"]))


def test_a_key_for_administration_is_another_kind(home: Path) -> None:
    assert SECRET.fullmatch(invoke("create", "boss", "--admin").stdout)
    assert list_keys()[0]["kind"] == "admin"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "-1"], "no amount of USD"),
        (["--budget", "1e400"], "no amount of USD"),
        (["--budget", "NaN"], "no amount of USD"),
        (["--budget", "5 EUR"], "no amount of USD"),
        (["--budget", "0.0000000001"], "nine decimals"),
        (["--budget", "1000000001"], "1,000,000,000"),
        (["--rpm", "0"], "--rpm: "),
        (["--ips", "10.0.0.0/99"], "10.0.0.0/99"),
        (["--expires", "yesterday"], "--expires: 'yesterday'"),
        (["--expires", "2001-01-01"], "has passed"),
        (["--project", "unheard of"], "no project"),
        (["--models", "x" * 600], "--models: "),
        (["--endpoints", "chats"], "there is no 'chats'; there are chat, completions"),
        (["--endpoints", "chat,chats*"], "there is no 'chats*'; there are chat, completions"),
        (["--retention", "all"], "--retention: "),
    ],
)
def test_terms_that_make_no_sense_are_explained(home: Path, arguments: list[str], message: str) -> None:
    done = invoke("create", "bad", *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list_keys() == []


def test_every_endpoint_can_be_named() -> None:
    from shoal.core.terms import ENDPOINTS
    from shoal.gateway import endpoints, errands

    verbs = [place.endpoint.name for verb in (b"generateContent", b"countTokens") if (place := endpoints.find(b"/v1beta/models/x:" + verb))]
    asked = {*(endpoint.name for endpoint in endpoints.HOT.values()), *verbs}
    assert {*ENDPOINTS} == {*asked, *errands.ERRANDS.values(), "models"}


def test_update_changes_what_is_named_and_lifts_what_is_told(home: Path) -> None:
    invoke("create", "app", "--budget", "5", "--rpm", "60", "--models", "a,b*", "--metadata", "team=red", "--tag", "x")
    changed = invoke("update", "app", "--budget", "7.5", "--name", "web", "--lift", "rpm,models", "--expires", "30d")
    assert (changed.exit_code, changed.stdout) == (0, ""), changed.stderr
    (key,) = list_keys()
    assert (key["name"], key["terms"]) == ("web", {"total_nano": 7_500_000_000, "metadata": {"team": "red"}, "tags": ["x"]})
    assert key["expires_at"] is not None
    invoke("update", "web", "--lift", "expires")
    assert list_keys()[0]["expires_at"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("update", "nobody", "--rpm", "1"), "There is no active key 'nobody'"),
        (("update", "app", "--lift", "gravity"), "there is no limit 'gravity'; there are budget, burst, daily"),
        (("update", "app", "--metadata", "red"), "'red' is not NAME=VALUE"),
        (("update", "app", "--budget", "-1"), "-1"),
        (("rotate", "app", "--grace", "soon"), "'soon' is no time such as 30m"),
        (("rotate", "app", "--grace", "31d"), "between 0 and 30 days"),
    ],
)
def test_what_cannot_be_changed_is_told(home: Path, arguments: tuple[str, ...], said: str) -> None:
    invoke("create", "app")
    before = list_keys()
    answer = invoke(*arguments)
    assert (answer.exit_code, said in answer.stderr) == (1, True), answer.stderr
    assert list_keys() == before


def test_rotate_prints_the_new_secret_alone(home: Path) -> None:
    first = invoke("create", "app").stdout
    rotated = invoke("rotate", "app", "--grace", "24h")
    assert SECRET.fullmatch(rotated.stdout)
    assert rotated.stdout != first
    assert "stays good for 24h" in rotated.stderr
    assert list_keys()[0]["hint"] == rotated.stdout.strip()[-4:]
    assert "is good no more" in invoke("rotate", "app").stderr
