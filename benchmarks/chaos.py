"""What callers notice when upstreams fail: 2,000 requests/s for 60 s, while one upstream dies, one stalls and one is busy, in turn.

    python benchmarks/chaos.py [--rate 2000] [--seconds 60] [--quick] [--markdown]

Three upstreams (understudy.py) behind Shoal, streams and whole answers by turns. Requests are sent when they are due, whether or not others
have been answered, and their times count from then. A calm run comes first; what is wanted of the other is relative to it. A request is
lost when the caller gets neither the whole answer, word for word, nor a typed error.
"""

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import harness
import load
import report
import understudy
import uvloop
from harness import GATEWAY_CORE, GENERATOR_CORE, QUESTION, Process, Shoal
from load import Load, Reply, write_request
from report import Verdict, percentile, print_table

NAMES = ("one", "two", "three")

# what happens in a run of failures: from and to, as shares of its time, to which upstream
DEATH, STALL, BUSY = (0.10, 0.25), (0.40, 0.55), (0.70, 0.85)


def gateway_config(ports: Sequence[int]) -> str:
    """One model at three upstreams that can go on from a given beginning; all else is as it is without a word."""
    lines = [
        f'[providers.{name}]\nlike = "vllm"\nbase_url = "http://127.0.0.1:{port}/v1"\ndiscover = false\n'
        for name, port in zip(NAMES, ports, strict=True)
    ]
    price = "price = { input = 1.0, output = 2.0 }"
    deployments = ",\n".join(f'{{ provider = "{name}", model = "{understudy.MODEL}", {price}, prefill = true }}' for name in NAMES)
    return "\n".join([*lines, f'[models."{understudy.MODEL}"]\ndeployments = [\n{deployments},\n]\n'])


class Outcome(NamedTuple):
    """One request: when it was due (seconds from the run's begin), times from then in ms, and what came of it."""

    due_s: float
    stream: bool
    result: str
    first_ms: float
    whole_ms: float
    tries: int


def read(status: int, body: bytes, stream: bool) -> tuple[str, int]:
    """What the caller got: "whole", "error: CODE" or "lost: WHY"; and the tries that a stream's end tells of."""
    try:
        if status != 200 or not stream:
            answer = json.loads(body)
            if status != 200:
                return f"error: {answer['error']['type']} {answer['error']['code']}", 0
            whole = answer["choices"][0]["message"]["content"] == understudy.TEXT
            return ("whole" if whole else "lost: another text"), 0
        events = [event for event in body.split(b"\n\n") if event.startswith(b"data: ")]
        if b'"error"' in events[-1]:
            error = json.loads(events[-1][6:])["error"]
            return f"error: {error['type']} {error['code']}", 0
        chunks = [json.loads(event[6:]) for event in events[:-1]]
        text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
        done = events[-1] == b"data: [DONE]"
        return ("whole" if done and text == understudy.TEXT else "lost: another text"), body.count(b'"ms":')
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"lost: {error!r}", 0


class Outcomes:
    """What came of the requests of one run."""

    def __init__(self, shoal: Shoal) -> None:
        questions = ({**QUESTION, "model": understudy.MODEL, "stream": stream} for stream in (False, True))
        self._load = Load(shoal.url, [write_request(shoal.url, shoal.headers, body) for body in questions], self._note)
        self._replies: list[tuple[Reply, str, int]] = []

    async def run(self, rate: float, seconds: float) -> list[Outcome]:
        """Send `rate` requests a second for so many seconds, each when it is due, and wait for the answers."""
        self._replies = []
        begin = await self._load.run(rate, seconds)
        missing = [Outcome(seconds, False, "lost: nothing came", 0.0, load.PATIENCE_S * 1000, 0)] * self._load.open
        return [_outcome(begin, *one) for one in self._replies] + missing

    def _note(self, reply: Reply) -> None:
        result, tries = f"lost: {reply.why}", 0
        if reply.status != load.NO_ANSWER:
            result, tries = read(reply.status, reply.body, bool(reply.kind))
        self._replies.append((reply._replace(body=b""), result, max(tries, int(reply.heads.get("x-shoal-attempts", "0")))))


def _outcome(begin: float, reply: Reply, result: str, tries: int) -> Outcome:
    times = ((at - reply.due) * 1000 for at in (reply.first, reply.end))
    return Outcome(reply.due - begin, bool(reply.kind), result, *times, tries)


async def fail(upstreams: Sequence[Process], seconds: float) -> None:
    """One upstream dies, one stalls, one is busy, in turn."""
    begin = asyncio.get_running_loop().time()
    one, two, three = (process.tree()[-1] for process in upstreams)  # the children, who serve
    steps = (
        (DEATH[0], one.kill),  # its parent has another child in time
        (STALL[0], two.suspend),
        (STALL[1], two.resume),
        (BUSY[0], lambda: three.send_signal(signal.SIGUSR1)),
        (BUSY[1], lambda: three.send_signal(signal.SIGUSR2)),
    )
    for share, step in steps:
        await asyncio.sleep(begin + share * seconds - asyncio.get_running_loop().time())
        step()


