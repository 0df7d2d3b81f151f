"""What a benchmark says: the machine it ran on, tables, what was wanted and whether that was met, and the record on disk."""

import argparse
import contextlib
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
from harness import BENCH, GATEWAY_CORE, GENERATOR_CORE, PINNED, ROOT

from shoal.wiring import compiled


def describe_machine() -> dict[str, object]:
    """The machine as a record: processor, cores, the vector and matrix features that matter, memory, systems' versions, load."""
    cpu, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                cpu = value.strip()
            if name.strip() in ("flags", "Features"):
                flags = value
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "bf16", "i8mm", "sve")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "pinned": f"gateway on core {GATEWAY_CORE}, generator and upstream on core {GENERATOR_CORE}" if PINNED else "not pinned",
        "features": " ".join(one for one in wanted if one in flags.split()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "path": "compiled" if compiled.is_there() else "not compiled",
        "load": f"load before {os.getloadavg()[0]:.2f}",
    }


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of the sorted `values` lie, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _format(cell: object) -> str:
    return str(cell) if not isinstance(cell, float) else f"{cell:,.3g}" if abs(cell) < 100 else f"{cell:,.0f}"


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]], markdown: bool) -> None:
    """One table on stdout, aligned for a terminal or as Markdown."""
    cells = [[_format(one) for one in row] for row in rows]
    print(f"\n{'### ' if markdown else ''}{title}\n")
    if markdown:
        for row in ([*head], ["---"] * len(head), *cells):
            print("| " + " | ".join(row) + " |")
        return
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    for row in [list(head), ["-" * width for width in widths], *cells]:
        print(
            "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
        )


class Verdict:
    """What was wanted, what was measured, and whether that meets it."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, str, bool]] = []

    def at_least(self, what: str, measured: float, wanted: float) -> None:
        """Record that `measured` should not be under `wanted`."""
        self.rows.append((what, measured, f">= {wanted:g}", measured >= wanted))

    def at_most(self, what: str, measured: float, wanted: float) -> None:
        """Record that `measured` should not be over `wanted`."""
        self.rows.append((what, measured, f"<= {wanted:g}", measured <= wanted))

    def show(self, markdown: bool) -> None:
        """Print the rows."""
        rows = [(what, float(measured), wanted, "yes" if met else "NO") for what, measured, wanted, met in self.rows]
        print_table("Wanted", ("what", "measured", "wanted", "met"), rows, markdown)


def save(name: str, machine: dict[str, object], result: dict[str, object], verdict: Verdict) -> Path:
    """Write the record build/bench/NAME.json and answer its path."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT, check=False
    ).stdout.strip()
    record = {
        "benchmark": name,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "revision": revision,
        "command": show_command(),
        "machine": machine,
        **result,
        "wanted": [dict(zip(("what", "measured", "wanted", "met"), row, strict=True)) for row in verdict.rows],
    }
    path = BENCH / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten: {path.relative_to(ROOT)}")
    return path


def show_command() -> str:
    """The command line that was typed, with paths from the checkout's root."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def introduce(name: str, markdown: bool) -> dict[str, object]:
    """Print what runs, on what; warn when the machine is not idle. Answers the machine's description."""
    machine = describe_machine()
    line = ", ".join(f"{name} {value}" if name in ("cores", "python", "path") else str(value) for name, value in machine.items())
    print(f"{'## ' if markdown else ''}{name}\n\n{line}\n{show_command()}")
    if os.getloadavg()[0] > 0.5:
        print(f"(the machine is not idle: its load is {os.getloadavg()[0]:.1f}; these numbers will be poor)", file=sys.stderr)
    return machine


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    options = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    options.add_argument("--quick", action="store_true", help="a short run that only shows that everything works")
    return options
