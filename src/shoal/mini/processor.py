"""What a processor is spared: OpenVINO 2026.4 divides by zero in its AMX kernels when it works with a single thread.

oneDNN, which computes for it, reads the variable below once, at its first use, so `spare` comes before anything else touches OpenVINO.
"""

import os
from pathlib import Path

_VARIABLE = "ONEDNN_MAX_CPU_ISA"  # https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
_WITHOUT_AMX = "AVX512_CORE_FP16"
_CPUINFO = Path("/proc/cpuinfo")


def count_cores() -> int:
    """The cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def spare(threads: int, cpuinfo: Path = _CPUINFO) -> None:
    """Do without AMX where one thread, or one core, is all there is. What the operator has set stays."""
    if min(threads or count_cores(), count_cores()) > 1 or not cpuinfo.exists():
        return
    if "amx_tile" in cpuinfo.read_text("utf-8", "replace"):
        os.environ.setdefault(_VARIABLE, _WITHOUT_AMX)
