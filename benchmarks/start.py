"""How long a newcomer waits: `make serve` on a clean clone to the first answer, and the same again once everything is there.

    python benchmarks/start.py [--rounds 3] [--markdown]

The clone, its environment and SHOAL_HOME are new and go away afterwards; packages come from the installers' caches as far as they are
there (run it twice to be sure that they are warm). Uncommitted changes are not in the clone.
"""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import harness
import report
from harness import ROOT, Process, Trouble
from report import Verdict, middle, print_table

QUESTION = {"model": "minnow", "messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 16}
NOT_INHERITED = ("VIRTUAL_ENV", "PYTHON", "PYTHONPATH", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SHOAL_CONFIG", "SHOAL_HOME")


def serve_once(
    name: str, clone: Path, home: Path, key: str | None, started: list[Process], timeout_s: float
) -> tuple[dict[str, float], str]:
    """`make serve` until it has answered a question; then stop it. Answers seconds by milestone, and the key.

    The first start prints a first key; a later one is given that key.
    """
    port = harness.find_port()
    url, seconds = f"http://127.0.0.1:{port}/openai/v1/chat/completions", {}
    began = time.perf_counter()
    process = Process(name, ["make", "serve", f"ARGS=--port {port}"], None, {"SHOAL_HOME": str(home)}, clone)
    started.append(process)
    while time.perf_counter() - began < timeout_s:
        process.check()
        passed, output = time.perf_counter() - began, process.log.read_text(errors="replace")
        if "installed" not in seconds and any((clone / ".venv").glob(".installed*")):
            seconds["installed"] = passed
        if "serving" not in seconds and "Shoal serves on" in output:
            seconds["serving"] = passed
        shown = re.search(r"sk-shoal-[\w-]{43}", output)
        key = key or (shown.group() if shown else None)
        if key is not None and "serving" in seconds:
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, answer = harness.post(url, {"authorization": f"Bearer {key}"}, QUESTION)
                if status == 200 and b'"choices"' in answer:
                    seconds["answered"] = time.perf_counter() - began
                    process.stop(signal.SIGINT)
                    return seconds, key
                if status not in (429, 503):
                    raise Trouble(f"{name}: status {status}: {answer[:300].decode(errors='replace')}")
        time.sleep(0.02)
    raise Trouble(f"{name} did not answer within {timeout_s:g} s; see {process.log}")


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the second start")
    options = parser.parse_args()
    if options.quick:
        options.rounds = 1
    for name in NOT_INHERITED:
        os.environ.pop(name, None)
    machine = report.introduce("Start", options.markdown)
    with harness.workplace() as (directory, started):
        clone = directory / "shoal"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True, stdin=subprocess.DEVNULL)
        first, key = serve_once("start-first", clone, directory / "home", None, started, 900)
        seconds = [serve_once("start-second", clone, directory / "home", key, started, 120)[0] for _ in range(options.rounds)]
    rows = [("clean clone", first.get("installed", 0.0), first["serving"], first["answered"])]
    rows += [("again", 0.0, one["serving"], one["answered"]) for one in seconds]
    print_table("make serve, seconds until", ("start", "installed", "greeting", "first answer"), rows, options.markdown)
    verdict = Verdict()
    verdict.at_most("clean clone to the first answer, s", first["answered"], 120)
    verdict.at_most("second start to the first answer, s (median)", middle([one["answered"] for one in seconds]), 5)
    verdict.show(options.markdown)
    report.save("start", machine, {"first": first, "again": seconds}, verdict)


if __name__ == "__main__":
    harness.run(main)
