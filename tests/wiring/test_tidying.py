"""What a trainer's home keeps of rows and jobs, and for how long."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shoal.core.identity import OPERATOR
from shoal.distil import dataset
from shoal.distil.rows import Origin, Row, subject_of
from shoal.storage import jobs as jobs_module
from shoal.storage.jobs import Wish
from shoal.storage.projects import ProjectEdit
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import Store, open_store
from shoal.storage.windows import DAY_MS
from shoal.wiring.tidying import expire_jobs, forget_users


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "shoal.db")
    yield store
    await store.close()


def row(number: int, user: str) -> Row:
    origin = Origin("logs", subject=subject_of(OPERATOR, user))
    return Row(({"role": "user", "content": f"question {number} of {user}"},), "answer", origin)


def write(home: Path, users: list[str]) -> dataset.Dataset:
    told = {"form": dataset.FORM, "options": {}, "given": len(users), "rejected": {}, "redacted": {}}
    return dataset.write({"train": [row(number, user) for number, user in enumerate(users)]}, told, home / "datasets")


async def test_who_is_forgotten_is_forgotten_by_datasets_once(store: Store, tmp_path: Path) -> None:
    made = write(tmp_path, ["ada", "bob", "ada"])
    await forget_users(store, tmp_path / "datasets")
    assert dataset.read(made.directory).rows == made.rows
    await store.retention.forget(OPERATOR, "ada", actor="test")
    await forget_users(store, tmp_path / "datasets")
    left = dataset.read(made.directory)
    assert [one.messages[0]["content"] for one in left.rows["train"]] == ["question 1 of bob"]
    assert left.manifest.replaces == made.id
    again = write(tmp_path, ["ada"])  # a new one, of what is said since
    await forget_users(store, tmp_path / "datasets")
    assert again.directory.exists()


async def test_jobs_leave_nothing_behind_that_is_past_its_retention(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await store.projects.create(OPERATOR, ProjectEdit(name="other", retention_days=100), actor="test")
    shared, own = write(tmp_path, ["ada"]), write(tmp_path, ["bob"])
    now = jobs_module.now_ms()
    with monkeypatch.context() as patched:
        patched.setattr(jobs_module, "now_ms", lambda: now - 50 * DAY_MS)
        ended = [
            await store.jobs.create(Wish(org_id=OPERATOR, project_id=project, key_id="", model="minnow", seed=1), most_open=9)
            for project in (DEFAULT_PROJECT, DEFAULT_PROJECT, other.id)
        ]
        for job in ended:
            await store.jobs.cancel(job.id, None)
    running = await store.jobs.create(Wish(org_id=OPERATOR, project_id=DEFAULT_PROJECT, key_id="", model="minnow", seed=1), most_open=9)
    names = [job.id for job in (*ended, running)] + ["ftjob-unknown"]
    for name, made in zip(names, (shared, own, shared, None, None), strict=True):
        (tmp_path / "jobs" / name).mkdir(parents=True)
        if made is not None:
            (tmp_path / "jobs" / name / "dataset.json").write_text(f'{{"id": "{made.id}"}}')
    await expire_jobs(store, tmp_path, None)
    assert sorted(one.name for one in (tmp_path / "jobs").iterdir()) == sorted(names[:-1])  # nobody knows the last one
    await expire_jobs(store, tmp_path, 30)
    assert sorted(one.name for one in (tmp_path / "jobs").iterdir()) == sorted([ended[2].id, running.id])
    assert shared.directory.exists()
    assert not own.directory.exists()
