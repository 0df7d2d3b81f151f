"""The other gateways, and the other engine, that Shoal is measured against: each in an environment of its own under build/bench/env-NAME.

    python benchmarks/peers.py install [NAME ...]     # litellm portkey smg xllamacpp; needs uv or pip, and npm for portkey
    python benchmarks/peers.py list

Versions are exact, so that two runs compare the same thing; a newer one is a change here, after a look at what was released.
LiteLLM stays in the 1.106 series on purpose: a later release was withdrawn as compromised.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from harness import BENCH, GATEWAY_CORE, MODEL, Process, Trouble, find_port, run

PYTHON_PEERS = {"litellm": "litellm[proxy]==1.106.2", "smg": "smg==1.13.0", "xllamacpp": "xllamacpp==2026.10.11549"}
PORTKEY = "@portkey-ai/gateway@1.15.2"
NAMES = (*PYTHON_PEERS, "portkey")
TITLES = {"litellm": "LiteLLM proxy", "portkey": "Portkey gateway", "smg": "sglang model gateway", "xllamacpp": "xllamacpp"}
KEY = "sk-bench-0123456789abcdef0123456789abcdef"


class Gateway(NamedTuple):
    """A running gateway: where to post a chat completion, and with which headers."""

    process: Process
    url: str
    headers: dict[str, str]


def environment(name: str) -> Path:
    """Where a peer is installed."""
    return BENCH / f"env-{name}"


def installed(name: str) -> str | None:
    """The installed version, or None."""
    if name == "portkey":
        manifest = environment(name) / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
        return str(json.loads(manifest.read_text())["version"]) if manifest.exists() and shutil.which("node") else None
    found = sorted(environment(name).glob(f"lib/python*/site-packages/{name}-*.dist-info"))
    return found[0].name.removesuffix(".dist-info").partition("-")[2] if found else None


# installing


def _call(argv: list[str], cwd: Path) -> None:
    print("+", " ".join(argv), flush=True)
    if subprocess.run(argv, cwd=cwd, check=False, stdin=subprocess.DEVNULL).returncode:
        raise Trouble(f"{argv[0]} failed; see above")


def install(name: str) -> None:
    """Install one peer in an environment of its own. Errors: Trouble when an installer is missing or fails."""
    place = environment(name)
    if name == "portkey":
        if shutil.which("npm") is None:
            raise Trouble("Portkey's gateway needs node and npm, which are not installed (Debian: apt-get install nodejs npm).")
        place.mkdir(parents=True, exist_ok=True)
        (place / "package.json").write_text('{"private": true}\n')
        _call(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PORTKEY], place)
        return
    BENCH.mkdir(parents=True, exist_ok=True)
    python, package = str(place / "bin" / "python"), PYTHON_PEERS[name]
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        _call([sys.executable, "-m", "venv", "--clear", str(place)], BENCH)
    else:  # pip's resolver needs ten minutes for LiteLLM's proxy, uv's a second
        _call([uv, "venv", "--quiet", "--clear", "--seed", "--python", sys.executable, str(place)], BENCH)
        with contextlib.suppress(Trouble):
            _call([uv, "pip", "install", "--quiet", "--native-tls", "--python", python, package], BENCH)
            return
        print("uv failed, installing with pip")
    _call([python, "-m", "pip", "install", "--quiet", package], BENCH)


# running


def _start_litellm(upstream_port: int, directory: Path) -> Gateway:
    """One worker; the master key is its key check (its other keys need a PostgreSQL server)."""
    port = find_port()
    config = directory / "litellm.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n      model: openai/{MODEL}\n"
        f"      api_base: http://127.0.0.1:{upstream_port}/v1\n      api_key: sk-upstream\n"
        f"general_settings:\n  master_key: {KEY}\nlitellm_settings:\n  set_verbose: false\n"
    )
    argv = [str(environment("litellm") / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}
    process = Process("litellm", [*argv, "--num_workers", "1", "--telemetry", "False"], GATEWAY_CORE, quiet, directory)
    return Gateway(process, f"http://127.0.0.1:{port}/v1/chat/completions", {"authorization": f"Bearer {KEY}"})


def _start_portkey(upstream_port: int, directory: Path) -> Gateway:
    """The open-source gateway: no key check of its own; the upstream is named by headers."""
    port = find_port()
    script = environment("portkey") / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    argv = [shutil.which("node") or "node", str(script), f"--port={port}", "--headless"]
    process = Process("portkey", argv, GATEWAY_CORE, {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}, directory)
    headers = {
        "authorization": "Bearer sk-upstream",
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
    }
    return Gateway(process, f"http://127.0.0.1:{port}/v1/chat/completions", headers)


def _start_smg(upstream_port: int, directory: Path) -> Gateway:
    """One worker URL, round robin, its key check on, health checks off (they are not the work measured)."""
    port, metrics = find_port(), find_port()
    argv = [str(environment("smg") / "bin" / "smg"), "launch", "--host", "127.0.0.1", "--port", str(port), "--backend", "openai"]
    argv += ["--worker-urls", f"http://127.0.0.1:{upstream_port}", "--policy", "round_robin", "--history-backend", "none"]
    argv += ["--api-key", KEY, "--log-level", "error", "--prometheus-port", str(metrics), "--prometheus-host", "127.0.0.1"]
    process = Process("smg", argv, GATEWAY_CORE, {}, directory)
    return Gateway(process, f"http://127.0.0.1:{port}/v1/chat/completions", {"authorization": f"Bearer {KEY}"})


STARTERS: dict[str, Callable[[int, Path], Gateway]] = {"litellm": _start_litellm, "portkey": _start_portkey, "smg": _start_smg}


def start(name: str, upstream_port: int, directory: Path) -> Gateway:
    """Start an installed gateway on the gateway's core, in front of the upstream. It may need seconds to answer."""
    return STARTERS[name](upstream_port, directory)


def main() -> None:
    """Install or list."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("verb", choices=("install", "list"))
    options.add_argument("names", nargs="*", metavar="NAME", help=f"default: all of {' '.join(NAMES)}")
    chosen = options.parse_args()
    unknown = [name for name in chosen.names if name not in NAMES]
    if unknown:
        raise Trouble(f"there is no peer named {', '.join(unknown)}; the peers are {', '.join(NAMES)}")
    for name in chosen.names or NAMES:
        if chosen.verb == "install":
            install(name)
        print(f"{name:10} {installed(name) or 'not installed'}")


if __name__ == "__main__":
    run(main)