async def measure(shoal: Shoal, upstreams: Sequence[Process], options: argparse.Namespace) -> dict[str, list[Outcome]]:
    """A run to warm up, a calm one, and one with failures."""
    outcomes = Outcomes(shoal)
    await outcomes.run(options.rate / 4, options.warm_s / 2)
    await outcomes.run(options.rate, options.warm_s / 2)
    runs: dict[str, list[Outcome]] = {}
    for name in ("calm", "failures"):
        gc.collect()
        gc.disable()
        failing = asyncio.create_task(fail(upstreams, options.seconds)) if name == "failures" else None
        runs[name] = await outcomes.run(options.rate, options.seconds)
        gc.enable()
        if failing is not None:
            await failing
    return runs


class Figures(NamedTuple):
    """What callers saw of some requests; times in ms."""

    requests: int
    whole: int
    errors: int
    lost: int
    tried_again: int
    answer_p50_ms: float
    answer_p99_ms: float
    first_p99_ms: float
    stream_p99_ms: float


def sum_up(outcomes: Sequence[Outcome]) -> Figures:
    """The figures of some requests."""
    whole = [one for one in outcomes if one.result == "whole"]
    answers = [one.whole_ms for one in whole if not one.stream] or [0.0]
    streams = [one for one in whole if one.stream]
    return Figures(
        len(outcomes),
        len(whole),
        sum(one.result.startswith("error") for one in outcomes),
        sum(one.result.startswith("lost") for one in outcomes),
        sum(one.tries > 1 for one in outcomes),
        percentile(answers, 0.5),
        percentile(answers, 0.99),
        percentile([one.first_ms for one in streams] or [0.0], 0.99),
        percentile([one.whole_ms for one in streams] or [0.0], 0.99),
    )


def part(runs: dict[str, list[Outcome]], seconds: float) -> dict[str, Figures]:
    """Figures of both runs, and of the times in which something was wrong."""
    figures = {name: sum_up(outcomes) for name, outcomes in runs.items()}
    for name, (start, end) in {"while one is dead": DEATH, "while one stalls": STALL, "while one is busy": BUSY}.items():
        within = [one for one in runs["failures"] if start <= one.due_s / seconds < end]
        if within:
            figures[name] = sum_up(within)
    return figures


def judge(figures: dict[str, Figures], verdict: Verdict) -> None:
    """What the project wants of itself."""
    calm, failures = figures["calm"], figures["failures"]
    verdict.at_least("whole answers, of all", failures.whole / failures.requests, 0.9999)
    verdict.at_most("requests lost, in both runs", calm.lost + failures.lost, 0)
    verdict.at_most("p99 of whole answers, of the calm run's", failures.answer_p99_ms / calm.answer_p99_ms, 2)
    verdict.at_most("p99 of a stream's first word, of the calm run's", failures.first_p99_ms / calm.first_p99_ms, 2)
    verdict.at_most("p99 of a stream's end, of the calm run's", failures.stream_p99_ms / calm.stream_p99_ms, 2)


def show(figures: dict[str, Figures], runs: dict[str, list[Outcome]], options: argparse.Namespace) -> None:
    """The table, and what went wrong in words."""
    head = ("when", "requests", "whole", "errors", "lost", "tried again", "p50 ms", "p99 ms", "first word p99 ms", "stream p99 ms")
    rows = [(name, *one) for name, one in figures.items()]
    print_table(f"{options.rate:,g} requests/s for {options.seconds:g} s, half of them streams", head, rows, options.markdown)
    for name, outcomes in runs.items():
        faults = [one.result for one in outcomes if one.result != "whole"]
        for fault in dict.fromkeys(faults):
            print(f"{name}: {faults.count(fault)} x {fault}")


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--rate", type=float, default=2000, help="requests a second")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    options.warm_s = 6.0
    if options.quick:
        options.rate, options.seconds, options.warm_s = min(options.rate, 200), min(options.seconds, 15), 2.0
    machine = report.introduce("Chaos", options.markdown)
    if GENERATOR_CORE is not None:
        os.sched_setaffinity(0, {GENERATOR_CORE})
    with harness.workplace() as (directory, started):
        ports = [harness.find_port() for _ in NAMES]
        script, down_s = str(Path(__file__).with_name("understudy.py")), (DEATH[1] - DEATH[0]) * options.seconds
        for name, port in zip(NAMES, ports, strict=True):
            started.append(Process(f"understudy-{name}", [sys.executable, script, str(port), str(down_s)], GENERATOR_CORE))
        upstreams = tuple(started)
        shoal = Shoal(directory / "home", gateway_config(ports), GATEWAY_CORE, name="shoal-chaos")
        started.append(shoal.process)
        for port, process in zip(ports, upstreams, strict=True):
            harness.await_answer(process, f"http://127.0.0.1:{port}/v1/chat/completions", {}, QUESTION)
        harness.await_answer(shoal.process, shoal.url, shoal.headers, {**QUESTION, "model": understudy.MODEL})
        runs = uvloop.run(measure(shoal, upstreams, options))
    figures, verdict = part(runs, options.seconds), Verdict()
    judge(figures, verdict)
    show(figures, runs, options)
    verdict.show(options.markdown)
    report.save("chaos", machine, {"runs": {name: one._asdict() for name, one in figures.items()}}, verdict)


if __name__ == "__main__":
    harness.run(main)
