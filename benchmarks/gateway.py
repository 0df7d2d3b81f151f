"""What one core proxies: Shoal against nginx as a plain reverse proxy and against other gateways, non-streaming chat completions.

    python benchmarks/gateway.py [--rounds 3] [--seconds 5] [--only shoal,nginx] [--target NAME=URL[@KEY[@MODEL]]] [--quick] [--markdown]

Three tables: requests per second at 32 connections (rounds interleaved, medians), latency added at one connection (direct and through
in turn), and the memory of Shoal's worker, idle and after 300,000 requests. README.md says how, and what this does not show.
"""

import time
from argparse import Namespace
from pathlib import Path

import harness
import peers
import report
from harness import GATEWAY_CORE, MODEL, QUESTION, Process, Shoal, Trouble, await_answer, run_wrk
from peers import Gateway
from report import Verdict, middle, print_table

OURS = ("nginx", "shoal", "translated")
TITLES = {"translated": "shoal, to Anthropic's API and back"}


def start_gateways(options: Namespace, upstream_port: int, directory: Path, started: list[Process]) -> dict[str, Gateway]:
    """Start what is to be measured, wait until each has answered once, and suspend the peers. Shoal and nginx idle at no cost."""
    only = set(options.only.split(",")) if options.only else None
    gateways: dict[str, Gateway] = {}
    for name in (*OURS, *peers.STARTERS):
        if only is not None and name not in only:
            continue
        if name == "nginx":
            port = harness.find_port()
            nginx = harness.start_nginx_proxy(port, upstream_port, directory)
            gateway = Gateway(nginx, f"http://127.0.0.1:{port}/v1/chat/completions", {})
        elif name == "shoal":
            shoal = Shoal(directory / "home", harness.gateway_config(upstream_port), GATEWAY_CORE)
            gateway = Gateway(shoal.process, shoal.url, shoal.headers)
        elif name == "translated":
            shoal = Shoal(directory / "home-translated", harness.translating_config(upstream_port), GATEWAY_CORE, name="shoal-translated")
            gateway = Gateway(shoal.process, shoal.url, shoal.headers)
        elif peers.installed(name) is None:
            print(f"({name} is not installed and left out: python benchmarks/peers.py install {name})")
            continue
        else:
            gateway = peers.start(name, upstream_port, directory)
        started.append(gateway.process)
        await_answer(gateway.process, gateway.url, gateway.headers, QUESTION)
        gateways[name] = gateway
        if name in peers.STARTERS:
            gateway.process.suspend()
    return gateways


def load(name: str, gateway: Gateway, connections: int, seconds: float, directory: Path) -> dict[str, float]:
    """Load one gateway while the peers rest. Errors: Trouble when any answer was not a success."""
    if name in peers.STARTERS:
        gateway.process.resume()
    try:
        result = run_wrk(gateway.url, gateway.headers, connections, seconds, directory)
    finally:
        if name in peers.STARTERS:
            gateway.process.suspend()
    if result["failed"]:
        raise Trouble(f"{name}: {result['failed']} of {result['requests']} requests failed; see {gateway.process.log}")
    if not result["requests"]:
        raise Trouble(f"{name} answered nothing within {seconds:g} s; give it longer rounds (--seconds), or leave it out (--only)")
    return result


def measure_throughput(gateways: dict[str, Gateway], options: Namespace, directory: Path) -> dict[str, dict[str, float]]:
    """Interleaved rounds of load; the medians of requests/s, p50 and p99."""
    for name, gateway in gateways.items():
        load(name, gateway, options.connections, options.warm_s, directory)
    rounds = [
        {name: load(name, gateway, options.connections, options.seconds, directory) for name, gateway in gateways.items()}
        for _ in range(options.rounds)
    ]
    wanted = ("requests_per_s", "p50_us", "p99_us")
    return {name: {what: middle([one[name][what] for one in rounds]) for what in wanted} for name in gateways}


