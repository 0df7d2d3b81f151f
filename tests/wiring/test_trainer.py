"""The trainer: jobs are done by processes of their own, and go on, or end, whatever dies, is cancelled or is full."""

import asyncio
import errno
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from shoal.core.identity import OPERATOR
from shoal.core.terms import Terms
from shoal.settings import Settings
from shoal.storage.jobs import Job, Wish
from shoal.storage.keys import hash_secret
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import Store, open_store
from shoal.wiring import labour, trainer
from shoal.wiring.trainer import Locked, Trainer

SCRIPT = [sys.executable, str(Path(__file__).with_name("scripted_job.py"))]


@pytest.fixture
async def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    monkeypatch.setenv("SHOAL_HOME", str(tmp_path))
    monkeypatch.setattr(trainer, "LOOK_S", 0.02)
    store = await open_store(tmp_path / "shoal.db")
    yield store
    await store.close()


def make_trainer(store: Store) -> Trainer:
    return Trainer(store, Settings(), "http://127.0.0.1:1", SCRIPT)


async def make(store: Store, plan: str, key_id: str = "") -> Job:
    wish = Wish(org_id=OPERATOR, project_id=DEFAULT_PROJECT, key_id=key_id, model="minnow", seed=1, training_file="file-a", suffix=plan)
    return await store.jobs.create(wish, most_open=10)


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Another process acts: nothing here can be awaited."""
    async with asyncio.timeout(30):
        while not await look():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_ended(store: Store, job: Job) -> Job:
    async def ended() -> bool:
        return (await store.jobs.find(job.id)).ended

    await until(ended)
    return await store.jobs.find(job.id)


async def until_waiting(place: Path, job: Job) -> int:
    """The id of the process that works on a job, once it waits."""
    note = place / "jobs" / job.id / "waiting"

    async def waits() -> bool:
        return note.exists() and bool(note.read_text())

    await until(waits)
    return int(note.read_text())


async def said(store: Store, job: Job) -> list[str]:
    return [event.message for event in await store.jobs.events(job.id, oldest_first=True)]


async def test_a_job_is_done_and_what_it_tells_is_kept(store: Store, tmp_path: Path) -> None:
    key, _ = await store.keys.make(OPERATOR, DEFAULT_PROJECT, "app", terms=Terms(models=("gpt-4o",), ips=("10.0.0.1",)))
    job = await make(store, "", key.id)
    assert await make_trainer(store).work() is True
    assert await make_trainer(store).work() is None
    done = await store.jobs.find(job.id)
    assert (done.status, done.fine_tuned_model, done.trained_tokens) == ("succeeded", "ft:minnow:o:x:1", 100)
    events = await store.jobs.events(job.id, oldest_first=True)
    assert [one.message for one in events][2:] == [
        "attempt 1 begins",
        "train: 0/10, loss 2",
        "train: 10/10",
        "New fine-tuned model created: ft:minnow:o:x:1",
        "The job has successfully completed",
    ]
    assert events[3].data == {"stage": "train", "step": 0, "total_steps": 10, "loss": 2.0, "seconds_left": 60.0}
    assert [one.step for one in await store.jobs.checkpoints(job.id)] == [10]
    order: dict[str, Any] = msgspec.json.decode((tmp_path / "jobs" / job.id / "order.json").read_bytes())
    lent = await store.keys.find(hash_secret(order["key"]))
    assert lent is not None
    assert (lent.account_id, lent.terms, lent.active) == (key.id, Terms(models=("gpt-4o",)), False)


async def test_a_refusal_is_the_jobs_error(store: Store) -> None:
    job = await make(store, "refuses")
    assert await make_trainer(store).work() is True
    done = await store.jobs.find(job.id)
    assert done.status == "failed"
    assert done.error is not None
    assert (done.error.code, done.error.message) == ("gate_refused", "worse than its teacher")


async def test_a_job_whose_process_is_killed_goes_on_from_its_checkpoint(store: Store) -> None:
    job = await make(store, "dies3")
    running = asyncio.create_task(make_trainer(store).run())
    await until_ended(store, job)
    running.cancel()
    assert await asyncio.gather(running, return_exceptions=True)
    lines = await said(store, job)
    assert [line for line in lines if "begins" in line] == [f"attempt {number} begins" for number in (1, 2, 3)]
    assert sum("taken up from its last checkpoint" in line for line in lines) == 2


@pytest.mark.parametrize("how", ["cancel", "pause"])
async def test_who_is_called_off_stops_within_two_seconds(store: Store, tmp_path: Path, how: str) -> None:
    job = await make(store, "waits")
    running = asyncio.create_task(make_trainer(store).run())
    process = psutil.Process(await until_waiting(tmp_path, job))
    await getattr(store.jobs, how)(job.id, DEFAULT_PROJECT)
    await asyncio.to_thread(process.wait, 2)
    if how == "pause":
        await store.jobs.resume(job.id, DEFAULT_PROJECT)
        assert (await until_ended(store, job)).attempt == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (await store.jobs.find(job.id)).status == {"cancel": "cancelled", "pause": "succeeded"}[how]


async def test_a_trainer_that_stops_gives_its_job_back(store: Store, tmp_path: Path) -> None:
    job = await make(store, "waits")
    running = asyncio.create_task(make_trainer(store).run())
    number = await until_waiting(tmp_path, job)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not psutil.pid_exists(number)
    assert (await store.jobs.find(job.id)).status == "queued"
    assert (await said(store, job))[-1].startswith("The trainer stops")


async def test_a_full_disk_and_what_is_not_installed_are_said(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_directory = Path.mkdir

    def full(path: Path, *arguments: Any, **more: Any) -> None:
        if "jobs" in path.parts:
            raise OSError(errno.ENOSPC, "No space left on device")
        make_directory(path, *arguments, **more)

    job = await make(store, "")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", full)
        assert await make_trainer(store).work() is True
    failed = await store.jobs.find(job.id)
    assert failed.error is not None
    assert failed.error.code == "disk_full"
    assert str(tmp_path) in failed.error.message
    job = await make(store, "")
    monkeypatch.setattr(labour, "_PACKAGES", ("json", "no_such_library"))
    assert await make_trainer(store).work() is True
    failed = await store.jobs.find(job.id)
    assert failed.error is not None
    assert failed.error.message == "Training needs no_such_library, which this machine has not: pip install 'shoal[distil]'"


def test_a_home_has_one_trainer(tmp_path: Path) -> None:
    first, second = Locked(tmp_path), Locked(tmp_path)
    assert first.take()
    assert not second.take()
    first.close()
    assert second.take()
    second.close()
