"""Jobs that make a student: what was wished, how far each is, what was said of it, and who works on it.

A job is worked on by one process at a time, its holder, who says every few seconds that it lives; when it no longer does, the next one
takes the job up. Every taking has a number, the attempt: whoever comes late with an earlier one changes nothing. To cancel or pause is
to change the state, which the holder sees by that its attempt counts no more.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shoal.core.errors import Fault
from shoal.storage.database import gate, writing
from shoal.storage.identifiers import new_id, now_ms
from shoal.storage.job_tables import fine_tuning_checkpoints, fine_tuning_events, fine_tuning_jobs
from shoal.storage.pages import cut
from shoal.storage.schema import organisations, projects

Status = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
Level = Literal["info", "warn", "error"]

ENDED: Final = ("succeeded", "failed", "cancelled")
DEAD_AFTER_MS: Final = 60_000
"""A holder that has said nothing for so long counts as dead."""

MOST_EVENTS: Final = 5_000
"""Of one job; of what is said beyond them only the last word is kept."""

MOST_ATTEMPTS: Final = 20
"""A job whose process dies so often is ended: it would die for ever."""

_ID, _EVENT, _CHECKPOINT = "ftjob-", "ftevent-", "ftckpt-"
_jobs, _events, _checkpoints = fine_tuning_jobs.c, fine_tuning_events.c, fine_tuning_checkpoints.c


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is to do. `method` is OpenAI's, or ours of the same shape; `key_id` is whose terms bind what the job asks of models."""

    org_id: str
    project_id: str
    key_id: str
    model: str
    seed: int
    training_file: str | None = None
    validation_file: str | None = None
    suffix: str | None = None
    method: dict[str, Any] = {}
    metadata: dict[str, str] = {}


class Trouble(msgspec.Struct, frozen=True):
    """Why a job failed, as OpenAI shows it."""

    code: str
    message: str
    param: str | None = None


