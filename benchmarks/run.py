"""All benchmarks, or those named (gateway, streams, chaos, ledger, mini, students, start): `python benchmarks/run.py [NAME ...] [OPTION]`.

Options go to each of them (--quick, --markdown). What is not installed is left out and said; `peers.py install` installs it.
"""

import subprocess
import sys
from pathlib import Path

NAMES = ("gateway", "streams", "chaos", "ledger", "mini", "students", "start")


def main(arguments: list[str]) -> int:
    """Run them in order; answers 1 when any failed, 0 otherwise."""
    names = [one for one in arguments if not one.startswith("-")] or list(NAMES)
    options = [one for one in arguments if one.startswith("-")]
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"run.py: there is no benchmark named {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    failed = []
    for name in names:
        if subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py")), *options], check=False).returncode:
            failed.append(name)
        print(flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
