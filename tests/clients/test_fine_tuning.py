"""Fine-tuning jobs as OpenAI's SDK makes, lists, follows and halts them; nobody works on them here but the test."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import openai
import pytest

from conftest import config
from installation import Installation
from shoal.core.identity import OPERATOR
from shoal.mini.card import Card, write_card
from shoal.storage.jobs import Checkpoint, Event, Job, Outcome, Trouble
from shoal.storage.organisations import OrganisationEdit
from shoal.storage.schema import DEFAULT_PROJECT
from shoal.storage.store import Store
from treasury import in_store
from upstream import Upstream

ROWS = [{"messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n}"}]} for n in range(12)]
MOST_JOBS = 40


def lines(rows: list[Any]) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


class Place(NamedTuple):
    """A server, a client of it, and a file to learn from."""

    shoal: Installation
    client: openai.OpenAI
    file: str

    def keep(self, data: bytes, purpose: str = "fine-tune", project: str = DEFAULT_PROJECT) -> str:
        async def act(store: Store) -> str:
            return (await store.files.keep(project, "key", purpose, "rows.jsonl", data)).id

        return in_store(self.shoal, act)

    def refused(self, status: int, **asked: Any) -> Any:
        """The error of a job that must be refused."""
        with pytest.raises(openai.APIStatusError) as error:
            self.client.fine_tuning.jobs.create(**({"model": "minnow", "training_file": self.file} | asked))
        assert error.value.status_code == status, error.value
        return error.value


@pytest.fixture(scope="module")
def place(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("fine-tuning")
    for name, card in {
        "minnow": Card("minnow", "chat", "openvino", 2048),
        "minnow-embed": Card("minnow-embed", "embedding", "embedding", 512),
    }.items():
        (home / "weights" / name).mkdir(parents=True)
        write_card(home / "weights" / name, card)
    shoal = Installation(home, config(upstream).replace("enabled = false", f"enabled = false\nmax_jobs = {MOST_JOBS}")).start()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{shoal.port}/v1", api_key=shoal.key, max_retries=0) as client:
        place = Place(shoal, client, "")
        yield place._replace(file=place.keep(lines(ROWS)))
    assert shoal.stop() == 0
    assert "Traceback" not in shoal.log(), shoal.log()


def test_a_job_is_made_shown_listed_halted_and_called_off(place: Place) -> None:
    jobs = place.client.fine_tuning.jobs
    hyperparameters = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 0.5}
    made = jobs.create(
        model="minnow",
        training_file=place.file,
        validation_file=place.file,
        suffix="help",
        seed=5,
        metadata={"made": "whole"},
        method={"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},  # type: ignore[typeddict-item]
    )
    assert (made.object, made.status, made.model, made.training_file, made.validation_file) == (
        "fine_tuning.job",
        "queued",
        "minnow",
        place.file,
        place.file,
    )
    assert (made.seed, made.organization_id, made.metadata, made.fine_tuned_model) == (5, OPERATOR, {"made": "whole"}, None)
    assert made.hyperparameters.to_dict() == hyperparameters
    assert made.method is not None
    assert made.method.supervised is not None
    assert made.method.supervised.hyperparameters is not None
    assert made.method.supervised.hyperparameters.n_epochs == 2
    assert jobs.retrieve(made.id) == made
    assert jobs.pause(made.id).status == "paused"  # type: ignore[comparison-overlap]
    assert jobs.resume(made.id).status == "queued"
    ended = jobs.cancel(made.id)
    assert (ended.status, ended.finished_at is not None) == ("cancelled", True)
    with pytest.raises(openai.ConflictError):
        jobs.cancel(made.id)
    said = [event.message for event in jobs.list_events(made.id)]
    assert said[0] == "The job was cancelled."
    assert said[-1] == f"Created fine-tuning job: {made.id}"


def test_lists_are_walked_page_by_page_and_by_metadata(place: Place) -> None:
    jobs = place.client.fine_tuning.jobs
    made = [jobs.create(model="minnow", training_file=place.file, metadata={"list": str(n % 2), "of": "five"}).id for n in range(5)]
    assert [job.id for job in jobs.list(limit=2, metadata={"of": "five"})] == made[::-1]
    assert [job.id for job in jobs.list(metadata={"list": "1", "of": "five"})] == [made[3], made[1]]
    events = list(jobs.list_events(made[0], limit=1))
    assert len(events) == 2
    assert {event.object for event in events} == {"fine_tuning.job.event"}
    for job in made:
        jobs.cancel(job)


def test_a_teacher_and_the_log_are_named_by_what_we_add(place: Place) -> None:
    ours = {"type": "distillation", "distillation": {"teacher": "gpt-4o", "target_quality": 0.9, "budget_usd": 1.5}}
    made = place.client.fine_tuning.jobs.create(model="minnow", training_file=place.file, method=ours)  # type: ignore[arg-type]
    shown = made.to_dict()["method"]
    assert shown["type"] == "distillation"  # type: ignore[index]
    assert shown["distillation"]["teacher"] == "gpt-4o"  # type: ignore[index]
    logs = {"type": "distillation", "distillation": {"logs": {"metadata": {"tag": "support"}}}}
    body = {"model": "minnow", "method": logs}
    headers = {"authorization": f"Bearer {place.shoal.key}"}
    answer = httpx.post(f"{place.client.base_url}fine_tuning/jobs", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.json()["training_file"] is None
    for job in (made.id, answer.json()["id"]):
        place.client.fine_tuning.jobs.cancel(job)


def test_what_is_wrong_is_refused_by_its_name(place: Place) -> None:
    few = place.keep(lines([*ROWS[:9], {"messages": []}, {"messages": [{"role": "user", "content": "unanswered"}]}]))
    other = place.keep(lines(ROWS), "batch")
    foreign = place.keep(lines(ROWS), project="proj_other")
    for asked, param, text in (
        ({"training_file": "file-none"}, "training_file", "There is no file 'file-none'"),
        ({"training_file": foreign}, "training_file", f"There is no file '{foreign}'"),
        ({"training_file": other}, "training_file", "has the purpose 'batch'"),
        ({"training_file": few}, "training_file", "9 rows to learn from, and at least 10 are needed. It holds 11 lines. Line 10: it asks"),
        ({"validation_file": "file-none"}, "validation_file", "There is no file"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations", "no integrations"),
        ({"method": {"type": "dpo"}}, "method.type", "'dpo' are not possible"),
        ({"method": {"type": "reinforcement"}}, "method.type", "'reinforcement' are not possible"),
        ({"method": {"type": "distillation", "distillation": {"teachr": "x"}}}, "method.distillation.teachr", "no parameter"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", ""),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", ""),
        ({"seed": -1}, "seed", ""),
        ({"suffix": "x" * 65}, "suffix", ""),
    ):
        error = place.refused(400, **asked)
        assert error.param == param, (asked, error)
        assert text in str(error), (asked, error)
    for model in ("gpt-4o-mini", "minnow-embed"):
        error = place.refused(404, model=model)
        assert (error.param, error.code) == ("model", "model_not_found")
        assert "students can be made of minnow" in str(error)


def test_a_project_has_so_many_open_jobs_and_sees_no_others(place: Place) -> None:
    async def found(store: Store) -> str:
        firm = await store.organisations.create(OrganisationEdit(name="firm", prepaid=False), actor="test")
        (project,) = await store.projects.list_of(firm.id)
        await store.files.keep(project.id, "key", "fine-tune", "rows.jsonl", lines(ROWS))
        return (await store.keys.make(firm.id, project.id, "app"))[1]

    theirs = place.client.with_options(api_key=in_store(place.shoal, found))
    mine = place.client.fine_tuning.jobs.create(model="minnow", training_file=place.file)
    assert list(theirs.fine_tuning.jobs.list()) == []
    for act in ("retrieve", "cancel", "pause", "resume", "list_events"):
        with pytest.raises(openai.NotFoundError):
            getattr(theirs.fine_tuning.jobs, act)(mine.id)
    open_jobs = [mine.id]
    with pytest.raises(openai.RateLimitError, match=f"may have {MOST_JOBS}"):
        for _ in range(MOST_JOBS):
            open_jobs.append(place.client.fine_tuning.jobs.create(model="minnow", training_file=place.file).id)
    for job in open_jobs:
        place.client.fine_tuning.jobs.cancel(job)


def work(place: Place, job_id: str, outcome: Outcome) -> Job:
    """What a trainer does."""

    async def act(store: Store) -> Job:
        job = await store.jobs.claim("home_test", job_id)
        assert job is not None
        data = {"stage": "train", "step": 1, "total_steps": 2, "loss": 0.5}
        await store.jobs.say(
            job, [Event(message="train: 1/2", kind="metrics", data=data)], 9_000_000, [Checkpoint(step=1, metrics={"loss": 0.5})]
        )
        assert await store.jobs.finish(job, outcome)
        return await store.jobs.find(job.id)

    return in_store(place.shoal, act)


def test_a_job_that_came_to_its_end_names_its_model_and_its_checkpoints(place: Place) -> None:
    jobs = place.client.fine_tuning.jobs
    made = jobs.create(model="minnow", training_file=place.file)
    work(place, made.id, Outcome(status="succeeded", fine_tuned_model="ft:minnow:operator:x:1", trained_tokens=77, result_files=["file-r"]))
    done = jobs.retrieve(made.id)
    assert (done.status, done.fine_tuned_model, done.trained_tokens, done.result_files) == (
        "succeeded",
        "ft:minnow:operator:x:1",
        77,
        ["file-r"],
    )
    (checkpoint,) = jobs.checkpoints.list(made.id)
    assert (checkpoint.step_number, checkpoint.metrics.train_loss, checkpoint.fine_tuning_job_id) == (1, 0.5, made.id)
    assert checkpoint.fine_tuned_model_checkpoint == "ft:minnow:operator:x:1"
    events = list(jobs.list_events(made.id))
    assert [event.type for event in events] == ["message", "message", "metrics", "message", "message"]
    assert events[2].data == {"stage": "train", "step": 1, "total_steps": 2, "loss": 0.5}


def test_events_are_followed_as_they_come(place: Place) -> None:
    jobs = place.client.fine_tuning.jobs
    made = jobs.create(model="minnow", training_file=place.file)
    url = f"{place.client.base_url}fine_tuning/jobs/{made.id}/events?stream=true"
    headers = {"authorization": f"Bearer {place.shoal.key}"}
    with httpx.stream("GET", url, headers=headers, timeout=30, trust_env=False) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = (line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: "))
        assert json.loads(next(told))["message"] == f"Created fine-tuning job: {made.id}"
        work(place, made.id, Outcome(status="failed", error=Trouble("disk_full", "no room", None)))
        rest = list(told)
    assert rest[-1] == "[DONE]"
    last = json.loads(rest[-2])
    assert (last["message"], last["level"]) == ("no room", "error")
    failed = jobs.retrieve(made.id)
    assert failed.error is not None
    assert (failed.status, failed.error.code, failed.error.message) == ("failed", "disk_full", "no room")
    with httpx.stream("GET", f"{url}&after={last['id']}", headers=headers, timeout=30, trust_env=False) as answer:
        assert list(answer.iter_lines()) == ["data: [DONE]", ""]