class Job(Wish, frozen=True, kw_only=True):
    """One job. Times are milliseconds since 1970. `attempt` counts how often it was taken up."""

    id: str
    created_at_ms: int
    status: Status
    attempt: int = 0
    holder: str | None = None
    renewed_at_ms: int | None = None
    estimated_finish_ms: int | None = None
    finished_at_ms: int | None = None
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    result_files: list[str] = []
    error: Trouble | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in ENDED


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was said of a job; `data` of kind "metrics" are its figures. `number` and `at_ms` are given when it is stored."""

    message: str
    level: Level = "info"
    kind: Literal["message", "metrics"] = "message"
    data: dict[str, Any] = {}
    number: int = 0
    at_ms: int = 0


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a job's student that could be taken up again."""

    step: int
    metrics: dict[str, float] = {}
    at_ms: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended."""

    status: Literal["succeeded", "failed"]
    fine_tuned_model: str | None = None
    trained_tokens: int | None = None
    result_files: list[str] = []
    error: Trouble | None = None


class Jobs:
    """The jobs of an installation. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(self, wish: Wish, *, most_open: int) -> Job:
        """Queue a job. Errors: Fault rate_limited, where the project has `most_open` that have not ended."""
        job = Job(**msgspec.structs.asdict(wish), id=new_id(_ID), created_at_ms=now_ms(), status="queued")
        mine = (_jobs.project_id == wish.project_id) & _jobs.status.not_in(ENDED)
        async with writing(self._engine).begin() as connection:
            await gate(connection, "jobs")
            count = (await connection.execute(select(func.count()).where(mine))).scalar_one()
            if count >= most_open:
                text = f"This project has {count} fine-tuning jobs that have not ended, and may have {most_open}: wait, or cancel one."
                raise Fault("rate_limited", text, retry_after_s=60)
            await connection.execute(insert(fine_tuning_jobs).values(**_row(job)))
            await _say(connection, job.id, [Event(message=f"Created fine-tuning job: {job.id}"), Event(message="The job is queued.")])
        return job

    async def find(self, job_id: str, project_id: str | None = None) -> Job:
        """A job, of this project if one is named. Errors: Fault not_found."""
        async with self._engine.connect() as connection:
            return await _find(connection, job_id, project_id)

    async def list_of(
        self, project_id: str | None, *, after: str | None = None, limit: int | None = None, metadata: Mapping[str, str] | None = None
    ) -> list[Job]:
        """A project's jobs, or everyone's, newest first: those before the job `after`, with all of these metadata. Errors: Fault."""
        found: list[Job] = []
        async with self._engine.connect() as connection:
            first = None if after is None else await _find(connection, after, project_id)
            mark = None if first is None else (first.created_at_ms, first.id)
            query = select(fine_tuning_jobs) if project_id is None else select(fine_tuning_jobs).where(_jobs.project_id == project_id)
            query = cut(query, (_jobs.created_at_ms, _jobs.id), mark, None if metadata else limit, newest_first=True)
            for row in (await connection.execute(query)).mappings():
                job = _job({**row})
                if metadata is None or metadata.items() <= job.metadata.items():
                    found.append(job)
        return found if limit is None else found[:limit]

    async def cancel(self, job_id: str, project_id: str | None) -> Job:
        """Call a job off. Errors: Fault not_found, and conflict where it has ended."""
        return await self._change(job_id, project_id, ("queued", "running", "paused"), "cancelled", "The job was cancelled.")

    async def pause(self, job_id: str, project_id: str | None) -> Job:
        """Halt a job, whose last checkpoint stays. Errors: Fault not_found, conflict."""
        return await self._change(job_id, project_id, ("queued", "running"), "paused", "The job is paused.")

    async def resume(self, job_id: str, project_id: str | None) -> Job:
        """Let a paused job go on. Errors: Fault not_found, conflict."""
        return await self._change(job_id, project_id, ("paused",), "queued", "The job is queued again.")

    async def _change(self, job_id: str, project_id: str | None, before: Sequence[Status], after: Status, message: str) -> Job:
        async with writing(self._engine).begin() as connection:
            job = await _find(connection, job_id, project_id, lock=True)
            if job.status not in before:
                wanted = {"cancelled": "cancelled", "paused": "paused", "queued": "resumed"}[after]
                raise Fault("conflict", f"The job {job.id} is {job.status}: it cannot be {wanted}.", param="fine_tuning_job_id")
            ending = {"finished_at_ms": now_ms()} if after in ENDED else {}
            values = {"status": after, "holder": None, "estimated_finish_ms": None, **ending}
            await connection.execute(update(fine_tuning_jobs).where(_jobs.id == job.id).values(**values))
            await _say(connection, job.id, [Event(message=message)])
            return await _find(connection, job_id, project_id)

    # -- those who do the work

    async def claim(self, holder: str, job_id: str | None = None) -> Job | None:
        """Take up the oldest job that waits, or whose holder is dead; None where there is none. Whoever claims has nothing else running.

        Jobs of closed organisations and of archived projects are cancelled, and of those that died too often the error is said.
        """
        now = now_ms()
        waiting = _jobs.status == "queued"
        left = (_jobs.status == "running") & ((_jobs.holder == holder) | (_jobs.renewed_at_ms < now - DEAD_AFTER_MS))
        where = (waiting | left) if job_id is None else (waiting | left) & (_jobs.id == job_id)
        query = select(fine_tuning_jobs).where(where).order_by(_jobs.created_at_ms, _jobs.id).limit(1)
        async with self._engine.connect() as connection:  # nothing is locked while there is nothing to do
            if (await connection.execute(query)).first() is None:
                return None
        async with writing(self._engine).begin() as connection:
            await gate(connection, "jobs")
            while (row := (await connection.execute(query.with_for_update())).mappings().first()) is not None:
                job = _job({**row})
                if await _refuse(connection, job):
                    continue
                taken = {"status": "running", "holder": holder, "renewed_at_ms": now, "attempt": job.attempt + 1}
                await connection.execute(update(fine_tuning_jobs).where(_jobs.id == job.id).values(**taken))
                if job.status == "running":
                    text = (
                        f"The process that worked on this job ended: it is taken up from its last checkpoint (attempt {job.attempt + 1})."
                    )
                    await _say(connection, job.id, [Event(message=text, level="warn")])
                return await _find(connection, job.id, None)
        return None

    async def beat(self, job: Job) -> bool:
        """Say that the holder lives; False: the job is its no more, and whatever works on it must end."""
        alive = select(organisations.c.id).join(projects, projects.c.org_id == organisations.c.id)
        alive = alive.where(projects.c.id == job.project_id, organisations.c.closed_at_ms.is_(None), projects.c.archived_at_ms.is_(None))
        async with writing(self._engine, durable=False).begin() as connection:
            if (await connection.execute(alive)).first() is None:
                await _end(connection, job, "cancelled", "The job was cancelled: its organisation is closed, or its project archived.")
                return False
            beat = update(fine_tuning_jobs).where(_held(job)).values(renewed_at_ms=now_ms())
            return bool((await connection.execute(beat)).rowcount)

    async def is_held(self, job: Job) -> bool:
        """The same question without saying anything: it locks nothing."""
        async with self._engine.connect() as connection:
            return (await connection.execute(select(_jobs.id).where(_held(job)))).first() is not None

    async def say(self, job: Job, events: Sequence[Event], finish_ms: int | None = None, checkpoints: Sequence[Checkpoint] = ()) -> bool:
        """What the holder has to tell: events, when it believes to be done, and states that it saved. False: the job is its no more."""
        async with writing(self._engine).begin() as connection:
            values = {"renewed_at_ms": now_ms()} | ({} if finish_ms is None else {"estimated_finish_ms": finish_ms})
            if not (await connection.execute(update(fine_tuning_jobs).where(_held(job)).values(**values))).rowcount:
                return False
            await _say(connection, job.id, events)
            for one in checkpoints:
                same = (_checkpoints.job_id == job.id) & (_checkpoints.step == one.step)
                await connection.execute(delete(fine_tuning_checkpoints).where(same))
                row = {"job_id": job.id, "step": one.step, "at_ms": now_ms(), "metrics": _text(one.metrics)}
                await connection.execute(insert(fine_tuning_checkpoints).values(**row))
            return True

    async def finish(self, job: Job, outcome: Outcome) -> bool:
        """The job has come to its end. False: it is its holder's no more, and stays as it is."""
        async with writing(self._engine).begin() as connection:
            values = msgspec.structs.asdict(outcome) | {"finished_at_ms": now_ms(), "holder": None, "estimated_finish_ms": None}
            values |= {"result_files": _text(outcome.result_files), "error": None if outcome.error is None else _text(outcome.error)}
            if not (await connection.execute(update(fine_tuning_jobs).where(_held(job)).values(**values))).rowcount:
                return False
            if outcome.error is not None:
                await _say(connection, job.id, [Event(message=outcome.error.message, level="error")])
            else:
                await _say(connection, job.id, [Event(message=f"New fine-tuned model created: {outcome.fine_tuned_model}")])
                await _say(connection, job.id, [Event(message="The job has successfully completed")])
            return True

    async def release(self, job: Job) -> None:
        """Its holder stops in good order: whoever comes next takes it up."""
        async with writing(self._engine).begin() as connection:
            values = {"status": "queued", "holder": None, "attempt": job.attempt - 1}  # no death, none that counts
            if (await connection.execute(update(fine_tuning_jobs).where(_held(job)).values(**values))).rowcount:
                await _say(connection, job.id, [Event(message="The trainer stops: the job goes on from its last checkpoint later.")])

    # -- those who follow

    async def events(self, job_id: str, *, after: int | None = None, limit: int | None = None, oldest_first: bool = False) -> list[Event]:
        """What was said of a job, newest first, before the event `after`; or oldest first, and behind it."""
        mark = None if after is None else (after,)
        query = select(fine_tuning_events).where(_events.job_id == job_id)
        query = cut(query, (_events.number,), mark, limit, newest_first=not oldest_first)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings()
            shown = ({**row, "data": msgspec.json.decode(row["data"])} for row in rows)
            return [Event(**{name: value for name, value in row.items() if name != "job_id"}) for row in shown]

    async def checkpoints(self, job_id: str, *, after: int | None = None, limit: int | None = None) -> list[Checkpoint]:
        """The states of a job that were saved, newest first, before the step `after`."""
        query = select(_checkpoints.step, _checkpoints.metrics, _checkpoints.at_ms).where(_checkpoints.job_id == job_id)
        query = cut(query, (_checkpoints.step,), None if after is None else (after,), limit, newest_first=True)
        async with self._engine.connect() as connection:
            rows = (await connection.execute(query)).mappings()
            return [Checkpoint(**{**row, "metrics": msgspec.json.decode(row["metrics"])}) for row in rows]


