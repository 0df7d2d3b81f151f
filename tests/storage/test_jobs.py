"""Jobs: made, listed, taken up by one process at a time, given up, and ended, whoever dies or comes late."""

import asyncio
from typing import Any

import pytest
from firm import Firm, found
from stored_rows import query

from shoal.core.errors import Fault
from shoal.storage import jobs as jobs_module
from shoal.storage.database import writing
from shoal.storage.job_tables import fine_tuning_jobs
from shoal.storage.jobs import Checkpoint, Event, Job, Outcome, Trouble, Wish, event_id, number_of
from shoal.storage.store import Store


def wish(firm: Firm, **more: Any) -> Wish:
    values = {"org_id": firm.id, "project_id": firm.project_id, "key_id": "key_a", "model": "minnow", "seed": 7, "training_file": "file-a"}
    return Wish(**values | more)


async def make(firm: Firm, **more: Any) -> Job:
    return await firm.store.jobs.create(wish(firm, **more), most_open=100)


async def messages(store: Store, job: Job) -> list[str]:
    return [event.message for event in await store.jobs.events(job.id, oldest_first=True)]


async def grow_old(store: Store, job: Job) -> None:
    change = fine_tuning_jobs.update().where(fine_tuning_jobs.c.id == job.id).values(renewed_at_ms=1)
    async with writing(store.engine).begin() as connection:
        await connection.execute(change)


async def test_a_job_comes_back_as_it_was_wished_and_only_to_its_project(store: Store) -> None:
    firm, other = await found(store), await found(store, name="other")
    method = {"type": "distillation", "distillation": {"teacher": "openai/gpt-4o", "target_quality": 0.95}}
    made = await make(firm, suffix="help", method=method, metadata={"team": "a"}, validation_file="file-b")
    assert await store.jobs.find(made.id, firm.project_id) == made
    assert (made.status, made.method, made.metadata, made.seed, made.ended) == ("queued", method, {"team": "a"}, 7, False)
    with pytest.raises(Fault, match="Could not find fine tune"):
        await store.jobs.find(made.id, other.project_id)
    with pytest.raises(Fault, match="Could not find fine tune"):
        await store.jobs.cancel(made.id, other.project_id)
    assert await messages(store, made) == [f"Created fine-tuning job: {made.id}", "The job is queued."]


async def test_lists_go_by_pages_and_by_metadata(store: Store) -> None:
    firm, other = await found(store), await found(store, name="other")
    made = [await make(firm, metadata={"odd": str(number % 2), "all": "x"}) for number in range(5)]
    await make(other, metadata={"odd": "1"})
    newest_first = sorted(made, key=lambda job: (job.created_at_ms, job.id), reverse=True)
    assert await store.jobs.list_of(firm.project_id) == newest_first
    first = await store.jobs.list_of(firm.project_id, limit=2)
    assert first + await store.jobs.list_of(firm.project_id, after=first[-1].id, limit=10) == newest_first
    odd = await store.jobs.list_of(firm.project_id, metadata={"odd": "1", "all": "x"}, limit=1)
    assert odd == [job for job in newest_first if job.metadata["odd"] == "1"][:1]
    assert await store.jobs.list_of(firm.project_id, metadata={"odd": "2"}) == []
    assert len(await store.jobs.list_of(None)) == 6


async def test_a_project_has_so_many_open_jobs_at_once(store: Store) -> None:
    firm, other = await found(store), await found(store, name="other")
    first = await store.jobs.create(wish(firm), most_open=1)
    with pytest.raises(Fault, match="has 1 fine-tuning jobs") as refused:
        await store.jobs.create(wish(firm), most_open=1)
    assert refused.value.status == 429
    await store.jobs.create(wish(other), most_open=1)
    await store.jobs.cancel(first.id, firm.project_id)
    await store.jobs.create(wish(firm), most_open=1)


async def test_each_job_is_taken_up_by_one_alone_and_the_oldest_first(store: Store) -> None:
    firm = await found(store)
    made = [await make(firm) for _ in range(4)]
    taken = await asyncio.gather(*(store.jobs.claim(f"home_{number}") for number in range(6)))
    ids = [job.id for job in taken if job is not None]
    assert sorted(ids) == sorted(job.id for job in made)
    assert {job.status for job in taken if job is not None} == {"running"}
    assert await store.jobs.claim("home_9") is None


