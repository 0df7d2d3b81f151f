"""`shoal distil`: from traffic, or from a file, to a small model of one's own that answers the routine part of it.

Jobs live in the store. Where this home's trainer runs, as it does with `shoal serve`, that one works on them; elsewhere `run` works
on its own job itself.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shoal.cli.at_store import ACTOR, AS_JSON, CONFIG, ORG, act, describe, find_org, find_project, guarded, show
from shoal.cli.suggest import suggest

if TYPE_CHECKING:
    from shoal.settings import Settings
    from shoal.storage.jobs import Job
    from shoal.storage.projects import Project
    from shoal.storage.store import Store

app = typer.Typer(help="Teach a small model what a large one answers.", no_args_is_help=True)
PROJECT = typer.Option(None, "--project", metavar="NAME_OR_ID", help="The project; its organisation's first, without.", show_default=False)
app.command("suggest")(suggest)
JOB = typer.Argument(metavar="JOB", help="The job's id.")
FROM_LOGS = typer.Option(
    None, "--from-logs", metavar="TAGS", help="Learn from stored completions: tag=support,team=a; from all, where it is empty."
)
FILE = typer.Option(None, "--file", exists=True, dir_okay=False, help="Learn from a file of OpenAI's fine-tuning format.")
VALIDATION = typer.Option(None, "--validation-file", exists=True, dir_okay=False, help="Rows to judge by, and not to learn from.")
TARGET = typer.Option(0.95, min=0, max=1, help="Publish only a student that is surely this good, as a share of its teacher.")
KEY = typer.Option(None, "--key", metavar="NAME_OR_ID", help="Whose terms bind the teacher's calls. [default: this machine's own]")
_COLUMNS = ("id", "status", "model", "fine_tuned_model", "created_at", "finished_at", "error")


@app.command("run")
def run(
    from_logs: str | None = FROM_LOGS,
    file: Path | None = FILE,
    validation: Path | None = VALIDATION,
    teacher: str = typer.Option("", help="The model of the gateway that answers what has no answer yet."),
    target_quality: float = TARGET,
    suffix: str | None = typer.Option(None, help="What to call it: ft:minnow:ORG:SUFFIX:1."),
    base: str = typer.Option("minnow", help="The model to begin with, where one is trained."),
    students: str | None = typer.Option(None, help="Which kinds to try, with commas; all that fit, without."),
    seed: int | None = typer.Option(None, min=0, help="The same seed gives the same student."),
    epochs: int | None = typer.Option(None, min=1, max=50, help="How often each row is learnt; by itself, without."),
    budget: float | None = typer.Option(None, min=0, metavar="USD", help="What the teacher and the judge may cost."),
    judge: str = typer.Option("", metavar="MODEL", help="The model of the gateway that judges, where answers are texts."),
    org: str = ORG,
    project: str | None = PROJECT,
    key: str | None = KEY,
    url: str = typer.Option("http://127.0.0.1:8400", envvar="SHOAL_URL", help="The server that the teacher is asked at."),
    config: Path | None = CONFIG,
    as_json: bool = AS_JSON,
) -> None:
    """Make a student, and follow how it is made; its name is printed, alone, on stdout."""
    import secrets

    import msgspec

    from shoal.core.fine_tuning import Distillation, Hyperparameters, Logs, Method
    from shoal.settings import load
    from shoal.storage.jobs import Wish

    if (from_logs is None) == (file is None):
        raise typer.BadParameter("say what to learn from: --from-logs, or --file")
    plan = Distillation(
        teacher=teacher,
        target_quality=target_quality,
        hyperparameters=Hyperparameters(n_epochs=epochs or "auto"),
        budget_usd=budget,
        judge=judge,
        students=tuple(students.split(",")) if students else (),
        logs=None if from_logs is None else Logs(metadata=_labels(from_logs)),
    )
    method = Method("distillation", distillation=plan)

    async def work(store: "Store") -> "Job":
        place = await find_project(store, await find_org(store, org), project)
        key_id, settings = await _find_key(store, place, key), load(config)
        wish = Wish(
            org_id=place.org_id,
            project_id=place.id,
            key_id=key_id,
            model=base,
            seed=secrets.randbelow(2**31) if seed is None else seed,
            training_file=await _keep_file(store, place, key_id, file),
            validation_file=await _keep_file(store, place, key_id, validation),
            suffix=suffix,
            method=msgspec.to_builtins(method),
        )
        return await _work(store, await store.jobs.create(wish, most_open=settings.distil.max_jobs), settings, url, as_json)

    _report_end(_interruptible(lambda: act(config, work)), as_json)


@app.command("jobs")
def list_jobs(
    org: str | None = typer.Option(None, "--org", metavar="NAME_OR_ID", help="One organisation alone."),
    config: Path | None = CONFIG,
    as_json: bool = AS_JSON,
) -> None:
    """List jobs, newest first."""

    async def run(store: "Store") -> "list[Job]":
        org_id = None if org is None else (await find_org(store, org)).id
        return [job for job in await store.jobs.list_of(None) if org_id in (None, job.org_id)]

    rows = [_describe(job) for job in act(config, run)]
    shown = rows if as_json else [row | {"error": (row["error"] or {}).get("message")} for row in rows]
    show("jobs", shown, _COLUMNS, as_json)


@app.command("follow")
def follow(job_id: str = JOB, config: Path | None = CONFIG, as_json: bool = AS_JSON) -> None:
    """Follow a job to its end."""
    from shoal.cli.following import follow, showing

    async def run(store: "Store") -> "Job":
        with showing(as_json) as shown:
            return await follow(store, await store.jobs.find(job_id), shown)

    _report_end(_interruptible(lambda: act(config, run)), as_json)


@app.command("cancel")
def cancel(job_id: str = JOB, config: Path | None = CONFIG) -> None:
    """Call a job off."""
    act(config, lambda store: store.jobs.cancel(job_id, None))
    typer.echo(f"The job {job_id} is cancelled.", err=True)


@app.command("report")
def report(
    job_id: str = JOB,
    output: Path | None = typer.Option(None, "--output", "-o", help="Where to copy it to."),
    as_json: bool = AS_JSON,
    config: Path | None = CONFIG,
) -> None:
    """Show where the report of a job lies: one HTML page with its curves, figures and model card."""
    import shutil

    from shoal.core.errors import Fault
    from shoal.settings import home

    act(config, lambda store: store.jobs.find(job_id))
    directory = home() / "jobs" / job_id

    def find() -> Path:
        page = directory / "report.html"
        if not page.is_file():
            raise Fault("not_found", f"There is no report in {directory}: the job has not come so far, or was worked on elsewhere.")
        return Path(shutil.copy(page, output)) if output is not None else page

    page = guarded(find)
    typer.echo(json.dumps({"report": str(page), "figures": _read_figures(directory)}) if as_json else str(page))


@app.command("publish")
def publish(job_id: str = JOB, config: Path | None = CONFIG) -> None:
    """Publish a job's student all the same, that was held back as not good enough; its name is printed."""
    from shoal.core.errors import Fault
    from shoal.mini.shelf import ShelfError
    from shoal.mini.shelf import publish as put
    from shoal.settings import home

    async def run(store: "Store") -> str:
        job = await store.jobs.find(job_id)
        org = await store.organisations.find(job.org_id)
        try:
            name = put(home(), home() / "jobs" / job.id / "student", org.id, org.name, job.suffix or "student")
        except ShelfError as error:
            raise Fault("not_found", f"The job {job.id} has no student to publish here: {error}") from None
        await store.audit.record(ACTOR, "student.publish", org.id, name, {"job": job.id, "status": job.status})
        return name

    typer.echo(act(config, run))


