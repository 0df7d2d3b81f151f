"""A PostgreSQL that is killed with kill -9 and comes back, and a network that is cut: what callers notice, and whether anything is lost.

A third of the requests are of a key whose money is not counted: those must not notice. The others go on as long as what was lent lasts.
"""

import argparse
import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import harness
import uvloop
from books import NANO, Answered, Firm, compare, found, read_answer, read_books
from harness import GATEWAY_CORE, GENERATOR_CORE, QUESTION, ROOT, Process, Shoal, Trouble
from ledger_place import COUNTED, await_server, counted_config, start_understudy, write_questions
from load import Load, Reply, write_request
from report import Verdict, print_table

sys.path.append(str(ROOT / "tests" / "storage"))
from postgres import Cluster, find_programs

USD = 1_000_000
WORKERS = 3
MOST_TOKENS = 64
UNCOUNTED = 2
"""Which of the requests are of a key whose money is not counted."""
AWAY = "503 overloaded"
CALM, KILLED, BACK, CUT, HEALED = "before", "PostgreSQL is killed", "it is back", "its network is cut", "it is whole again"


class Phase(NamedTuple):
    """A part of the run, from one moment to another, in seconds of the loop's clock."""

    name: str
    begin: float
    end: float


class Heard(NamedTuple):
    """What came of one request."""

    due: float
    counted: bool
    what: Answered | str
    ms: float


class Figures(NamedTuple):
    """What callers saw in one phase; times since its beginning. `others` are neither whole nor told that the store is away."""

    whole: int
    away: int
    others: int
    uncounted_whole: int
    uncounted_others: int
    slowest_ms: float
    first_away_s: float | None
    last_away_s: float | None


def run(options: argparse.Namespace, verdict: Verdict, directory: Path, started: list[Process]) -> dict[str, object]:
    """Take the store away, twice."""
    programs = find_programs()
    if programs is None:
        raise Trouble("PostgreSQL is not installed: apt-get install postgresql, brew install postgresql. Or leave it out (--only).")
    directory.chmod(0o711)  # PostgreSQL runs as a user of its own
    cluster = Cluster(programs, directory / "postgres", safe=True)
    try:
        return _run(options, verdict, directory, started, cluster)
    finally:
        if cluster.process.poll() is None:
            cluster.stop()


def _run(options: argparse.Namespace, verdict: Verdict, directory: Path, started: list[Process], cluster: Cluster) -> dict[str, object]:
    upstream_port, relay_port, direct = start_understudy(started), harness.find_port(), cluster.new_database()
    script = str(Path(__file__).with_name("relay.py"))
    relay = Process("relay", [sys.executable, script, str(relay_port), str(cluster.port)], GENERATOR_CORE)
    started.append(relay)
    address = direct.replace(f":{cluster.port}/", f":{relay_port}/")
    firm = found(direct, USD, monthly_nano=USD * NANO, rpm=1_000_000)
    config = counted_config(upstream_port, f'[storage]\nurl = "{address}"\n\n')
    shoal = Shoal(directory / "away", config, GATEWAY_CORE, name="shoal-away", workers=WORKERS)
    started.append(shoal.process)
    await_server(shoal)
    heard, phases = uvloop.run(_measure(shoal, firm, cluster, relay, options))
    shoal.process.stop()
    figures = {phase.name: _sum_up(phase, heard) for phase in phases}
    answers = [one.what for one in heard if one.counted and isinstance(one.what, Answered)]
    books = read_books(direct, firm.org_id)
    compared, charged = compare(answers, books), sum(books.charged.values())
    _show(figures, heard, options)
    for name, back in ((KILLED, BACK), (CUT, HEALED)):
        away, healed = figures[name], figures[back]
        verdict.at_least(f"postgres: {name}: answered out of what was lent", away.whole, 1)
        verdict.at_least(f"postgres: {name}: then told so ({AWAY})", away.away, 1)
        verdict.at_most(f"postgres: {name}: neither, or uncounted and refused", away.others + away.uncounted_others, 0)
        verdict.at_most(f"postgres: {back}: until all is answered again, s", healed.last_away_s or 0.0, 5)
        verdict.at_most(f"postgres: {back}: neither, or uncounted and refused", healed.others + healed.uncounted_others, 0)
    verdict.at_most("postgres: slowest answer, s", max(one.slowest_ms for one in figures.values()) / 1000, 5)
    verdict.at_most("postgres: answers not in the books, or otherwise", compared.missing + compared.different, 0)
    verdict.at_most("postgres: wallet's loss less the charges by request, nano-USD", abs(USD * NANO - books.balance - charged), 0)
    verdict.at_most("postgres: errors that the check finds", len(books.errors), 0)
    return {"phases": {name: one._asdict() for name, one in figures.items()}, "answers": len(answers), "errors": books.errors}


