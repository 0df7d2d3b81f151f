"""Students beside the minnow in one process: what several pipelines at once make of the cores, what heads take from it, how fast they load.

    python benchmarks/students.py [--rounds 3] [--seconds 12] [--callers 32] [--weights DIRECTORY] [--quick] [--markdown]

Stand-ins are served: three copies of the minnow under students' names, and three heads of random weights on the sentence model.
In each round the same number of callers asks the minnow alone; the minnow and three students, a quarter each; the minnow, with heads
asked meanwhile at a steady rate; and the same with heads asked as fast as they answer. Shares are of the round's own minnow alone.
"""

import argparse
import asyncio
import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import harness
import psutil
import report
import uvloop
from harness import BENCH, Shoal, Trouble
from report import Verdict, middle, print_table

from mini import MODEL, NEW_TOKENS, STORY, SUBJECTS, Answer, ask

STUDENTS, HEADS = 3, 3
HEAD_RATE = 5.0  # requests a second to each head, where the rate is steady
HEAD_CALLERS = 4  # to each head, where it is not
LABELS = 77

PUBLISH = f"""
import sys, tempfile
from pathlib import Path
import msgspec, numpy as np
from shoal.mini.card import Card, read_card, write_card
from shoal.mini.heads import Part, Plan, save_head
from shoal.mini.shelf import publish
home, random = Path(sys.argv[1]), np.random.default_rng(1)
embedding = read_card(home / "weights" / "minnow-embed")
for number in range({STUDENTS}):
    print(publish(home, home / "weights" / "minnow", "org_operator", "operator", f"copy{{number}}"), flush=True)
for number in range({HEADS}):
    with tempfile.TemporaryDirectory() as made:
        write_card(Path(made), Card("head", "head", "head", embedding.context_tokens, base="minnow"))
        weights = random.normal(size=(embedding.dimensions, {LABELS})).astype(np.float32)
        labels = tuple(f"label_{{i}}" for i in range({LABELS}))
        arrays = {{"bias": np.zeros({LABELS}, np.float32), "weights0": weights}}
        save_head(Path(made), Plan("label", labels, parts=(Part("sentence"),)), arrays)
        print(publish(home, Path(made), "org_operator", "operator", f"head{{number}}"), flush=True)
"""


class Callers:
    """Callers of one server, each with one question after the other until the time is over."""

    def __init__(self, shoal: Shoal) -> None:
        self.url, self.headers = shoal.url, shoal.headers
        self.number = 0

    async def ask(self, model: str, new_tokens: int = NEW_TOKENS) -> Answer:
        """One question that was not asked before."""
        self.number += 1
        story = STORY.format(number=self.number, subject=SUBJECTS[self.number % len(SUBJECTS)])
        answer = await ask(self.url, self.headers, story, new_tokens, model)
        if answer.fault:
            raise Trouble(f"{model}: {answer.fault}")
        return answer

    async def measure(self, models: Sequence[str], callers: int, seconds: float) -> float:
        """Generated tokens a second in all, with the callers shared among the models."""
        began = time.perf_counter()
        tokens = 0

        async def call(model: str) -> None:
            nonlocal tokens
            while time.perf_counter() - began < seconds:
                answer = await self.ask(model)
                tokens += answer.tokens

        await asyncio.gather(*(call(models[i % len(models)]) for i in range(callers)))
        return tokens / (time.perf_counter() - began)

    async def measure_beside(self, heads: Sequence[str], callers: int, seconds: float, rate: float | None) -> tuple[float, float]:
        """The minnow's tokens a second, and the heads' answers a second, which are asked at a rate, or as fast as they answer."""
        over, answered, began = asyncio.Event(), 0, time.perf_counter()

        async def label(model: str, pause_s: float) -> None:
            nonlocal answered
            while not over.is_set():
                due = time.perf_counter() + pause_s
                await self.ask(model)
                answered += 1
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        count, pause = (1, 1 / rate) if rate is not None else (HEAD_CALLERS, 0.0)
        beside = [asyncio.create_task(label(model, pause)) for model in heads for _ in range(count)]
        tokens = await self.measure([MODEL], callers, seconds)
        labels = answered / (time.perf_counter() - began)
        over.set()
        await asyncio.gather(*beside)
        return tokens, labels


async def measure_loads(callers: Callers, names: Sequence[str]) -> dict[str, float]:
    """Seconds from the first request of each student to its first answer, one token long."""
    loads = {}
    for name in names:
        began = time.perf_counter()
        await callers.ask(name, 1)
        loads[name] = time.perf_counter() - began
    return loads


