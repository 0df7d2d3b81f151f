"""The key that this machine's own user chats with: a file under SHOAL_HOME that only its owner may read.

It is written by the first start; `shoal keys revoke local` ends it like any other.
"""

import os
from pathlib import Path

NAME = "local"
FILE = "local.key"


def read_local_key(home: Path) -> str | None:
    """The local key, or None where there is none or it belongs to somebody else."""
    try:
        return (home / FILE).read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def write_local_key(home: Path, secret: str) -> None:
    """Keep the key for `read_local_key`, readable by its owner alone from the first byte."""
    descriptor = os.open(home / FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        os.fchmod(descriptor, 0o600)  # a file left by an older umask
        file.write(secret + "\n")
