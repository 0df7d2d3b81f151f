"""Whether the ledger can be made to lie, and what counting costs: money under load, kill -9 and a store that goes away; rates; the log.

    python benchmarks/ledger.py [--only drain,kills,postgres,rates,path,log] [--quick] [--markdown]

Each part takes place in an installation of its own and says in its file (ledger_NAME.py) what is done; README.md tells how.
"""

import os
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import harness
import ledger_drain
import ledger_kills
import ledger_log
import ledger_path
import ledger_postgres
import ledger_rates
import report
from harness import GENERATOR_CORE, Process, Trouble
from report import Verdict

Part = Callable[[Namespace, Verdict, Path, list[Process]], dict[str, object]]
PARTS: dict[str, Part] = {
    "drain": ledger_drain.run,
    "kills": ledger_kills.run,
    "postgres": ledger_postgres.run,
    "rates": ledger_rates.run,
    "path": ledger_path.run,
    "log": ledger_log.run,
}


def main() -> None:
    """Run it all."""
    parser = report.parser(__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated: " + ", ".join(PARTS))
    parser.add_argument("--callers", type=int, default=200, help="at once, who drain the wallet")
    parser.add_argument("--kills", type=int, default=50, help="of processes")
    parser.add_argument("--rate", type=float, default=1000, help="requests a second while processes are killed")
    parser.add_argument("--store-rate", type=float, default=200, help="requests a second while PostgreSQL is away")
    parser.add_argument("--seconds", type=float, default=180, help="for which too much is offered to a rate")
    parser.add_argument("--rounds", type=int, default=3, help="of load on the path")
    parser.add_argument("--rows", type=int, default=10_000_000, help="in the log")
    options = parser.parse_args()
    options.round_s = 5
    options.calm_s, options.down_s, options.cut_s, options.back_s = 5, 15, 30, 15
    if options.quick:
        options.callers, options.kills, options.rate = min(options.callers, 60), min(options.kills, 5), min(options.rate, 100)
        options.rows = min(options.rows, 200_000)
        options.seconds, options.rounds, options.round_s = min(options.seconds, 20), 1, 2
        options.store_rate, options.down_s, options.cut_s, options.back_s = min(options.store_rate, 60), 8, 12, 12
    names = options.only.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise Trouble(f"there is no part named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    machine = report.introduce("Ledger", options.markdown)
    if GENERATOR_CORE is not None:
        os.sched_setaffinity(0, {GENERATOR_CORE})
    verdict, result = Verdict(), {}
    for name in names:
        with harness.workplace() as (directory, started):
            result[name] = PARTS[name](options, verdict, directory, started)
    verdict.show(options.markdown)
    report.save("ledger", machine, result, verdict)


if __name__ == "__main__":
    harness.run(main)