async def _measure(
    shoal: Shoal, firm: Firm, cluster: Cluster, relay: Process, options: argparse.Namespace
) -> tuple[list[Heard], list[Phase]]:
    """Load at a steady rate, while the store goes away and comes back."""
    heard: list[Heard] = []

    def note(reply: Reply) -> None:
        counted = reply.kind != UNCOUNTED
        what = read_answer(reply, reply.kind == 1)
        if not counted and reply.status == 200:
            what = Answered(reply.heads["x-request-id"], 0)
        heard.append(Heard(reply.due, counted, what, (reply.end - reply.due) * 1000))

    plain = write_request(shoal.url, shoal.headers, {**QUESTION, "model": COUNTED, "max_tokens": MOST_TOKENS})
    load = Load(shoal.url, [*write_questions(shoal.url, firm, MOST_TOKENS), plain], note)
    loop = asyncio.get_running_loop()
    steps = (
        (CALM, options.calm_s, None),
        (KILLED, options.down_s, cluster.kill),
        (BACK, options.back_s, cluster.start),
        (CUT, options.cut_s, lambda: relay.root.send_signal(signal.SIGUSR1)),
        (HEALED, options.back_s, lambda: relay.root.send_signal(signal.SIGUSR2)),
    )
    phases: list[Phase] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(load.offer(options.store_rate, sum(seconds for _, seconds, _ in steps)))
        for name, seconds, act in steps:
            if act is not None:
                await asyncio.to_thread(act)
            begin = loop.time()
            await asyncio.sleep(seconds)
            phases.append(Phase(name, begin, loop.time()))
    await load.finish()
    heard += [Heard(phases[-1].begin, True, "nothing came", 0.0)] * load.open
    return heard, phases


def _sum_up(phase: Phase, heard: Sequence[Heard]) -> Figures:
    within = [one for one in heard if phase.begin <= one.due < phase.end]
    counted = [one for one in within if one.counted]
    whole = sum(isinstance(one.what, Answered) for one in counted)
    away = [one.due - phase.begin for one in counted if one.what == AWAY]
    rest = len(within) - len(counted)
    rest_whole = sum(isinstance(one.what, Answered) for one in within) - whole
    slowest_ms = max((one.ms for one in within), default=0.0)
    first, last = (min(away), max(away)) if away else (None, None)
    return Figures(whole, len(away), len(counted) - whole - len(away), rest_whole, rest - rest_whole, slowest_ms, first, last)


def _show(figures: dict[str, Figures], heard: Sequence[Heard], options: argparse.Namespace) -> None:
    """The table, and what else was told."""
    head = ("when", "whole", "away", "others", "uncounted whole", "uncounted others", "slowest ms", "first away s", "last away s")
    rows = [(name, *("" if cell is None else cell for cell in one)) for name, one in figures.items()]
    print_table(f"PostgreSQL goes away under {options.store_rate:,g} requests/s, {WORKERS} workers", head, rows, options.markdown)
    others = Counter(one.what for one in heard if isinstance(one.what, str))
    for what, count in others.most_common():
        print(f"{count} x {what}")
