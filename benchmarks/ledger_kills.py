"""kill -9 of a process at random, again and again, under load: every answer that a caller received whole is charged once, none twice.

A worker, the bookkeeper, the desk, or the parent, with which all others end; that one is started again here, the others by it. What the
dead had borrowed must be free again soon: they are known by their files, which nobody locks any more.
"""

import argparse
import asyncio
import fcntl
import random
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import uvloop
from books import NANO, Answered, Firm, compare, found, read_answer, read_books
from harness import GATEWAY_CORE, Process, Shoal
from ledger_place import await_server, counted_config, start_understudy, write_questions
from load import Load, Reply
from report import Verdict, percentile, print_table

USD = 1_000_000
WORKERS = 3
MOST_TOKENS = 64
PAUSE_S = (0.5, 3.0)
"""Between two kills."""
RELEASE_S = 60.0
LOOK_S = 0.1


class Graves(threading.Thread):
    """Sees who borrows and has died, and how long what it had borrowed stays held."""

    def __init__(self, home: Path) -> None:
        super().__init__(daemon=True)
        self._home = home
        self._over = threading.Event()
        self._died: dict[str, float] = {}
        self.releases_s: list[float] = []

    def run(self) -> None:
        """Look until `stop`."""
        store = sqlite3.connect(f"file:{self._home / 'shoal.db'}?mode=ro", uri=True, timeout=30)
        while not self._over.wait(LOOK_S):
            holding = {row[0] for row in store.execute("SELECT id FROM holders UNION SELECT holder FROM leases")}
            now = time.monotonic()
            for holder in holding - self._died.keys():
                if _is_dead(self._home / "holders" / holder):
                    self._died[holder] = now
            for holder in self._died.keys() - holding:
                self.releases_s.append(now - self._died.pop(holder))
        store.close()

    def stop(self) -> None:
        """Look until all is released, or too late."""
        end = time.monotonic() + RELEASE_S
        while self._died and time.monotonic() < end:
            time.sleep(LOOK_S)
        self._over.set()
        self.join()
        self.releases_s += [time.monotonic() - died for died in self._died.values()]


def _is_dead(file: Path) -> bool:
    """Whether nobody has a holder's file locked; one that is gone was released."""
    try:
        with file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True


def run(options: argparse.Namespace, verdict: Verdict, directory: Path, started: list[Process]) -> dict[str, object]:
    """Kill, and compare."""
    port = start_understudy(started)
    shoal = Shoal(directory / "kills", counted_config(port), GATEWAY_CORE, name="shoal-kills", workers=WORKERS)
    started.append(shoal.process)
    file = shoal.home / "shoal.db"
    await_server(shoal)
    firm = found(file, USD, monthly_nano=USD * NANO)
    graves = Graves(shoal.home)
    graves.start()
    answers, others, killed = uvloop.run(_measure(shoal, firm, started, options))
    await_server(shoal)
    graves.stop()
    shoal.process.stop()
    books = read_books(file, firm.org_id)
    compared, charged = compare(answers, books), sum(books.charged.values())
    twice = len(answers) - len({one.request_id for one in answers})
    rows = [
        *((f"killed: {name}", count) for name, count in sorted(killed.items())),
        ("answers received whole", len(answers)),
        *((f"not whole: {why}", count) for why, count in others.most_common()),
        ("charged without a whole answer", len(books.charged) - len(answers)),
        ("held by the dead, p50 s", percentile(graves.releases_s or [0.0], 0.5)),
        ("held by the dead, most s", max(graves.releases_s, default=0.0)),
    ]
    print_table(f"{options.kills} kills under {options.rate:,g} requests/s", ("what", "measured"), rows, options.markdown)
    verdict.at_least("kills: processes killed", killed.total(), options.kills)
    verdict.at_least("kills: answers received whole, of all", len(answers) / max(1, len(answers) + others.total()), 0.5)
    verdict.at_most("kills: whole answers that are not charged", compared.missing, 0)
    verdict.at_most("kills: whole answers that are charged otherwise", compared.different, 0)
    verdict.at_most("kills: ids that were given twice", twice, 0)
    verdict.at_most("kills: wallet's loss less the charges by request, nano-USD", abs(USD * NANO - books.balance - charged), 0)
    verdict.at_most("kills: held by the dead, most s", max(graves.releases_s, default=RELEASE_S), RELEASE_S)
    verdict.at_most("kills: errors that the check finds", len(books.errors), 0)
    return {"killed": killed, "answers": len(answers), "others": others, "releases_s": graves.releases_s, "errors": books.errors}


async def _measure(
    shoal: Shoal, firm: Firm, started: list[Process], options: argparse.Namespace
) -> tuple[list[Answered], Counter[str], Counter[str]]:
    """Whole answers, what else came, and who was killed."""
    answers: list[Answered] = []
    others: Counter[str] = Counter()

    def note(reply: Reply) -> None:
        read = read_answer(reply, bool(reply.kind))
        if isinstance(read, Answered):
            answers.append(read)
        else:
            others[read] += 1

    load = Load(shoal.url, write_questions(shoal.url, firm, MOST_TOKENS), note)
    killing = asyncio.create_task(_kill(shoal, started, options.kills))
    while not killing.done():
        await load.offer(options.rate, 1.0)
    await load.finish()
    others["nothing came"] += load.open
    return answers, +others, await killing


async def _kill(shoal: Shoal, started: list[Process], kills: int) -> Counter[str]:
    """Kill at random, each kind of process as often as another; who was killed how often."""
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        await asyncio.sleep(random.uniform(*PAUSE_S))
        family: dict[str, list[psutil.Process]] = {}
        for one in shoal.process.tree():
            family.setdefault(_kind(one), []).append(one)
        kind = random.choice([name for name in family if name])
        random.choice(family[kind]).kill()
        killed[kind] += 1
        if kind == "parent":
            shoal.process.popen.wait()
            await asyncio.to_thread(psutil.wait_procs, [one for some in family.values() for one in some])  # who still listen
            started.append(shoal.start())
            await asyncio.to_thread(await_server, shoal)
    return killed


def _kind(process: psutil.Process) -> str:
    """What a process of Shoal's is; nothing for one that is about to end."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    names = {"shoal.wiring.worker": "worker", "shoal.wiring.bookkeeper": "bookkeeper", "shoal.wiring.desk": "desk", "serve": "parent"}
    return next((names[word] for word in words if word in names), "")
