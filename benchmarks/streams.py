"""What a gateway adds to many streams at once: 1,000 SSE streams through one core, 10 chunks a second each, for 30 s.

    python benchmarks/streams.py [--streams 1000] [--seconds 30] [--only direct,nginx,shoal] [--quick] [--markdown]

This process is the upstream and the caller at once, on one core: each chunk carries the monotonic time at which it was written, and the
caller subtracts. The direct run (caller and upstream without a gateway) is the generator's own jitter and is subtracted from the others.
"""

import argparse
import asyncio
import gc
import json
import os
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import harness
import httptools
import peers
import psutil
import report
import uvloop
from harness import ANSWER, GATEWAY_CORE, GENERATOR_CORE, MODEL, MODELS, QUESTION, Process, Shoal, Trouble
from peers import Gateway
from report import Verdict, percentile, print_table

PERIOD_S = 0.1
SLOTS = 100  # one per millisecond of the period: the streams are spread evenly over it


def _frame(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(choices: list[object], **more: object) -> bytes:
    chunk = {"id": "chatcmpl-bench0002", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": MODEL, "choices": choices}
    return b"data: " + json.dumps({**chunk, **more}, separators=(",", ":")).encode() + b"\n\n"


MARK = b'"content":"T'
STAMP = 19 + 1 + 6  # nanoseconds, a blank, the chunk's number
CHUNK = _frame(_event([{"index": 0, "delta": {"content": "T" + "#" * STAMP}, "logprobs": None, "finish_reason": None}]))
CHUNK = CHUNK.replace(b"%", b"%%").replace(b"#" * STAMP, b"%019d %06d")
FINISH = _frame(_event([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]))
USAGE = _frame(_event([], usage={"prompt_tokens": 38, "completion_tokens": 300, "total_tokens": 338}))
DONE = _frame(b"data: [DONE]\n\n") + b"0\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"


class Upstream(asyncio.Protocol):
    """One connection to the scripted model server: a stream for those who ask for one, the models or ANSWER for the others."""

    def __init__(self, script: "Script") -> None:
        self.script = script
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.number = 0
        self.with_usage = False
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.path = url

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        request, self.body = json.loads(self.body or b"{}"), b""
        if request.get("stream"):
            self.number = 0
            self.with_usage = bool((request.get("stream_options") or {}).get("include_usage"))
            self.transport.write(STREAM_HEAD)
            self.script.add(self)
            return
        answer = json.dumps(MODELS if self.path == b"/v1/models" else ANSWER).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    def emit(self, chunks: int) -> bool:
        """Write the next chunk, or the end after `chunks` of them. Answers whether there is more to come."""
        if self.lost:
            return False
        if self.number < chunks:
            self.transport.write(CHUNK % (time.monotonic_ns(), self.number))
            self.number += 1
            return True
        self.transport.write(FINISH + USAGE + DONE if self.with_usage else FINISH + DONE)
        return False


class Script:
    """The clock of all streams: each millisecond it writes one chunk to each stream of that millisecond's slot."""

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.slots: list[list[Upstream]] = [[] for _ in range(SLOTS)]
        self.added = 0
        self.tick = 0
        self.loop = asyncio.get_running_loop()
        self.origin = self.loop.time()
        self.late_ticks = 0
        self._step()

    def add(self, stream: Upstream) -> None:
        """Begin a stream in the next slot."""
        self.slots[self.added % SLOTS].append(stream)
        self.added += 1

    def _step(self) -> None:
        due = int((self.loop.time() - self.origin) / PERIOD_S * SLOTS)
        self.late_ticks += max(0, due - self.tick - 1)
        while self.tick <= due:
            slot = self.tick % SLOTS
            self.slots[slot] = [one for one in self.slots[slot] if one.emit(self.chunks)]
            self.tick += 1
        self.timer = self.loop.call_at(self.origin + self.tick * PERIOD_S / SLOTS, self._step)

    def close(self) -> None:
        """Stop the clock."""
        self.timer.cancel()


class Tally:
    """What all callers of one run saw."""

    def __init__(self) -> None:
        self.delays_ns = array("q")
        self.stretches_ns = array("q")
        self.whole = 0
        self.chunks = 0
        self.faults: list[str] = []


class Caller(asyncio.Protocol):
    """One streaming request: parses the answer's framing and events, and keeps the times."""

    def __init__(self, request: bytes, chunks: int, tally: Tally, ended: Callable[[], None]) -> None:
        self.request, self.chunks, self.tally, self.ended = request, chunks, tally, ended
        self.parser = httptools.HttpResponseParser(self)
        self.rest = b""
        self.number = 0
        self.last_delay_ns = 0
        self.done = False
        self.complete = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.now_ns = time.monotonic_ns()
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        *events, self.rest = (self.rest + data).split(b"\n\n")
        for event in events:
            at = event.find(MARK)
            if at >= 0:
                self.take(event[at + len(MARK) : at + len(MARK) + STAMP])
            elif event == b"data: [DONE]":
                self.done = True
            elif b'"error"' in event:
                self.tally.faults.append(event[:300].decode(errors="replace"))

    def take(self, stamp: bytes) -> None:
        """Account one chunk: its delay, and how much longer than its sender's the gap before it was."""
        tally, delay_ns = self.tally, self.now_ns - int(stamp[:19])
        if int(stamp[20:]) != self.number:
            tally.faults.append(f"chunk {int(stamp[20:])} where {self.number} was due")
        tally.delays_ns.append(delay_ns)
        if self.number:
            tally.stretches_ns.append(delay_ns - self.last_delay_ns)
        self.last_delay_ns = delay_ns
        self.number += 1
        tally.chunks += 1

    def on_message_complete(self) -> None:
        self.complete = True
        if self.parser.get_status_code() != 200:
            self.tally.faults.append(f"status {self.parser.get_status_code()}: {self.rest[:300].decode(errors='replace')}")
        elif self.done and self.number == self.chunks:
            self.tally.whole += 1
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.complete:
            self.tally.faults.append(f"connection lost after {self.number} chunks: {exc}")
        self.ended()


class Run(NamedTuple):
    """One run's numbers; times in ms, memory in MB, cpu in cores."""

    streams: int
    whole: int
    chunks: int
    wanted_chunks: int
    delay_p50_ms: float
    delay_p99_ms: float
    stretch_p50_ms: float
    stretch_p99_ms: float
    late_ticks: int
    memory_mb: float
    cpu: float
    faults: list[str]


async def stream_all(
    port: int, path: str, headers: dict[str, str], script: Script, options: argparse.Namespace, watched: psutil.Process | None
) -> Run:
    """Open the streams, 500 a second, and wait until all have ended. Memory is read while all are open."""
    loop, tally = asyncio.get_running_loop(), Tally()
    body = json.dumps({**QUESTION, "stream": True, "max_tokens": 1000}).encode()
    fields = {"host": f"127.0.0.1:{port}", "content-type": "application/json", "content-length": str(len(body)), **headers}
    request = (
        f"POST {path} HTTP/1.1\r\n".encode() + "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode() + b"\r\n" + body
    )
    running, all_ended, script.late_ticks = options.streams, asyncio.Event(), 0

    def end() -> None:
        nonlocal running
        running -= 1
        if not running:
            all_ended.set()

    origin = loop.time()
    for number in range(options.streams):
        await asyncio.sleep(origin + number / 500 - loop.time())
        try:
            await loop.create_connection(lambda: Caller(request, script.chunks, tally, end), "127.0.0.1", port)
        except OSError as error:
            tally.faults.append(f"no connection: {error}")
            end()
    cpu_before, before, memory = watched.cpu_times() if watched else None, time.monotonic(), 0.0
    while not all_ended.is_set():
        if watched and running == options.streams:
            memory = max(memory, harness.measure_rss_mb(watched))
        try:
            async with asyncio.timeout(1.0 if loop.time() < origin + options.seconds + 60 else 0.0):
                await all_ended.wait()
        except TimeoutError:
            if loop.time() > origin + options.seconds + 60:
                tally.faults.append(f"{running} streams did not end within 60 s of their time")
                break
    used = 0.0
    if watched and cpu_before:
        times = watched.cpu_times()
        used = (times.user + times.system - cpu_before.user - cpu_before.system) / (time.monotonic() - before)
    delays, stretches = tally.delays_ns or [0], [abs(one) for one in tally.stretches_ns] or [0]
    wanted = options.streams * script.chunks
    return Run(
        streams=options.streams,
        whole=tally.whole,
        chunks=tally.chunks,
        wanted_chunks=wanted,
        delay_p50_ms=percentile(delays, 0.5) / 1e6,
        delay_p99_ms=percentile(delays, 0.99) / 1e6,
        stretch_p50_ms=percentile(stretches, 0.5) / 1e6,
        stretch_p99_ms=percentile(stretches, 0.99) / 1e6,
        late_ticks=script.late_ticks,
        memory_mb=memory,
        cpu=used,
        faults=tally.faults,
    )


async def measure(names: list[str], options: argparse.Namespace, directory: Path, started: list[Process]) -> dict[str, Run]:
    """Run the streams directly and through each gateway in turn."""
    loop = asyncio.get_running_loop()
    script = Script(round(options.seconds / PERIOD_S))
    upstream_port = harness.find_port()
    server = await loop.create_server(lambda: Upstream(script), "127.0.0.1", upstream_port, backlog=4096)
    runs: dict[str, Run] = {}
    for name in names:
        gateway, watched = await asyncio.to_thread(start_gateway, name, upstream_port, directory, started)
        address = gateway.url.split("/", 3) if gateway else ["", "", f"127.0.0.1:{upstream_port}", "v1/chat/completions"]
        gc.collect()
        gc.disable()
        port = int(address[2].partition(":")[2])
        runs[name] = await stream_all(port, "/" + address[3], gateway.headers if gateway else {}, script, options, watched)
        gc.enable()
        if gateway:
            await asyncio.to_thread(gateway.process.stop)
    script.close()
    server.close()
    return runs


def start_gateway(name: str, upstream_port: int, directory: Path, started: list[Process]) -> tuple[Gateway | None, psutil.Process | None]:
    """Start one gateway in front of the scripted upstream, and say which process to watch; nothing for the direct run."""
    if name == "direct":
        return None, None
    if name == "shoal":
        shoal = Shoal(directory / "home", harness.gateway_config(upstream_port), GATEWAY_CORE, name="shoal-streams")
        gateway = Gateway(shoal.process, shoal.url, shoal.headers)
    elif name == "nginx":
        port = harness.find_port()
        gateway = Gateway(harness.start_nginx_proxy(port, upstream_port, directory), f"http://127.0.0.1:{port}/v1/chat/completions", {})
    else:
        gateway = peers.start(name, upstream_port, directory)
    started.append(gateway.process)
    harness.await_answer(gateway.process, gateway.url, gateway.headers, QUESTION)
    return gateway, max(gateway.process.tree(), key=lambda one: one.memory_info().rss) if name != "shoal" else shoal.worker()


def show(runs: dict[str, Run], options: argparse.Namespace) -> Verdict:
    """The table of what each run saw and what each gateway added, and the verdict on Shoal."""
    direct, verdict = runs["direct"], Verdict()
    rows = []
    for name, one in runs.items():
        added = "" if name == "direct" else f"{one.delay_p50_ms - direct.delay_p50_ms:.2f} / {one.delay_p99_ms - direct.delay_p99_ms:.2f}"
        stretch = "" if name == "direct" else f"{one.stretch_p99_ms - direct.stretch_p99_ms:.2f}"
        seen = f"{one.delay_p50_ms:.2f} / {one.delay_p99_ms:.2f}"
        rows.append((name, f"{one.whole}/{one.streams}", one.wanted_chunks - one.chunks, seen, added, stretch, one.memory_mb, one.cpu))
    head = ("through", "whole", "chunks lost", "delay p50/p99 ms", "added p50/p99 ms", "gap added p99 ms", "memory MB", "cpu")
    print_table(f"{options.streams} streams, 10 chunks/s each, {options.seconds:g} s", head, rows, options.markdown)
    for name, one in runs.items():
        for fault in one.faults[:3]:
            print(f"{name}: {fault}")
        if len(one.faults) > 3:
            print(f"{name}: and {len(one.faults) - 3} more faults")
    if "shoal" in runs:
        ours = runs["shoal"]
        verdict.at_most("streams lost", ours.streams - ours.whole, 0)
        verdict.at_most("added delay of a chunk p99, ms", ours.delay_p99_ms - direct.delay_p99_ms, 20)
        verdict.at_most("added gap between chunks p99, ms", ours.stretch_p99_ms - direct.stretch_p99_ms, 20)
        verdict.at_most("memory of the worker with all streams open, MB", ours.memory_mb, 200)
    verdict.show(options.markdown)
    return verdict


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--only", default="direct,nginx,shoal", help="also " + ", ".join(peers.STARTERS))
    options = parser.parse_args()
    if options.quick:
        options.streams, options.seconds = min(options.streams, 100), 2
    names = ["direct", *(name for name in options.only.split(",") if name != "direct")]
    for name in names:
        if name not in ("direct", "nginx", "shoal") and (name not in peers.STARTERS or peers.installed(name) is None):
            raise Trouble(f"{name} is not known or not installed: python benchmarks/peers.py list")
    machine = report.introduce("Streams", options.markdown)
    if GENERATOR_CORE is not None:
        os.sched_setaffinity(0, {GENERATOR_CORE})
    with harness.workplace() as (directory, started):
        runs = uvloop.run(measure(names, options, directory, started))
    verdict = show(runs, options)
    report.save("streams", machine, {"runs": {name: one._asdict() for name, one in runs.items()}}, verdict)


if __name__ == "__main__":
    harness.run(main)
