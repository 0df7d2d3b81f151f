"""Fine-tuning jobs as OpenAI's API has them, of the project whose key asks: made, listed, followed, halted and called off.

https://platform.openai.com/docs/api-reference/fine-tuning. `method` may be "distillation", too (core/fine_tuning.py). What is not possible
here is refused by its name. Events can also be followed as they come, with `stream=true`, as older clients do.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.params import JSONBody
from litestar.response import Stream
from msgspec import Meta

from shoal.control.callers.given import GivenCaller
from shoal.control.callers.lists import After, Limit, ListOf, list_of, read_labels
from shoal.control.callers.training_file import LEAST_ROWS, check_rows
from shoal.control.given import GivenOptions, GivenStore
from shoal.control.parameters import Id
from shoal.control.request import describe
from shoal.core.chat import Metadata
from shoal.core.errors import Fault
from shoal.core.fine_tuning import Distillation, Hyperparameters, Method, Supervised
from shoal.storage.jobs import Checkpoint, Event, Job, Wish, checkpoint_id, event_id, number_of
from shoal.storage.store import Store

_LOOK_S, _KEEP_ALIVE_S = 0.5, 15.0
_LONGEST_S = 840.0
"""Of a stream of events; whoever still listens asks again, `after` the last."""


class NewJob(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be made."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    training_file: Annotated[str, Meta(max_length=64)] | None = None
    validation_file: Annotated[str, Meta(max_length=64)] | None = None
    suffix: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    seed: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    method: dict[str, Any] | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: list[Any] | None = None
    metadata: Metadata | None = None


@post("/fine_tuning/jobs", status_code=200)
async def create_job(data: JSONBody[NewJob], caller: GivenCaller, store: GivenStore, options: GivenOptions) -> dict[str, Any]:
    """Make a job."""
    if data.integrations:
        raise Fault("unsupported_parameter", "There are no integrations here: leave 'integrations' out.", param="integrations")
    method = _read_method(data)
    await asyncio.to_thread(options.require_base, data.model)
    logs = method.distillation.logs if method.type == "distillation" and method.distillation else None
    if (data.training_file is None) == (logs is None):
        raise Fault("missing_parameter", "Say what the job learns from: 'training_file' is the id of a file.", param="training_file")
    taught = method.type == "distillation" and bool(method.distillation and method.distillation.teacher)
    for param, file_id, least in (("training_file", data.training_file, LEAST_ROWS), ("validation_file", data.validation_file, 1)):
        if file_id is not None:
            content = await _read_file(store, caller.project_id, file_id, param)
            await asyncio.to_thread(check_rows, content, param, taught=taught, least=least)
    wish = Wish(
        org_id=caller.org_id,
        project_id=caller.project_id,
        key_id=caller.key_id,
        model=data.model,
        seed=secrets.randbelow(2**31) if data.seed is None else data.seed,
        training_file=data.training_file,
        validation_file=data.validation_file,
        suffix=data.suffix,
        method=msgspec.to_builtins(method),
        metadata=dict(data.metadata or {}),
    )
    return show(await store.jobs.create(wish, most_open=options.most_jobs))


@get("/fine_tuning/jobs")
async def list_jobs(
    request: Request[Any, Any, Any], caller: GivenCaller, store: GivenStore, after: After = None, limit: Limit = 20
) -> ListOf:
    """List jobs, newest first, by `metadata[NAME]=VALUE`."""
    jobs = await store.jobs.list_of(caller.project_id, after=after, limit=limit + 1, metadata=read_labels(request) or None)
    shown = jobs[:limit]
    return list_of([show(job) for job in shown], [job.id for job in shown], len(jobs) > limit)


@get("/fine_tuning/jobs/{job_id:str}")
async def get_job(job_id: Id, caller: GivenCaller, store: GivenStore) -> dict[str, Any]:
    """Show a job."""
    return show(await store.jobs.find(job_id, caller.project_id))


@post("/fine_tuning/jobs/{job_id:str}/cancel", status_code=200)
async def cancel_job(job_id: Id, caller: GivenCaller, store: GivenStore) -> dict[str, Any]:
    """Call a job off: what works on it ends within two seconds."""
    return show(await store.jobs.cancel(job_id, caller.project_id))


@post("/fine_tuning/jobs/{job_id:str}/pause", status_code=200)
async def pause_job(job_id: Id, caller: GivenCaller, store: GivenStore) -> dict[str, Any]:
    """Halt a job."""
    return show(await store.jobs.pause(job_id, caller.project_id))


@post("/fine_tuning/jobs/{job_id:str}/resume", status_code=200)
async def resume_job(job_id: Id, caller: GivenCaller, store: GivenStore) -> dict[str, Any]:
    """Let a job go on, from its last checkpoint."""
    return show(await store.jobs.resume(job_id, caller.project_id))


@get("/fine_tuning/jobs/{job_id:str}/events")
async def list_events(
    job_id: Id, caller: GivenCaller, store: GivenStore, after: After = None, limit: Limit = 20, stream: bool = False
) -> Response[Any]:
    """List what was said of a job, newest first; or, with `stream=true`, follow it from its beginning, or from `after`, to its end."""
    job = await store.jobs.find(job_id, caller.project_id)
    mark = None if after is None else number_of(job.id, after)
    if stream:
        return Stream(_follow(store, job.id, mark or 0), media_type="text/event-stream")
    events = await store.jobs.events(job.id, after=mark, limit=limit + 1)
    shown = [show_event(job.id, event) for event in events[:limit]]
    return Response(list_of(shown, [event["id"] for event in shown], len(events) > limit))


@get("/fine_tuning/jobs/{job_id:str}/checkpoints")
async def list_checkpoints(job_id: Id, caller: GivenCaller, store: GivenStore, after: After = None, limit: Limit = 10) -> ListOf:
    """List the states of a job's student that were saved, newest first."""
    job = await store.jobs.find(job_id, caller.project_id)
    mark = None if after is None else number_of(job.id, after)
    found = await store.jobs.checkpoints(job.id, after=mark, limit=limit + 1)
    shown = [show_checkpoint(job, one) for one in found[:limit]]
    return list_of(shown, [one["id"] for one in shown], len(found) > limit)


