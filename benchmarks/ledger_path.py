"""What counting costs on the path: one core, SQLite, a key with a wallet, a budget and two limits, against nginx and a key without."""

import argparse
from pathlib import Path

import harness
from books import NANO, found
from harness import GATEWAY_CORE, QUESTION, Process, Shoal, await_answer
from peers import Gateway
from report import Verdict, print_table

import gateway

USD = 1_000_000
RPM, TPM = 10_000_000, 1_000_000_000
"""Above what one core answers, so that they count and do not refuse."""


def run(options: argparse.Namespace, verdict: Verdict, directory: Path, started: list[Process]) -> dict[str, object]:
    """Load them in turn."""
    upstream_port, nginx_port = harness.find_port(), harness.find_port()
    started.append(harness.start_upstream(upstream_port, directory))
    nginx = harness.start_nginx_proxy(nginx_port, upstream_port, directory)
    shoal = Shoal(directory / "path", harness.gateway_config(upstream_port), GATEWAY_CORE, name="shoal-path")
    started += [nginx, shoal.process]
    await_answer(shoal.process, shoal.url, shoal.headers, QUESTION)
    firm = found(shoal.home / "shoal.db", USD, monthly_nano=USD * NANO, rpm=RPM, tpm=TPM)
    gateways = {
        "nginx": Gateway(nginx, f"http://127.0.0.1:{nginx_port}/v1/chat/completions", {}),
        "nothing counted": Gateway(shoal.process, shoal.url, shoal.headers),
        "wallet, budget, two limits": Gateway(shoal.process, shoal.url, firm.headers),
    }
    for one in gateways.values():
        await_answer(one.process, one.url, one.headers, QUESTION)
    manner = argparse.Namespace(connections=32, rounds=options.rounds, seconds=options.round_s, warm_s=2)
    speed = gateway.measure_throughput(gateways, manner, directory)
    rates = {name: one["requests_per_s"] for name, one in speed.items()}
    rows = [
        (name, rates[name], f"{rates[name] / rates['nginx']:.4f}", one["p50_us"] / 1000, one["p99_us"] / 1000)
        for name, one in speed.items()
    ]
    title = f"One core, {manner.connections} connections, {manner.rounds} rounds of {manner.seconds:g} s"
    print_table(title, ("key", "requests/s", "of nginx", "p50 ms", "p99 ms"), rows, options.markdown)
    counted, plain = rates["wallet, budget, two limits"], rates["nothing counted"]
    verdict.at_least("path: requests/s with wallet, budget and two limits, of nginx's", counted / rates["nginx"], 0.2)
    return {"throughput": speed, "of_uncounted": counted / plain}