def event_id(job_id: str, number: int) -> str:
    """What an event is called: whoever knows its job can tell it from its number."""
    return f"{_EVENT}{job_id.removeprefix(_ID)}-{number}"


def checkpoint_id(job_id: str, step: int) -> str:
    """The same of a checkpoint and its step."""
    return f"{_CHECKPOINT}{job_id.removeprefix(_ID)}-{step}"


def number_of(job_id: str, name: str) -> int:
    """The number behind the id of a job's event or checkpoint. Errors: Fault invalid_value."""
    for beginning in (event_id(job_id, 0)[:-1], checkpoint_id(job_id, 0)[:-1]):
        number = name.removeprefix(beginning)
        if number != name and number.isascii() and number.isdigit() and len(number) < 16:
            return int(number)
    raise Fault("invalid_value", f"{name[:64]!r} is nothing of this job's.", param="after")


async def _find(connection: AsyncConnection, job_id: str, project_id: str | None, *, lock: bool = False) -> Job:
    query = select(fine_tuning_jobs).where(_jobs.id == job_id)
    if project_id is not None:
        query = query.where(_jobs.project_id == project_id)
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().first()
    if row is None:
        raise Fault("not_found", f"Could not find fine tune: {job_id[:64]}", param="fine_tuning_job_id")
    return _job({**row})


