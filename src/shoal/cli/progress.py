"""How far a preparation is, on standard error: a bar on a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MEGABYTE = 1_000_000


@contextmanager
def show_progress(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """The callback (stage, done, total) that `mini.catalogue.prepare` wants; total 0 means not known."""
    if not sys.stderr.isatty():
        yield _print_lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    columns = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(stage: str, done: int, total: int) -> None:
            for other, number in tasks.items():
                if other != stage:
                    bars.update(number, total=1, completed=1, amount="")
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}: {stage}", total=None, amount="")
            bars.update(tasks[stage], completed=done, total=total or None, amount=amount(done, total))

        yield draw
        for number in tasks.values():
            bars.update(number, total=1, completed=1, amount="")


def amount(done: int, total: int) -> str:
    """`35/98 MB` of what can only be bytes, `3/12` of anything else, nothing where the total is not known or says nothing."""
    if total <= 1:
        return ""
    return f"{done // MEGABYTE}/{total // MEGABYTE} MB" if total >= MEGABYTE else f"{done}/{total}"


def _print_lines(title: str) -> Callable[[str, int, int], None]:
    """A line at the start of a stage and at every further quarter of it."""
    said: set[tuple[str, int]] = set()

    def draw(stage: str, done: int, total: int) -> None:
        quarter = 4 * done // total if total else 0
        if (stage, quarter) not in said:
            said.add((stage, quarter))
            print(f"{title}: {stage} {amount(done, total)}".rstrip(), file=sys.stderr, flush=True)

    return draw
