"""Runs a module with the compiled form of the request's path in the place of its sources, where there is one (docs/decisions/0008).

    python -m shoal.wiring.compiled MODULE [ARGUMENT...]     as `python -m MODULE [ARGUMENT...]`

scripts/compile.py makes it, of the modules named here, from these very sources: it is found by a hash of all of them, so that none that
is older is ever used. It does what the sources do, which stay what tests and every other process run. SHOAL_COMPILED=0 does without.
"""

import functools
import hashlib
import os
import runpy
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

SOURCE = Path(__file__).parents[2]
SUFFIX = str(sysconfig.get_config_var("EXT_SUFFIX"))
_NAMES = {
    "gateway": (
        "abilities answer attempts bridge call charges contest continuation door health hold limits planning purse rates receipt scopes "
        "serve settle stock"
    ),
    "net": "client exchange head outbox recall run server upstream",
    "providers": "channel",
    "storage": "journal",
    "telemetry": "tally",
    "wire.anthropic": "blocks dialect formats sampling",
    "wire.openai_chat": "answers contents dialect forward turns usage",
}
MODULES = [f"{package}.{name}" for package, names in _NAMES.items() for name in names.split()]
"""What costs time on the path. A module with structs of msgspec cannot be among them: their class's arguments would be lost."""


@functools.cache
def directory() -> Path:
    """Where the compiled form of these sources belongs, for this interpreter: in the checkout, beside what else is built there."""
    digest = hashlib.sha256(SUFFIX.encode())
    for path in sorted((SOURCE / "shoal").rglob("*.py")):
        digest.update(path.relative_to(SOURCE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return SOURCE.parent / "build" / f"compiled-{digest.hexdigest()[:20]}"


def is_wanted() -> bool:
    """Whether a compiled form may be used."""
    return os.environ.get("SHOAL_COMPILED", "1") != "0"


def is_there() -> bool:
    """Whether a worker that is started now runs it."""
    return is_wanted() and directory().is_dir()


class Finder(MetaPathFinder):
    """Finds extension modules by their full names, before the sources are found."""

    def __init__(self, root: Path) -> None:
        self._files = {".".join(path.relative_to(root).parts).removesuffix(SUFFIX): path for path in root.rglob(f"*{SUFFIX}")}

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The extension module of that name, if there is one."""
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def main() -> None:
    """Entry of the process."""
    if is_there():
        sys.meta_path.insert(0, Finder(directory()))
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