HANDLERS = [create_job, list_jobs, get_job, cancel_job, pause_job, resume_job, list_events, list_checkpoints]


def show(job: Job) -> dict[str, Any]:
    """A job as OpenAI shows it."""
    method = msgspec.convert(job.method, Method)
    return {
        "object": "fine_tuning.job",
        "id": job.id,
        "created_at": job.created_at_ms // 1000,
        "finished_at": _seconds(job.finished_at_ms),
        "estimated_finish": _seconds(job.estimated_finish_ms),
        "status": job.status,
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "organization_id": job.org_id,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "result_files": job.result_files,
        "trained_tokens": job.trained_tokens,
        "seed": job.seed,
        "suffix": job.suffix,
        "hyperparameters": msgspec.to_builtins(method.hyperparameters),
        "method": {"type": method.type, method.type: msgspec.to_builtins(method.plan)},
        "integrations": [],
        "metadata": job.metadata,
        "error": None if job.error is None else msgspec.to_builtins(job.error),
    }


def show_event(job_id: str, event: Event) -> dict[str, Any]:
    """One event, as there."""
    return {
        "object": "fine_tuning.job.event",
        "id": event_id(job_id, event.number),
        "created_at": event.at_ms // 1000,
        "level": event.level,
        "message": event.message,
        "type": event.kind,
        "data": event.data or None,
    }


def show_checkpoint(job: Job, one: Checkpoint) -> dict[str, Any]:
    """One checkpoint, as there. What it holds is served only once the job has come to its end."""
    names = {"loss": "train_loss", "dev_loss": "valid_loss"}
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": checkpoint_id(job.id, one.step),
        "created_at": one.at_ms // 1000,
        "fine_tuned_model_checkpoint": job.fine_tuned_model or "",
        "fine_tuning_job_id": job.id,
        "step_number": one.step,
        "metrics": {"step": one.step} | {names.get(name, name): value for name, value in one.metrics.items()},
    }


def _seconds(at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms // 1000


def _read_method(data: NewJob) -> Method:
    """How the student is to be made. Errors: Fault that names what is wrong with it."""
    asked = dict(data.method or {})
    kind = asked.get("type", "supervised")
    if kind in ("dpo", "reinforcement"):
        text = f"Jobs of type {kind!r} are not possible here; 'supervised' and 'distillation' are."
        raise Fault("unsupported_parameter", text, param="method.type")
    try:
        method = msgspec.convert(asked, Method)
    except msgspec.ValidationError as error:
        fault = describe(str(error))
        param = f"method.{fault.param}" if fault.param else "method"
        raise Fault(fault.kind, fault.message.replace(f"{fault.param}", param, 1) if fault.param else fault.message, param=param) from None
    if data.hyperparameters is None:
        return method
    if method.type == "supervised" and method.supervised is None:  # where they were said before there was a method
        return msgspec.structs.replace(method, supervised=Supervised(hyperparameters=data.hyperparameters))
    if method.type == "distillation" and method.distillation is None:
        return msgspec.structs.replace(method, distillation=Distillation(hyperparameters=data.hyperparameters))
    raise Fault("invalid_value", "'hyperparameters' and the method's own exclude each other.", param="hyperparameters")


async def _read_file(store: Store, project_id: str, file_id: str, param: str) -> bytes:
    """The content of a file to learn from. Errors: Fault, which names the parameter."""
    file = await store.files.find(project_id, file_id)
    if file is None:
        raise Fault("invalid_value", f"There is no file {file_id!r} in this project: upload one with purpose 'fine-tune'.", param=param)
    if file.purpose != "fine-tune":
        text = f"The file {file_id!r} has the purpose {file.purpose!r}: upload it with purpose 'fine-tune'."
        raise Fault("invalid_value", text, param=param)
    return await store.files.read(project_id, file_id)


async def _follow(store: Store, job_id: str, last: int) -> AsyncIterator[bytes]:
    """Server-sent events until the job has ended, or as long as a stream may be."""
    give_up = time.monotonic() + _LONGEST_S
    said = time.monotonic()
    while time.monotonic() < give_up:
        ended = (await store.jobs.find(job_id)).ended
        for event in await store.jobs.events(job_id, after=last, oldest_first=True):
            last, said = event.number, time.monotonic()
            yield b"data: " + msgspec.json.encode(show_event(job_id, event)) + b"\n\n"
        if ended:
            yield b"data: [DONE]\n\n"
            return
        if time.monotonic() > said + _KEEP_ALIVE_S:
            said = time.monotonic()
            yield b": still at work\n\n"
        await asyncio.sleep(_LOOK_S)
