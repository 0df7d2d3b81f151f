"""`shoal models` and `shoal pull`: what is here, and what cannot be had."""

import json
import os
import subprocess
import sys
from pathlib import Path

from shoal.cli.progress import amount
from shoal.core.identity import OPERATOR
from shoal.mini.card import Card, write_card
from shoal.mini.shelf import publish

CONFIG = """
[providers.up]
base_url = "http://127.0.0.1:9/v1"

[models.house]
deployments = [{ provider = "up" }]
"""


def run(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "shoal", *arguments]
    environment = {**os.environ, "SHOAL_HOME": str(home), "HF_ENDPOINT": "http://127.0.0.1:9"}
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def prepare(home: Path) -> None:
    directory = home / "weights" / "minnow"
    directory.mkdir(parents=True)
    write_card(directory, Card(name="minnow", kind="chat", engine="openvino", context_tokens=8192))


def test_local_and_configured_models_are_listed(tmp_path: Path) -> None:
    prepare(tmp_path)
    config = tmp_path / "shoal.toml"
    config.write_text(CONFIG)
    done = run(tmp_path, "models", "--json", "--config", str(config))
    rows = {row["id"]: row for row in json.loads(done.stdout)["models"]}
    assert [rows[name]["ready"] for name in ("minnow", "minnow-embed", "house")] == [True, False, True]
    assert rows["house"]["providers"] == ["up"]
    assert rows["minnow"]["context_tokens"] == 8192


def test_a_person_learns_how_to_get_what_is_missing(tmp_path: Path) -> None:
    assert "shoal pull minnow-embed" in run(tmp_path, "models").stdout


def test_a_bad_configuration_is_one_line(tmp_path: Path) -> None:
    config = tmp_path / "shoal.toml"
    config.write_text("[server]\nprot = 1\n")
    done = run(tmp_path, "models", "--config", str(config))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "prot" in done.stderr


def test_pulling_what_is_there_is_quick_and_says_where(tmp_path: Path) -> None:
    prepare(tmp_path)
    pulled = json.loads(run(tmp_path, "pull", "minnow", "--json").stdout)
    assert (pulled["name"], pulled["path"]) == ("minnow", str(tmp_path / "weights" / "minnow"))


def test_an_unknown_name_says_what_is_known(tmp_path: Path) -> None:
    done = run(tmp_path, "pull", "whale")
    assert (done.returncode, done.stdout) == (1, "")
    assert "minnow" in done.stderr


def test_a_hub_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "pull", "hf:somebody/something")
    assert done.returncode == 1
    assert "HF_ENDPOINT" in done.stderr


def test_amounts_say_what_they_count() -> None:
    assert [amount(0, 0), amount(1, 1), amount(3, 12), amount(35_400_000, 98_000_000)] == ["", "", "3/12", "35/98 MB"]


def publish_head(home: Path, name: str) -> str:
    made = home / "made"
    made.mkdir(exist_ok=True)
    write_card(made, Card("x", "head", "head", 256, base="minnow"))
    return publish(home, made, OPERATOR, "operator", name)


def test_students_are_listed_rolled_back_and_deleted(tmp_path: Path) -> None:
    prepare(tmp_path)
    first, second = publish_head(tmp_path, "a"), publish_head(tmp_path, "a")
    alias = first.removesuffix(":1")
    listed = [row["id"] for row in json.loads(run(tmp_path, "models", "--json").stdout)["models"]]
    assert listed[:4] == ["minnow", first, alias, second]
    assert run(tmp_path, "students", "rollback", alias).stdout == f"{first}\n"
    rows = json.loads(run(tmp_path, "students", "list", "--org", "operator", "--json").stdout)["students"]
    assert [(row["model"], row["current"], row["organisation_id"]) for row in rows] == [(first, True, OPERATOR), (second, False, OPERATOR)]
    again = run(tmp_path, "students", "rollback", alias)
    assert again.returncode == 1 and "no version before the current one" in again.stderr
    assert run(tmp_path, "students", "delete", alias).stdout == f"{first}\n{second}\n"
    assert json.loads(run(tmp_path, "students", "list", "--json").stdout) == {"students": []}
    acts = [(act["action"], act["target"]) for act in json.loads(run(tmp_path, "audit", "--json").stdout)["acts"]]
    assert acts == [("student.delete", second), ("student.delete", first), ("student.current", first)]
