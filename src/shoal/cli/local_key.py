"""The key that this machine's own user chats with: a file under SHOAL_HOME that only its owner may read.

It is written by the first start; `shoal keys revoke local` ends it like any other.
"""

import asyncio
import os
import sys
from pathlib import Path

from shoal.core.errors import Fault

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


async def make(address: str) -> str | None:
    """The secret of a fresh key in the store at `address`; None where the store has, or had, one of this name. Errors: Fault."""
    from shoal.storage.store import open_store

    store = await open_store(address if "://" in address else Path(address))
    try:
        if any(key.name == NAME for key in await store.keys.list_all()):
            return None  # it was revoked, or its file lost: both are for its owner to settle
        return await store.keys.create(NAME)
    finally:
        await store.close()


def main() -> int:
    """Run as a program with the store's address: prints the secret, if one was made."""
    try:
        secret = asyncio.run(make(sys.argv[1]))
    except Fault as fault:
        print(f"shoal: {fault.message}", file=sys.stderr)
        return 1
    print(secret or "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