async def test_the_job_of_a_dead_holder_is_taken_up_and_whoever_comes_late_changes_nothing(store: Store) -> None:
    firm = await found(store)
    made = await make(firm)
    first = await store.jobs.claim("home_a")
    assert first is not None
    assert await store.jobs.say(
        first, [Event(message="step", kind="metrics", data={"loss": 1.5})], 99, [Checkpoint(step=10, metrics={"loss": 1.5})]
    )
    assert await store.jobs.claim("home_b") is None
    await grow_old(store, made)
    second = await store.jobs.claim("home_b")
    assert second is not None
    assert (second.id, second.holder, second.attempt) == (made.id, "home_b", 2)
    assert not await store.jobs.beat(first)
    assert not await store.jobs.is_held(first)
    assert not await store.jobs.say(first, [Event(message="late")])
    assert not await store.jobs.finish(first, Outcome(status="failed"))
    await store.jobs.release(first)
    assert await store.jobs.beat(second)
    again = await store.jobs.claim("home_b")  # its own trainer was started anew
    assert again is not None
    assert again.attempt == 3
    assert await store.jobs.finish(
        again, Outcome(status="succeeded", fine_tuned_model="ft:minnow:o:n:1", trained_tokens=5, result_files=["file-r"])
    )
    done = await store.jobs.find(made.id)
    assert (done.status, done.fine_tuned_model, done.trained_tokens, done.result_files) == ("succeeded", "ft:minnow:o:n:1", 5, ["file-r"])
    assert done.ended
    assert done.holder is None
    said = await messages(store, made)
    assert "late" not in said
    assert [line for line in said if "last checkpoint (attempt" in line] == [
        f"The process that worked on this job ended: it is taken up from its last checkpoint (attempt {number})." for number in (2, 3)
    ]
    assert said[-1] == "The job has successfully completed"
    assert [(one.step, one.metrics) for one in await store.jobs.checkpoints(made.id)] == [(10, {"loss": 1.5})]


async def test_who_is_cancelled_or_paused_hears_of_it(store: Store) -> None:
    firm = await found(store)
    made = await make(firm)
    held = await store.jobs.claim("home_a")
    assert held is not None
    assert await store.jobs.is_held(held)
    assert (await store.jobs.pause(made.id, firm.project_id)).status == "paused"
    assert not await store.jobs.is_held(held)
    assert await store.jobs.claim("home_a") is None
    assert (await store.jobs.resume(made.id, firm.project_id)).status == "queued"
    held = await store.jobs.claim("home_a")
    assert held is not None
    cancelled = await store.jobs.cancel(made.id, firm.project_id)
    assert (cancelled.status, cancelled.finished_at_ms is not None) == ("cancelled", True)
    assert not await store.jobs.beat(held)
    for act in (store.jobs.cancel, store.jobs.pause, store.jobs.resume):
        with pytest.raises(Fault, match="is cancelled: it cannot be"):
            await act(made.id, firm.project_id)


async def test_a_holder_that_stops_gives_its_job_back(store: Store) -> None:
    firm = await found(store)
    made = await make(firm)
    held = await store.jobs.claim("home_a")
    assert held is not None
    await store.jobs.release(held)
    assert (await store.jobs.find(made.id)).status == "queued"
    taken = await store.jobs.claim("home_b")
    assert taken is not None
    assert taken.attempt == 1


async def test_a_failure_says_why(store: Store) -> None:
    firm = await found(store)
    made = await make(firm)
    held = await store.jobs.claim("home_a")
    assert held is not None
    trouble = Trouble("invalid_training_file", "too few", "training_file")
    assert await store.jobs.finish(held, Outcome(status="failed", error=trouble))
    assert (await store.jobs.find(made.id)).error == trouble
    last = (await store.jobs.events(made.id, limit=1))[0]
    assert (last.message, last.level) == ("too few", "error")


async def test_a_job_whose_process_dies_for_ever_is_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MOST_ATTEMPTS", 2)
    firm = await found(store)
    made = await make(firm)
    for _ in range(2):
        assert await store.jobs.claim("home_a") is not None
    assert await store.jobs.claim("home_a") is None
    ended = await store.jobs.find(made.id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert "died 2 times" in ended.error.message


async def test_jobs_end_with_their_organisation(store: Store) -> None:
    firm, other = await found(store), await found(store, name="other")
    running, queued, kept = await make(firm), await make(firm), await make(other)
    held = await store.jobs.claim("home_a")
    assert held is not None
    assert held.id == running.id
    await store.organisations.close(firm.id, 1, actor="test")
    assert not await store.jobs.beat(held)
    taken = await store.jobs.claim("home_a")
    assert taken is not None
    assert taken.id == kept.id
    assert {(await store.jobs.find(one.id)).status for one in (running, queued)} == {"cancelled"}


async def test_events_are_read_from_both_ends_and_do_not_grow_for_ever(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "MOST_EVENTS", 5)
    firm = await found(store)
    made = await make(firm)
    held = await store.jobs.claim("home_a")
    assert held is not None
    for number in range(6):
        await store.jobs.say(held, [Event(message=f"step {number}\0", kind="metrics", data={"loss": number / 2})])
    await store.jobs.say(held, [Event(message="a word", level="warn")])
    newest = await store.jobs.events(made.id, limit=3)
    assert [one.message for one in newest] == ["a word", "step 2", "step 1"]
    assert newest[1].data == {"loss": 1.0}
    assert [one.number for one in await store.jobs.events(made.id, after=newest[-1].number, oldest_first=True)] == [5, 6]
    assert await store.jobs.events(made.id, after=newest[-1].number, limit=1) == (await store.jobs.events(made.id, limit=10))[3:4]
    assert number_of(made.id, event_id(made.id, 12)) == 12
    with pytest.raises(Fault, match="nothing of this job"):
        number_of(made.id, "ftevent-other-12")


async def test_jobs_that_go_take_their_events_along(store: Store) -> None:
    firm = await found(store)
    made = await make(firm)
    async with writing(store.engine).begin() as connection:
        await connection.execute(fine_tuning_jobs.delete().where(fine_tuning_jobs.c.id == made.id))
    assert await query(store, "SELECT count(*) FROM fine_tuning_events") == [(0,)]
