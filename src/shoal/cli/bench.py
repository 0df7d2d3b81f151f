"""`shoal bench`: a quick look at how fast an endpoint answers. benchmarks/ holds the measurements that are compared with others."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import typer

PROMPT = "Tell a short story about a fisherman, his daughter and a school of small fish that wanted to see the open sea."


@dataclass(frozen=True)
class Answer:
    """One request: seconds to the first text and to the end, tokens as the server counted them; `error` when it failed."""

    first_s: float = 0.0
    total_s: float = 0.0
    tokens: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Level:
    """What came of one level of concurrency."""

    concurrency: int
    requests: int
    failed: int
    requests_per_s: float
    tokens_per_s: float
    first_token_p50_ms: float
    first_token_p95_ms: float
    error: str | None


def bench(
    url: str = typer.Option("http://127.0.0.1:8400", envvar="SHOAL_URL", help="The server."),
    key: str | None = typer.Option(None, envvar="SHOAL_API_KEY", help="The key; by default this machine's own.", show_default=False),
    model: str = typer.Option("minnow", "--model", "-m", help="Which model to ask."),
    concurrency: str = typer.Option("1,8,32", help="How many streams at once, one level after the other."),
    requests: int = typer.Option(0, min=0, help="Requests per level; 0 means two per stream, four at least."),
    max_tokens: int = typer.Option(64, min=1, help="The length of every answer, in tokens."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Load an endpoint for some seconds: tokens/s, time to the first token, requests/s."""
    from shoal.cli.endpoint import Endpoint, Unavailable
    from shoal.cli.local_key import read_local_key
    from shoal.settings import home

    levels = parse_levels(concurrency)
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": max_tokens, "temperature": 1.0}
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    try:
        endpoint = Endpoint(url, key or read_local_key(home()))
        for _ in endpoint.stream("/chat/completions", body | {"max_tokens": 1}):  # says at once what is wrong, and warms up
            continue
        results = [run_level(endpoint, body, streams, requests or max(4, 2 * streams)) for streams in levels]
    except Unavailable as error:
        typer.echo(f"shoal: {error}", err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({"url": url, "model": model, "max_tokens": max_tokens, "levels": [asdict(level) for level in results]}))
    else:
        show(results, model, url)
    if any(level.failed for level in results):
        raise typer.Exit(1)


def parse_levels(text: str) -> list[int]:
    """`1,8,32` as numbers."""
    try:
        levels = [int(part) for part in text.split(",")]
    except ValueError:
        levels = []
    if not levels or any(not 1 <= level <= 1024 for level in levels):
        raise typer.BadParameter("numbers from 1 to 1024 separated by commas, as in 1,8,32", param_hint="--concurrency")
    return levels


def run_level(endpoint: Any, body: dict[str, Any], streams: int, requests: int) -> Level:
    """`requests` requests over `streams` threads, each asking again as soon as it was answered."""
    answers: list[Answer] = []
    left = iter(range(requests))  # next() on a range iterator is atomic

    def work() -> None:
        for _ in left:
            answers.append(ask(endpoint, body))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(streams, requests))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return summarise(streams, answers, time.perf_counter() - started)


def ask(endpoint: Any, body: dict[str, Any]) -> Answer:
    """One streamed request."""
    from shoal.cli.endpoint import Unavailable

    started, first_s, tokens = time.perf_counter(), 0.0, 0
    try:
        for event in endpoint.stream("/chat/completions", body):
            if not first_s and any((choice.get("delta") or {}).get("content") for choice in event.get("choices", ())):
                first_s = time.perf_counter() - started
            tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    except Unavailable as error:
        return Answer(error=str(error))
    total_s = time.perf_counter() - started
    return Answer(first_s or total_s, total_s, tokens)


def summarise(streams: int, answers: Sequence[Answer], elapsed_s: float) -> Level:
    """Rates count what was answered; percentiles are of the answered alone."""
    good = [answer for answer in answers if answer.error is None]
    first = sorted(answer.first_s * 1000 for answer in good)
    return Level(
        concurrency=streams,
        requests=len(answers),
        failed=len(answers) - len(good),
        requests_per_s=round(len(good) / elapsed_s, 2),
        tokens_per_s=round(sum(answer.tokens for answer in good) / elapsed_s, 1),
        first_token_p50_ms=round(percentile(first, 0.50), 1),
        first_token_p95_ms=round(percentile(first, 0.95), 1),
        error=next((answer.error for answer in answers if answer.error), None),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of ordered values; 0 of none."""
    return ordered[max(0, -(-int(share * 100) * len(ordered) // 100) - 1)] if ordered else 0.0


def show(levels: Sequence[Level], model: str, url: str) -> None:
    """The table for a person."""
    from rich.console import Console
    from rich.table import Table

    table = Table("streams", "requests", "failed", "requests/s", "tokens/s", "first token p50", "p95", title=f"{model} at {url}")
    for level in levels:
        table.add_row(
            str(level.concurrency),
            str(level.requests),
            str(level.failed),
            f"{level.requests_per_s:.2f}",
            f"{level.tokens_per_s:.0f}",
            f"{level.first_token_p50_ms:.0f} ms",
            f"{level.first_token_p95_ms:.0f} ms",
        )
    Console().print(table)
    for error in dict.fromkeys(level.error for level in levels if level.error):
        typer.echo(f"shoal: {error}", err=True)
