"""Install this checkout, editable, into the environment that runs this script: `python scripts/install.py [EXTRA...]`.

uv installs in seconds what pip takes most of a minute for, but does not read pip's configuration, so that is handed over; where uv
is not to be had, or fails, pip itself installs (and says what is wrong). Standard library only.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PIP = "pip>=24.1"  # older ones cannot report how far a download is, which `shoal pull` shows
PYTORCH = "torch==2.13.0"  # as pyproject.toml pins it: pip finds the build for processors alone where an index has one, uv does not
# pip's option -> uv's environment variable; both take lists separated by spaces
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "proxy": "ALL_PROXY",
    "cert": "SSL_CERT_FILE",
}


def main(extras: list[str]) -> int:
    """Install with uv, else with pip; returns pip's exit status in the latter case."""
    target = f"{PROJECT}[{','.join(extras)}]" if extras else str(PROJECT)
    if "distil" in extras:
        subprocess.run([*pip("install"), "--quiet", PYTORCH], check=False)  # where that fails, what follows says why
    uv = find_uv()
    if uv is not None:
        command = [uv, "pip", "install", "--python", sys.executable, PIP, "--editable", target]
        if subprocess.run(command, env=translate_configuration(), check=False).returncode == 0:
            return 0
        print("install: uv failed, installing with pip", file=sys.stderr)
    return subprocess.run([*pip("install"), PIP, "--editable", target], check=False).returncode


def pip(verb: str) -> list[str]:
    """pip's command line in this environment."""
    return [sys.executable, "-m", "pip", "--disable-pip-version-check", verb]


def find_uv() -> str | None:
    """This environment's uv, installed now if need be; None when it cannot be had."""
    beside = Path(sys.executable).with_name("uv")
    if not beside.exists():
        subprocess.run([*pip("install"), "--quiet", "--only-binary=:all:", "uv>=0.9"], stderr=subprocess.DEVNULL, check=False)
    return str(beside) if beside.exists() else shutil.which("uv")


def translate_configuration() -> dict[str, str]:
    """The environment for uv: pip's own settings, from its files and variables, under uv's names; variables already set win."""
    # as pip does: the system's certificates, and the best version over all indices
    environment = {"UV_SYSTEM_CERTS": "true", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    listing = subprocess.run([*pip("config"), "list"], capture_output=True, text=True, check=False).stdout
    for line in listing.splitlines():  # global.index-url='...'
        key, _, value = line.partition("=")
        name = FROM_PIP.get(key.rpartition(".")[2])
        if name is not None:
            environment[name] = " ".join(str(ast.literal_eval(value)).split())
    return environment | os.environ


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