def measure_added_latency(
    gateways: dict[str, Gateway], direct: Gateway, options: Namespace, directory: Path
) -> dict[str, dict[str, float]]:
    """One connection, the upstream directly and through each gateway in turn; medians of the differences of p50 and p99, in us."""
    added: dict[str, list[tuple[float, float]]] = {name: [] for name in gateways}
    straight: list[tuple[float, float]] = []
    for _ in range(options.latency_rounds):
        for name, gateway in gateways.items():
            base = load("direct", direct, 1, options.latency_s, directory)
            through = load(name, gateway, 1, options.latency_s, directory)
            straight.append((base["p50_us"], base["p99_us"]))
            added[name].append((through["p50_us"] - base["p50_us"], through["p99_us"] - base["p99_us"]))
    result = {
        name: {"p50_us": middle([p50 for p50, _ in pairs]), "p99_us": middle([p99 for _, p99 in pairs])} for name, pairs in added.items()
    }
    result["direct"] = {"p50_us": middle([p50 for p50, _ in straight]), "p99_us": middle([p99 for _, p99 in straight])}
    return result


def measure_memory(upstream_port: int, options: Namespace, directory: Path, started: list[Process]) -> dict[str, float]:
    """Resident memory of a fresh Shoal's worker in MB: idle, after 5,000 requests, after all of them (and a rest for folding)."""
    shoal = Shoal(directory / "home-memory", harness.gateway_config(upstream_port), GATEWAY_CORE, name="shoal-memory")
    started.append(shoal.process)
    gateway = Gateway(shoal.process, shoal.url, shoal.headers)
    await_answer(shoal.process, shoal.url, shoal.headers, QUESTION)
    time.sleep(options.rest_s)
    worker, result, requests = shoal.worker(), {}, 0.0
    result["idle_mb"] = harness.measure_rss_mb(worker)
    for name, wanted in (("warm_mb", options.requests / 60), ("after_mb", options.requests)):
        while requests < wanted:
            requests += load("shoal", gateway, options.connections, 5 if wanted - requests > 50_000 else 1, directory)["requests"]
        time.sleep(options.rest_s)
        result[name] = harness.measure_rss_mb(worker)
    result["requests"] = requests
    result["supervisor_mb"] = harness.measure_rss_mb(shoal.process.root)
    shoal.process.stop()
    return result


def judge(speed: dict[str, dict[str, float]], latency: dict[str, dict[str, float]], memory: dict[str, float], verdict: Verdict) -> None:
    """What the project wants of itself."""
    if "shoal" in speed and "nginx" in speed:
        verdict.at_least("requests/s, of nginx's", speed["shoal"]["requests_per_s"] / speed["nginx"]["requests_per_s"], 0.25)
    if "translated" in speed and "nginx" in speed:
        share = speed["translated"]["requests_per_s"] / speed["nginx"]["requests_per_s"]
        verdict.at_least("requests/s translated for Anthropic's API, of nginx's", share, 0.08)
    if "shoal" in speed and "litellm" in speed:
        verdict.at_least("requests/s, times LiteLLM's", speed["shoal"]["requests_per_s"] / speed["litellm"]["requests_per_s"], 100)
    if "shoal" in latency:
        verdict.at_most("added latency p50, us", latency["shoal"]["p50_us"], 150)
        verdict.at_most("added latency p99, us", latency["shoal"]["p99_us"], 1000)
    if memory:
        verdict.at_most("memory idle, MB", memory["idle_mb"], 80)
        verdict.at_most(f"memory added by {memory['requests']:,.0f} requests, MB", memory["after_mb"] - memory["idle_mb"], 10)


def add_targets(options: Namespace, gateways: dict[str, Gateway], upstream: Process) -> None:
    """Gateways that somebody else started and pinned: NAME=URL[@KEY[@MODEL]], in front of --upstream-port."""
    for spec in options.target:
        name, _, rest = spec.partition("=")
        url, *more = rest.split("@")
        if len(more) > 1 and more[1] != MODEL:
            raise Trouble(f"{name}: targets are asked for {MODEL}; let the gateway call its model that")
        gateway = Gateway(upstream, url, {"authorization": f"Bearer {more[0] if more else 'none'}"})
        await_answer(upstream, gateway.url, gateway.headers, QUESTION, timeout_s=10)
        gateways[name] = gateway