def _labels(text: str) -> dict[str, str]:
    """`tag=support,team=a` as metadata."""
    labels = {}
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            raise typer.BadParameter(f"{part!r} is not of the form tag=value")
        labels[name.strip()] = value.strip()
    return labels


async def _find_key(store: "Store", place: "Project", which: str | None) -> str:
    """The id of the key whose terms bind a teacher's calls; "" where none is named and this machine has none of its own."""
    from shoal.cli.local_key import read_local_key
    from shoal.core.errors import Fault
    from shoal.settings import home
    from shoal.storage.keys import hash_secret

    if which is None:
        secret = read_local_key(home())
        key = None if secret is None else await store.keys.find(hash_secret(secret))
        return key.account_id if key is not None and key.active and key.org_id == place.org_id else ""
    for key in await store.keys.list_of(place.org_id):
        if key.active and which in (key.id, key.name):
            return key.id
    raise Fault("not_found", f"There is no active key {which!r} in {place.org_id}: `shoal keys list` shows them.")


async def _keep_file(store: "Store", place: "Project", key_id: str, path: Path | None) -> str | None:
    """The id of a file, now that the store has it."""
    import asyncio

    if path is None:
        return None
    content = await asyncio.to_thread(path.read_bytes)
    return (await store.files.keep(place.id, key_id, "fine-tune", path.name, content)).id


async def _work(store: "Store", job: "Job", settings: "Settings", url: str, quiet: bool) -> "Job":
    """Follow a job; where nobody in this home works on jobs, work on it."""
    import asyncio

    from shoal.cli.following import follow, showing
    from shoal.settings import home
    from shoal.wiring.trainer import Locked, Trainer

    locked = Locked(home())
    try:
        mine = locked.take()
        working = asyncio.create_task(Trainer(store, settings, url).work_to_end(job.id)) if mine else None
        with showing(quiet) as shown:
            try:
                return await follow(store, job, shown)
            finally:
                if working is not None:
                    working.cancel()
                    await asyncio.gather(working, return_exceptions=True)
    finally:
        locked.close()


def _interruptible(work: "Callable[[], Job]") -> "Job":
    try:
        return work()
    except KeyboardInterrupt:
        text = (
            "shoal: the job is not called off: `shoal serve` goes on with it, `shoal distil follow` shows it, `shoal distil cancel` ends it"
        )
        typer.echo(text, err=True)
        raise typer.Exit(130) from None


def _report_end(job: "Job", as_json: bool) -> None:
    """The student's name on stdout, or what went wrong on stderr, with exit status 1."""
    if as_json:
        typer.echo(json.dumps(_describe(job), ensure_ascii=False))
    elif job.fine_tuned_model:
        typer.echo(job.fine_tuned_model)
    if job.status == "succeeded":
        return
    if not as_json:
        typer.echo(f"shoal: the job {job.id} {'failed' if job.status == 'failed' else 'is ' + job.status}", err=True)
    raise typer.Exit(1)


def _describe(job: "Job") -> dict[str, Any]:
    return describe(job)


def _read_figures(directory: Path) -> Any:
    path = directory / "figures.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