async def measure_round(callers: Callers, students: Sequence[str], heads: Sequence[str], options: argparse.Namespace) -> dict[str, float]:
    """All of it, once; the minnow alone before and after, so that a machine that slows down does so for both."""
    before = await callers.measure([MODEL], options.callers, options.seconds)
    several = await callers.measure([MODEL, *students], options.callers, options.seconds)
    steady, steady_labels = await callers.measure_beside(heads, options.callers, options.seconds, HEAD_RATE)
    flooded, flooded_labels = await callers.measure_beside(heads, options.callers, options.seconds, None)
    after = await callers.measure([MODEL], options.callers, options.seconds)
    alone = (before + after) / 2
    return {
        "alone": alone,
        "several": several,
        "steady": steady,
        "flooded": flooded,
        "steady labels": steady_labels,
        "flooded labels": flooded_labels,
        "several share": several / alone,
        "steady share": steady / alone,
        "flooded share": flooded / alone,
    }


def start(weights: Path, home: Path) -> tuple[Shoal, list[str], list[str]]:
    """Shoal with its mini and stand-ins published. Errors: Trouble."""
    (home / "weights").mkdir(parents=True)
    for name in ("minnow", "minnow-embed"):
        if not (weights / name / "model.json").exists():
            raise Trouble(f"{weights / name} is not there: run the benchmark mini once with these weights, which makes it")
        (home / "weights" / name).symlink_to(weights / name)
    shoal = Shoal(home, "", None, mini=True, name="shoal-students")
    try:
        first = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
        harness.await_answer(shoal.process, shoal.url, shoal.headers, first, timeout_s=300)
        done = subprocess.run([harness.shoal_python(), "-c", PUBLISH, str(home)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Trouble(f"publishing failed: {done.stderr.strip()}")
    except Trouble:
        shoal.process.stop()
        raise
    names = done.stdout.split()
    return shoal, names[:STUDENTS], names[STUDENTS:]


def mini_of(shoal: Shoal) -> psutil.Process:
    """The process of the local models."""
    return next(one for one in shoal.process.tree() if "shoal.mini.serve" in one.cmdline())


def show(rounds: list[dict[str, float]], loads: dict[str, float], held: dict[str, float], options: argparse.Namespace) -> Verdict:
    """Tables and verdicts."""
    verdict, kinds = Verdict(), {"alone": "the minnow alone", "several": f"the minnow and {STUDENTS} students"}
    kinds |= {
        "steady": f"the minnow, {HEADS} heads asked {HEAD_RATE:g}/s each",
        "flooded": f"the minnow, {HEADS} heads asked without pause",
    }
    rows = []
    for kind, what in kinds.items():
        shares = [one[f"{kind} share"] for one in rounds] if kind != "alone" else []
        labels = middle([one[f"{kind} labels"] for one in rounds]) if f"{kind} labels" in rounds[0] else ""
        listed = " ".join(f"{share:.2f}" for share in shares)
        rows.append((what, middle([one[kind] for one in rounds]), middle(shares) if shares else "", listed, labels))
    head = ("what", "tokens/s", "share of alone", "each round", "labels/s")
    title = f"{options.callers} callers, {NEW_TOKENS} new tokens each; medians of {len(rounds)} rounds"
    print_table(title, head, rows, options.markdown)
    print_table("First answer of a student that is not loaded", ("student", "s"), list(loads.items()), options.markdown)
    print_table("What the local models' process holds", ("after", "MB"), list(held.items()), options.markdown)
    verdict.at_least(
        f"{STUDENTS} students and the minnow, share of the minnow alone", middle([one["several share"] for one in rounds]), 0.4
    )
    verdict.at_least(f"the minnow with {HEADS} heads asked, share of alone", middle([one["steady share"] for one in rounds]), 0.8)
    verdict.at_most("slowest load and first answer, s", max(loads.values()), 5.0)
    verdict.show(options.markdown)
    return verdict


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=12.0, help="of each measurement; answers that run then are finished and counted")
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--weights", type=Path, default=BENCH / "weights", help="as in SHOAL_HOME/weights; the benchmark mini makes them")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 3.0
    machine = report.introduce("Students", options.markdown)
    with harness.workplace() as (directory, started):
        shoal, students, heads = start(options.weights.resolve(), directory / "home")
        started.append(shoal.process)
        callers, mini, held = Callers(shoal), mini_of(shoal), {}

        async def run() -> tuple[dict[str, float], list[dict[str, float]]]:
            await callers.measure([MODEL], options.callers, 2.0)
            held["the minnow"] = mini.memory_info().rss / 1e6
            loads = await measure_loads(callers, [*students, *heads])
            held["all students, loaded"] = mini.memory_info().rss / 1e6
            rounds = []
            for number in range(options.rounds):
                rounds.append(await measure_round(callers, students, heads, options))
                print(f"round {number + 1}: {json.dumps({name: round(value, 2) for name, value in rounds[-1].items()})}", flush=True)
            held["all rounds"] = mini.memory_info().rss / 1e6
            return loads, rounds

        loads, rounds = uvloop.run(run())
    verdict = show(rounds, loads, held, options)
    report.save("students", machine, {"rounds": rounds, "loads_s": loads, "held_mb": held}, verdict)


if __name__ == "__main__":
    harness.run(main)
