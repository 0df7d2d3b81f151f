"""What a trainer's home must not keep any longer: rows about users who were forgotten, and what jobs left that are past their retention.

Published students stay: they are models, and hold no rows. A home that was away does it when it is back: it remembers how far it has read.
"""

import asyncio
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from shoal.storage.identifiers import now_ms
from shoal.storage.jobs import Job
from shoal.storage.store import Store
from shoal.storage.windows import DAY_MS

log = logging.getLogger("shoal.trainer")

_READ = "forgotten.json"
_ACTION, _BEGINNING = "user.forget", "user:"
_MADE = "dataset.json"


class _Made(msgspec.Struct):
    id: str


async def tidy(store: Store, home: Path, retention_days: int | None) -> None:
    """Do all of it. Errors: those of the store, OSError."""
    await forget_users(store, home / "datasets")
    await expire_jobs(store, home, retention_days)


async def forget_users(store: Store, datasets: Path) -> None:
    """Take those out of all datasets who were forgotten since this was done last."""
    if not await asyncio.to_thread(datasets.is_dir):
        return
    last = await asyncio.to_thread(_read_last, datasets)
    newest, subjects, before = last, set[str](), None
    while True:
        acts = await store.audit.read(before=before, limit=500)
        for act in acts:
            newest = max(newest, act.id)
            if act.id > last and act.action == _ACTION:
                subjects.add(act.target.removeprefix(_BEGINNING))
        if not acts or acts[-1].id <= last:
            break
        before = acts[-1].id
    if subjects:
        argv = [sys.executable, "-m", "shoal.distil.forgetting", str(datasets)]
        done = await asyncio.to_thread(subprocess.run, argv, input=msgspec.json.encode(sorted(subjects)), capture_output=True, check=False)
        if done.returncode:
            log.error("cannot forget users in %s, will try again: %s", datasets, done.stderr.decode(errors="replace")[-500:])
            return
        log.info("%s rows about forgotten users are gone from the data sets", done.stdout.decode().strip())
    if newest > last:
        await asyncio.to_thread((datasets / _READ).write_bytes, b"%d" % newest)


def _read_last(datasets: Path) -> int:
    try:
        return int((datasets / _READ).read_bytes())
    except (FileNotFoundError, ValueError):
        return 0


async def expire_jobs(store: Store, home: Path, retention_days: int | None) -> None:
    """Delete the files of jobs that ended longer ago than their project keeps things, and the datasets that no other job learnt from."""
    directories = await asyncio.to_thread(lambda: [one for one in (home / "jobs").glob("*") if one.is_dir()])
    if not directories:
        return
    jobs = {job.id: job for job in await store.jobs.list_of(None)}
    kept = {one.id: one.retention_days for org in await store.organisations.list_all() for one in await store.projects.list_of(org.id)}
    gone = [one for one in directories if one.name not in jobs or _is_past(jobs[one.name], kept, retention_days)]
    await asyncio.to_thread(_delete, home, gone, [one for one in directories if one not in gone])


def _is_past(job: Job, kept: dict[str, int | None], retention_days: int | None) -> bool:
    days = kept.get(job.project_id)
    days = retention_days if days is None else days
    return days is not None and job.finished_at_ms is not None and job.finished_at_ms < now_ms() - days * DAY_MS


def _delete(home: Path, gone: list[Path], stay: list[Path]) -> None:
    needed = {_dataset_of(one) for one in stay}
    for directory in gone:
        if (dataset := _dataset_of(directory)) and dataset not in needed:
            shutil.rmtree(home / "datasets" / dataset, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


def _dataset_of(directory: Path) -> str:
    try:
        name = msgspec.json.decode((directory / _MADE).read_bytes(), type=_Made).id
    except (OSError, msgspec.MsgspecError):
        return ""
    return name if name.startswith("ds_") and name.isidentifier() else ""