def show(speed: dict[str, dict[str, float]], latency: dict[str, dict[str, float]], memory: dict[str, float], options: Namespace) -> None:
    """The three tables."""
    versions = {name: f"{peers.TITLES[name]} {peers.installed(name)}" for name in speed if name in peers.STARTERS}
    best = speed.get("nginx", next(iter(speed.values())))["requests_per_s"]
    ours = speed["shoal"]["requests_per_s"] if "shoal" in speed else None
    rows = [
        (
            TITLES.get(name) or versions.get(name, name),
            one["requests_per_s"],
            f"{one['requests_per_s'] / best:.4f}",
            f"{ours / one['requests_per_s']:.2f}" if ours else "",
            one["p50_us"] / 1000,
            one["p99_us"] / 1000,
        )
        for name, one in sorted(speed.items(), key=lambda item: -item[1]["requests_per_s"])
    ]
    head = ("gateway", "requests/s", "of nginx", "Shoal is x", "p50 ms", "p99 ms")
    print_table(
        f"One core, {options.connections} connections, {options.rounds} rounds of {options.seconds:g} s", head, rows, options.markdown
    )
    if latency:
        added = [(TITLES.get(name) or versions.get(name, name), one["p50_us"], one["p99_us"]) for name, one in latency.items()]
        title = f"Latency at one connection, added to the direct call's (last row: the direct call itself), {options.latency_rounds} rounds"
        print_table(title, ("gateway", "p50 us", "p99 us"), added, options.markdown)
    if memory:
        cells = list(memory.items())
        print_table("Shoal's worker, resident memory", ("when", "MB"), cells, options.markdown)


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--latency-rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=300_000, help="before memory is read again; 0: leave memory out")
    parser.add_argument("--only", default="", help="comma-separated: " + ", ".join((*OURS, *peers.STARTERS)))
    parser.add_argument(
        "--target", action="append", default=[], help="NAME=URL[@KEY]: a gateway that already runs, in front of --upstream-port"
    )
    parser.add_argument("--upstream-port", type=int, default=0, help="default: any free port")
    options = parser.parse_args()
    options.warm_s, options.latency_s, options.rest_s = 2, 2, 5
    if options.quick:
        options.rounds, options.seconds, options.latency_rounds, options.warm_s, options.latency_s, options.rest_s = 1, 2, 1, 2, 2, 1
        options.requests = min(options.requests, 3000)
    machine = report.introduce("Gateway", options.markdown)
    with harness.workplace() as (directory, started):
        upstream_port = options.upstream_port or harness.find_port()
        upstream = harness.start_upstream(upstream_port, directory)
        started.append(upstream)
        direct = Gateway(upstream, f"http://127.0.0.1:{upstream_port}/v1/chat/completions", {})
        await_answer(upstream, direct.url, {}, QUESTION)
        gateways = start_gateways(options, upstream_port, directory, started)
        add_targets(options, gateways, upstream)
        if not gateways:
            raise Trouble("nothing to measure: --only names nothing that is known and installed")
        speed = measure_throughput(gateways, options, directory)
        latency = measure_added_latency(gateways, direct, options, directory) if options.latency_rounds else {}
        for gateway in gateways.values():
            if gateway.process is not upstream:
                gateway.process.stop()
        memory = measure_memory(upstream_port, options, directory, started) if options.requests and "shoal" in gateways else {}
    verdict = Verdict()
    judge(speed, latency, memory, verdict)
    show(speed, latency, memory, options)
    verdict.show(options.markdown)
    versions = {name: peers.installed(name) for name in gateways if name in peers.STARTERS}
    result: dict[str, object] = {"throughput": speed, "added_latency": latency, "memory": memory, "versions": versions}
    report.save("gateway", machine, result, verdict)


if __name__ == "__main__":
    harness.run(main)
