"""What the owner of a job is told when something goes wrong, and that a student is published once."""

import errno
from pathlib import Path
from typing import Any

import pytest

from shoal.core.errors import Fault
from shoal.distil import job as recipe
from shoal.distil.asking import Refused
from shoal.distil.telling import Order
from shoal.distil.watch import Cancelled, Silent
from shoal.distil.workshop import Workshop
from shoal.mini.card import Card, write_card
from shoal.storage.jobs import Job


def order(home: Path, **more: Any) -> Order:
    job = Job(
        id="ftjob-a", org_id="org_operator", project_id="proj_default", key_id="", model="minnow", seed=1, created_at_ms=1, status="running"
    )
    values = {"home": str(home), "store": str(home / "shoal.db"), "org_name": "operator", "job": job}
    return Order(**values | {"watts_per_core": 5.0, "usd_per_hour": 0.1, "most_minutes": 60.0, "budget_nano": 10**9} | more)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "weights.bin"), "disk_full", "is full (weights.bin): make room"),
        (Fault("invalid_value", "too few rows", param="training_file"), "invalid_value", "too few rows"),
        (Refused("no money", 402, "insufficient_quota"), "insufficient_quota", "The teacher cannot be asked: no money"),
        (MemoryError(), "out_of_memory", "too little memory"),
        (KeyError("secret"), "internal_error", "for a reason of our own (KeyError)"),
    ],
)
def test_what_went_wrong_is_the_jobs_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str, text: str) -> None:
    def fail(self: Workshop) -> None:
        raise error

    monkeypatch.setattr(Workshop, "gather", fail)
    outcome = recipe.run(order(tmp_path), Silent())
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert (outcome.error.code, "secret" in outcome.error.message) == (code, False)
    assert text in outcome.error.message
    assert outcome.error.param == ("training_file" if code == "invalid_value" else None)


def test_a_full_disk_behind_another_error_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Workshop) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as full:
            raise RuntimeError("cannot save") from full

    monkeypatch.setattr(Workshop, "gather", fail)
    outcome = recipe.run(order(tmp_path), Silent())
    assert outcome.error is not None
    assert outcome.error.code == "disk_full"
    assert str(tmp_path / "jobs" / "ftjob-a") in outcome.error.message


def test_who_is_called_off_has_nothing_to_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Workshop) -> None:
        raise Cancelled

    monkeypatch.setattr(Workshop, "gather", stop)
    with pytest.raises(Cancelled):
        recipe.run(order(tmp_path), Silent())


def test_a_student_is_published_once_by_its_job(tmp_path: Path) -> None:
    work = Workshop(order(tmp_path), Silent())
    (work.place / "student").mkdir(parents=True)
    write_card(work.place / "student", Card("student", "head", "head", 512, base="minnow"))
    (work.place / "student" / "made_by.json").write_text('{"job": "ftjob-a"}')
    assert work.put_on_the_shelf() == "ft:minnow:operator:student:1"
    assert work.put_on_the_shelf() == "ft:minnow:operator:student:1"
