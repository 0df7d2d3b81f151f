"""What the minnow generates: Shoal with its mini, through the gateway, against xllamacpp's server on the same weights (the F16 GGUF).

    python benchmarks/mini.py [--levels 1,8,32,64] [--rounds 2] [--only shoal,xllamacpp] [--weights DIRECTORY] [--quick] [--markdown]

Each engine runs alone on the whole machine, in turn. Total tokens per second of streamed answers of 128 new tokens at several numbers of
callers, and the time to the first token of eight questions asked at the same moment.
"""

import argparse
import asyncio
import json
import os
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import harness
import httptools
import peers
import report
import uvloop
from harness import BENCH, Process, Shoal, Trouble
from report import Verdict, middle, percentile, print_table

MODEL = "minnow"
NEW_TOKENS = 128
SUBJECTS = ("a fox", "a lighthouse keeper", "two sisters", "an old clock", "a river", "a bridge builder", "a market", "a mountain village")
# about 40 tokens of question; the first words differ, so that no cached beginning helps
QUESTION = (
    "{number}. About {subject}: explain in plain words how the weather of the coming winter could be foretold from signs "
    "seen in late autumn, and which of them can be trusted."
)
STORY = "Number {number}: write a very long story, of two thousand words or more, about {subject} on a journey, day after day."

# llama.cpp behind its own HTTP server, the machine's cores as threads, one cache shared by all slots
XLLAMACPP_SERVER = """
import os, sys, threading, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port, p.n_parallel = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
p.n_ctx, p.kv_unified = max(16384, 256 * p.n_parallel), True
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = os.cpu_count()
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
threading.Event().wait()
"""


class Answer(NamedTuple):
    """One streamed answer: seconds to its first text, tokens as the server counts them, and what went wrong."""

    first_s: float | None
    tokens: int
    prompt_tokens: int
    fault: str | None


class Caller(asyncio.Protocol):
    """One streaming chat completion on a connection of its own."""

    def __init__(self, request: bytes, answer: asyncio.Future[Answer]) -> None:
        self.request, self.answer = request, answer
        self.parser = httptools.HttpResponseParser(self)
        self.rest = b""
        self.first_s: float | None = None
        self.usage: dict[str, int] = {}
        self.pieces = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.began = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        *events, self.rest = (self.rest + data).split(b"\n\n")
        for event in events:
            if event.startswith(b"data: {"):
                chunk = json.loads(event[6:])
                if "error" in chunk:
                    self.finish(str(chunk["error"]))
                self.usage = chunk.get("usage") or self.usage
                if any((one.get("delta") or {}).get("content") for one in chunk.get("choices") or ()):
                    self.first_s = self.first_s or time.perf_counter() - self.began
                    self.pieces += 1

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        self.finish(None if status == 200 else f"status {status}: {self.rest[:300].decode(errors='replace')}")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish(f"connection lost: {exc}")

    def finish(self, fault: str | None) -> None:
        """Say how it went, once."""
        if not self.answer.done():
            tokens = self.usage.get("completion_tokens", self.pieces)
            self.answer.set_result(Answer(self.first_s, tokens, self.usage.get("prompt_tokens", 0), fault))


async def ask(url: str, headers: dict[str, str], prompt: str, new_tokens: int, model: str = MODEL) -> Answer:
    """Ask one question, streamed, at temperature 0.8."""
    at, loop = urlsplit(url), asyncio.get_running_loop()
    messages = [{"role": "user", "content": prompt}]
    body = json.dumps(
        {
            "model": model,
            "messages": messages,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": new_tokens,
            "temperature": 0.8,
        }
    ).encode()
    fields = {"host": at.netloc, "content-type": "application/json", "content-length": str(len(body)), **headers}
    head = f"POST {at.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
    answer: asyncio.Future[Answer] = loop.create_future()
    await loop.create_connection(lambda: Caller(head.encode() + body, answer), at.hostname or "127.0.0.1", at.port or 80)
    return await answer


async def ask_at_level(url: str, headers: dict[str, str], level: int, offset: int) -> dict[str, float]:
    """`level` callers, each with one question after the other, twice as many questions as callers (three at least)."""
    numbers = iter(range(offset, offset + max(3, level * 2)))
    answers: list[Answer] = []

    async def call() -> None:
        for number in numbers:
            story = STORY.format(number=number, subject=SUBJECTS[number % len(SUBJECTS)])
            answers.append(await ask(url, headers, story, NEW_TOKENS))

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(level)))
    return {"tokens_per_s": sum(one.tokens for one in answers) / (time.perf_counter() - began), **summarise(answers)}


async def ask_in_bursts(url: str, headers: dict[str, str], bursts: int, offset: int) -> dict[str, float]:
    """Eight questions at the same moment, again and again; the next eight when all are answered."""
    answers: list[Answer] = []
    for burst in range(bursts):
        numbers = range(offset + burst * 8, offset + burst * 8 + 8)
        prompts = [QUESTION.format(number=number, subject=SUBJECTS[number % len(SUBJECTS)]) for number in numbers]
        answers += await asyncio.gather(*(ask(url, headers, prompt, 32) for prompt in prompts))
    return summarise(answers)


def summarise(answers: list[Answer]) -> dict[str, float]:
    """First-token times and sizes. Errors: Trouble when an answer failed."""
    faults = [one.fault for one in answers if one.fault]
    if faults:
        raise Trouble(f"{len(faults)} of {len(answers)} answers failed: {faults[0]}")
    firsts = [one.first_s for one in answers if one.first_s is not None]
    return {
        "answers": len(answers),
        "prompt_tokens": sum(one.prompt_tokens for one in answers) / len(answers),
        "new_tokens": sum(one.tokens for one in answers) / len(answers),
        "first_p50_ms": percentile(firsts, 0.50) * 1000,
        "first_p95_ms": percentile(firsts, 0.95) * 1000,
    }


