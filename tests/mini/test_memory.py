"""memory.py: a container's limit counts where it is lower than the machine's memory."""

import os
from pathlib import Path

from shoal.mini.memory import machine_bytes, resident_bytes

WHOLE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_limit_counts(tmp_path: Path) -> None:
    limit, none = tmp_path / "limit", tmp_path / "none"
    limit.write_text("1048576\n")
    none.write_text("max\n")
    assert machine_bytes((none, limit)) == 1048576
    assert machine_bytes((none, tmp_path / "missing")) == WHOLE


def test_what_is_held_grows_with_what_is_taken() -> None:
    before = resident_bytes()
    taken = bytearray(b"x" * (64 << 20))
    assert 0 < before < WHOLE and resident_bytes() - before > len(taken) // 2
