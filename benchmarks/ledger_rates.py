"""A key with a rate over several workers, offered several times as much: what is admitted in all, and in every window.

A request was admitted at some moment between its sending and its answer. So whatever was sent after one moment and answered before
another was admitted between them: never more than the burst and what the rate gives in that time, for any two moments.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import harness
import uvloop
from books import Firm, found
from harness import GATEWAY_CORE, MODEL, QUESTION, Process, Shoal
from load import Load, Reply, write_request
from report import Verdict, print_table

USD = 1_000_000
WORKERS = 3
RPM = 600
OFFERED_PER_S = 2_000 / 60
BURST = max(5, RPM // 30)
"""What is stated where a key does not say another (docs/guide/limits.md)."""


class Admitted(NamedTuple):
    """A request that was answered: when it was sent and when the answer came, in seconds."""

    sent: float
    answered: float


def run(options: argparse.Namespace, verdict: Verdict, directory: Path, started: list[Process]) -> dict[str, object]:
    """Offer too much."""
    upstream_port = harness.find_port()
    started.append(harness.start_upstream(upstream_port, directory))
    shoal = Shoal(directory / "rates", harness.gateway_config(upstream_port), GATEWAY_CORE, name="shoal-rates", workers=WORKERS)
    started.append(shoal.process)
    harness.await_answer(shoal.process, shoal.url, shoal.headers, QUESTION)
    firm = found(shoal.home / "shoal.db", USD, rpm=RPM)
    admitted, statuses, took_s = uvloop.run(_offer(shoal, firm, options.seconds))
    expected = BURST + RPM / 60 * took_s
    burst = measure_burst(admitted, RPM / 60)
    rows = [
        *((f"answered {status}", count) for status, count in sorted(statuses.items())),
        ("admitted a minute, after the burst", (len(admitted) - BURST) / took_s * 60),
        ("stated burst", BURST),
        ("most that any window had beyond the rate", burst),
    ]
    title = f"{RPM}/min over {WORKERS} workers, offered {OFFERED_PER_S * 60:,.0f}/min for {took_s:.0f} s"
    print_table(title, ("what", "measured"), rows, options.markdown)
    verdict.at_least("rates: admitted, of burst and rate", len(admitted) / expected, 0.98)
    verdict.at_most("rates: admitted, of burst and rate", len(admitted) / expected, 1.02)
    verdict.at_most("rates: burst of any window", burst, BURST)
    verdict.at_most("rates: answers that are neither 200 nor 429", len([one for one in statuses if one not in (200, 429)]), 0)
    return {"admitted": len(admitted), "statuses": statuses, "seconds": took_s, "burst": burst}


async def _offer(shoal: Shoal, firm: Firm, seconds: float) -> tuple[list[Admitted], Counter[int], float]:
    """What was admitted, every status, and for how long requests were sent."""
    admitted: list[Admitted] = []
    statuses: Counter[int] = Counter()

    def note(reply: Reply) -> None:
        statuses[reply.status] += 1
        if reply.status == 200:
            admitted.append(Admitted(reply.due, reply.end))

    question = {**QUESTION, "model": MODEL}
    load = Load(shoal.url, [write_request(shoal.url, firm.headers, question)], note)
    await load.run(OFFERED_PER_S, seconds)
    return admitted, statuses, round(OFFERED_PER_S * seconds) / OFFERED_PER_S


def measure_burst(admitted: Sequence[Admitted], per_s: float) -> float:
    """The most that were surely admitted between any two moments, beyond what `per_s` gives in that time."""
    by_answer = sorted(admitted, key=lambda one: one.answered)
    most = 0.0
    for first in admitted:
        count = 0
        for one in by_answer:
            if one.sent >= first.sent:
                count += 1
                most = max(most, count - per_s * (one.answered - first.sent))
    return most