def start_engine(name: str, weights: Path, home: Path, levels: list[int]) -> tuple[Process, str, dict[str, str]]:
    """Start Shoal with its mini, or xllamacpp's server on Shoal's F16 GGUF; wait until it has answered once."""
    if name == "shoal":
        weights.mkdir(parents=True, exist_ok=True)
        home.mkdir()
        (home / "weights").symlink_to(weights)
        shoal = Shoal(home, "", None, mini=True, name="shoal-mini")
        process, url, headers = shoal.process, shoal.url, shoal.headers
    else:
        gguf = weights / "minnow" / "model.gguf"
        if not gguf.exists():
            raise Trouble(f"{gguf} is not there: run Shoal once with these weights (--only shoal), which makes it")
        port = harness.find_port()
        python = peers.environment("xllamacpp") / "bin" / "python"
        process = Process("xllamacpp", [str(python), "-c", XLLAMACPP_SERVER, str(gguf), str(port), str(max([8, *levels]))])
        url, headers = f"http://127.0.0.1:{port}/v1/chat/completions", {}
    first = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    try:
        harness.await_answer(process, url, headers, first, timeout_s=300)
    except Trouble:
        process.stop()
        raise
    return process, url, headers


async def measure_engine(url: str, headers: dict[str, str], levels: list[int], bursts: int, offset: int) -> dict[str, dict[str, float]]:
    """All levels and the bursts, once. Prompts differ by `offset`, so that no round finds the one before in a cache."""
    await ask(url, headers, STORY.format(number=offset, subject="a warm-up"), NEW_TOKENS)
    results = {str(level): await ask_at_level(url, headers, level, offset + 1000 * (i + 1)) for i, level in enumerate(levels)}
    results["bursts of 8"] = await ask_in_bursts(url, headers, bursts, offset + 100)
    return results


def show(medians: dict[str, dict[str, dict[str, float]]], options: argparse.Namespace) -> Verdict:
    """Tables and verdicts."""
    ours, theirs, verdict = medians.get("shoal"), medians.get("xllamacpp"), Verdict()
    rows = []
    for level in next(iter(medians.values())):
        if level.startswith("bursts"):
            continue
        speeds = [one[level]["tokens_per_s"] if one else 0.0 for one in (ours, theirs)]
        firsts = [f"{one[level]['first_p50_ms']:.0f} / {one[level]['first_p95_ms']:.0f}" if one else "" for one in (ours, theirs)]
        rows.append((level, *speeds, f"{speeds[0] / speeds[1]:.2f}" if all(speeds) else "", *firsts))
        if ours and theirs and level in ("1", "32"):
            verdict.at_least(f"tokens/s at {level}, times xllamacpp's", speeds[0] / speeds[1], 4.5 if level == "32" else 0.7)
    head = ("at once", "shoal tokens/s", "xllamacpp tokens/s", "ratio", "first token p50/p95 ms, shoal", "xllamacpp")
    print_table(
        f"{NEW_TOKENS} new tokens each, temperature 0.8, streamed; medians of {options.rounds} rounds", head, rows, options.markdown
    )
    bursts = [
        (name, one["bursts of 8"]["first_p50_ms"], one["bursts of 8"]["first_p95_ms"], one["bursts of 8"]["prompt_tokens"])
        for name, one in medians.items()
    ]
    print_table("Time to first token, 8 at the same moment", ("engine", "p50 ms", "p95 ms", "prompt tokens"), bursts, options.markdown)
    if ours:
        verdict.at_most("first token p95, 8 at once, ms", ours["bursts of 8"]["first_p95_ms"], 500)
    verdict.show(options.markdown)
    return verdict


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--levels", default="1,8,32,64")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bursts", type=int, default=10)
    parser.add_argument("--only", default="shoal,xllamacpp")
    parser.add_argument("--weights", type=Path, default=BENCH / "weights", help="as in SHOAL_HOME/weights; made at the first run")
    options = parser.parse_args()
    if options.quick:
        options.levels, options.rounds, options.bursts = "1,8", 1, 1
    levels = [int(level) for level in options.levels.split(",")]
    engines = [name for name in options.only.split(",") if name == "shoal" or peers.installed(name)]
    if len(engines) < len(options.only.split(",")):
        print("(xllamacpp is not installed and left out: python benchmarks/peers.py install xllamacpp)")
    machine = report.introduce("Mini", options.markdown)
    rounds: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in engines}
    with harness.workplace() as (directory, started):
        for number in range(options.rounds):
            for name in engines:
                process, url, headers = start_engine(name, options.weights.resolve(), directory / f"home-{number}", levels)
                started.append(process)
                rounds[name].append(uvloop.run(measure_engine(url, headers, levels, options.bursts, 10_000 * (number + 1))))
                process.stop()
    medians = {
        name: {level: {what: middle([one[level][what] for one in all_rounds]) for what in first} for level, first in all_rounds[0].items()}
        for name, all_rounds in rounds.items()
    }
    verdict = show(medians, options)
    record: dict[str, object] = {"medians": medians, "rounds": rounds, "xllamacpp": peers.installed("xllamacpp"), "threads": os.cpu_count()}
    report.save("mini", machine, record, verdict)


if __name__ == "__main__":
    harness.run(main)