async def _refuse(connection: AsyncConnection, job: Job) -> bool:
    """Whether a job that could be taken up must not be: then it has ended."""
    query = select(organisations.c.closed_at_ms, projects.c.archived_at_ms).join(projects, projects.c.org_id == organisations.c.id)
    place = (await connection.execute(query.where(projects.c.id == job.project_id))).first()
    if place is None or any(place):
        await _end(connection, job, "cancelled", "The job was cancelled: its organisation is closed, or its project archived.")
        return True
    if job.attempt >= MOST_ATTEMPTS:
        text = f"The process that works on this job died {job.attempt} times: see the server's log, and make another job."
        await _end(connection, job, "failed", text, Trouble("internal_error", text))
        return True
    return False


async def _end(connection: AsyncConnection, job: Job, status: Status, message: str, error: Trouble | None = None) -> None:
    values = {"status": status, "holder": None, "finished_at_ms": now_ms(), "error": None if error is None else _text(error)}
    where = (_jobs.id == job.id) & (_jobs.attempt == job.attempt) & _jobs.status.not_in(ENDED)
    if (await connection.execute(update(fine_tuning_jobs).where(where).values(**values))).rowcount:
        await _say(connection, job.id, [Event(message=message, level="warn" if error is None else "error")])


def _held(job: Job) -> ColumnElement[bool]:
    return (_jobs.id == job.id) & (_jobs.attempt == job.attempt) & (_jobs.status == "running")


async def _say(connection: AsyncConnection, job_id: str, events: Sequence[Event]) -> None:
    """Add to what was said; the job's row is locked, or new, so that numbers follow each other."""
    if not events:
        return
    query = select(func.coalesce(func.max(_events.number), 0)).where(_events.job_id == job_id)
    last = (await connection.execute(query)).scalar_one()
    if last + len(events) > MOST_EVENTS:
        events = [one for one in events if one.kind == "message"][-100:]
    now = now_ms()
    rows = [
        {"job_id": job_id, "number": number, "at_ms": now, "level": one.level, "kind": one.kind, "data": _text(one.data)}
        | {"message": one.message.replace("\0", "")[:4000]}
        for number, one in enumerate(events, last + 1)
    ]
    if rows:
        await connection.execute(insert(fine_tuning_events), rows)


_TEXTS = ("method", "metadata", "result_files", "error")


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _row(job: Job) -> dict[str, Any]:
    row = msgspec.structs.asdict(job)
    return row | {name: None if row[name] is None else _text(row[name]) for name in _TEXTS}


def _job(row: dict[str, Any]) -> Job:
    read = {name: None if row[name] is None else msgspec.json.decode(row[name]) for name in _TEXTS}
    error = read.pop("error")
    return Job(**row | read | {"error": None if error is None else Trouble(**error)})
