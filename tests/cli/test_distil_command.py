"""`shoal distil`, with a process that works on jobs as it is told (tests/wiring/scripted_job.py)."""

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shoal.cli.main import app
from shoal.mini.card import Card, write_card
from shoal.storage.store import open_store
from shoal.wiring import trainer
from shoal.wiring.trainer import Locked

SCRIPT = (sys.executable, str(Path(__file__).parent.parent / "wiring" / "scripted_job.py"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SHOAL_CONFIG", raising=False)
    monkeypatch.setattr(trainer.Trainer.__init__, "__defaults__", (SCRIPT,))
    return tmp_path / "home"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n')
    return path


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["distil", *(str(argument) for argument in arguments)])


def jobs() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(invoke("jobs", "--json").stdout)["jobs"]
    return found


def test_a_run_works_on_its_job_where_nobody_else_does(rows: Path, home: Path) -> None:
    done = invoke("run", "--file", rows, "--teacher", "gpt-4o", "--target-quality", "0.9", "--epochs", "2", "--students", "head,lora")
    assert done.exit_code == 0, done.output
    assert done.stdout == "ft:minnow:o:x:1\n"
    assert "train: 0/10, loss 2, 60 s left" in done.stderr
    assert "The job has successfully completed" in done.stderr
    (job,) = jobs()
    plan = job["method"]["distillation"]
    assert (plan["teacher"], plan["target_quality"], plan["students"]) == ("gpt-4o", 0.9, ["head", "lora"])
    assert plan["hyperparameters"]["n_epochs"] == 2
    assert job["training_file"].startswith("file-")
    assert "succeeded" in invoke("jobs").stdout
    assert invoke("follow", job["id"]).stdout == "ft:minnow:o:x:1\n"


def test_a_run_that_fails_says_why_and_is_known_by_its_status(rows: Path) -> None:
    failed = invoke("run", "--file", rows, "--suffix", "refuses")
    assert failed.exit_code == 1
    assert failed.stdout == ""
    assert "worse than its teacher" in failed.stderr
    told = json.loads(invoke("run", "--from-logs", "tag=support, team=a", "--suffix", "refuses", "--json").stdout)
    assert (told["status"], told["error"]["code"]) == ("failed", "gate_refused")
    assert told["method"]["distillation"]["logs"]["metadata"] == {"tag": "support", "team": "a"}


def test_what_is_not_understood_is_refused(rows: Path) -> None:
    for wrong, text in (
        (("run",), "--from-logs, or --file"),
        (("run", "--file", rows, "--from-logs", ""), "--from-logs, or --file"),
        (("run", "--from-logs", "support"), "tag=value"),
        (("run", "--file", rows, "--project", "none"), "There is no project 'none'"),
        (("run", "--file", rows, "--key", "none"), "There is no active key 'none'"),
        (("run", "--file", rows, "--target-quality", "2"), "--target-quality"),
        (("follow", "ftjob-none"), "Could not find"),
        (("cancel", "ftjob-none"), "Could not find"),
        (("report", "ftjob-none"), "Could not find"),
        (("publish", "ftjob-none"), "Could not find"),
    ):
        refused = invoke(*wrong)
        assert refused.exit_code in (1, 2), wrong
        assert text in refused.output.replace("\n│ ", " ").replace(" │", ""), refused.output
    assert jobs() == []


def test_a_job_is_left_to_the_trainer_that_runs_and_called_off(rows: Path, home: Path) -> None:
    busy = Locked(home)
    assert busy.take()

    async def first_job() -> str:
        store = await open_store(home / "shoal.db")
        while not (found := await store.jobs.list_of(None)):  # noqa: ASYNC110 - the other thread makes it
            await asyncio.sleep(0.05)
        await store.close()
        return found[0].id

    def call_off() -> None:
        called_off.append(invoke("cancel", asyncio.run(first_job())))

    called_off: list[Result] = []
    thread = threading.Thread(target=call_off)
    thread.start()
    ended = invoke("run", "--file", rows)
    thread.join()
    busy.close()
    assert called_off[0].exit_code == 0, called_off[0].output
    assert ended.exit_code == 1
    assert "was cancelled" in ended.output
    (job,) = jobs()
    assert (job["status"], job["attempt"]) == ("cancelled", 0)


def test_what_was_held_back_is_published_all_the_same_and_a_report_is_found(rows: Path, home: Path, tmp_path: Path) -> None:
    invoke("run", "--file", rows, "--suffix", "refuses")
    (job,) = jobs()
    place = home / "jobs" / job["id"]
    assert "no student to publish" in invoke("publish", job["id"]).output
    (place / "student").mkdir()
    write_card(place / "student", Card("student", "head", "head", 512, base="minnow"))
    name = invoke("publish", job["id"]).stdout.strip()
    assert name == "ft:minnow:operator:refuses:1"
    assert invoke("publish", job["id"]).stdout.strip() == "ft:minnow:operator:refuses:2"
    assert "There is no report" in invoke("report", job["id"]).output
    (place / "report.html").write_text("<h1>report</h1>")
    (place / "figures.json").write_text('{"ratio": 0.97}')
    assert invoke("report", job["id"]).stdout.strip() == str(place / "report.html")
    assert json.loads(invoke("report", job["id"], "--json").stdout)["figures"] == {"ratio": 0.97}
    assert invoke("report", job["id"], "-o", tmp_path / "copy.html").exit_code == 0
    assert (tmp_path / "copy.html").read_text() == "<h1>report</h1>"
