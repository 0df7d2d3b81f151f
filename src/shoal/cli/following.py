"""A job as a person follows it at a terminal: what is said of it line by line, and how far each stage is, on standard error."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.storage.jobs import Event, Job
    from shoal.storage.store import Store

LOOK_S = 0.5
_STYLES = {"info": "", "warn": "yellow", "error": "red"}
Show = Callable[["Event"], None]


async def follow(store: "Store", job: "Job", show: Show) -> "Job":
    """Show what is said of a job until it has ended, or is paused."""
    last = 0
    while True:
        now = await store.jobs.find(job.id)
        for event in await store.jobs.events(job.id, after=last, oldest_first=True):
            last = event.number
            show(event)
        if now.ended or now.status == "paused":
            return now
        await asyncio.sleep(LOOK_S)


@contextmanager
def showing(quiet: bool) -> Iterator[Show]:
    """What shows an event: bars and lines on a terminal, lines elsewhere; nothing where it is to be `quiet`."""
    if quiet:
        yield lambda event: None
        return
    if not sys.stderr.isatty():
        yield _print_line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"), TimeElapsedColumn()]
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(event: "Event") -> None:
            if event.kind == "message":
                console.print(Text(event.message, style=_STYLES[event.level]))
                return
            stage, done, total = event.data["stage"], event.data["step"], event.data["total_steps"]
            for other, number in tasks.items():
                if other != stage:
                    bars.update(number, total=1, completed=1)
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=None, figures="")
            bars.update(tasks[stage], completed=done, total=total or None, figures=_figures(event.data))

        yield show


def _figures(data: dict[str, Any]) -> str:
    """The figures of a stage: how far it is, what was measured, and how long it will take."""
    shown = [f"{data['step']}/{data['total_steps']}"]
    for name, value in data.items():
        if name == "seconds_left":
            shown.append(f"{duration(value)} left")
        elif name not in ("stage", "step", "total_steps"):
            shown.append(f"{name.replace('_', ' ')} {value:.4g}")
    return ", ".join(shown)


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _print_line(event: "Event") -> None:
    text = f"{event.data['stage']}: {_figures(event.data)}" if event.kind == "metrics" else event.message
    print(text, file=sys.stderr, flush=True)
