"""How much memory there is, and how much of it this process holds."""

import os
import resource
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_bytes(limits: tuple[Path, ...] = _LIMITS) -> int:
    """The machine's memory, or what the container may use of it (control groups, both versions)."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in limits:
        try:
            text = file.read_text("ascii").strip()
        except OSError:
            continue
        found += [int(text)] if text.isdigit() else []  # "max" is no limit
    return min(found)


def resident_bytes() -> int:
    """What this process holds; where the system does not tell, the most that it ever held."""
    if _STATM.exists():  # proc(5): the second number is the resident set, in pages
        return int(_STATM.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
