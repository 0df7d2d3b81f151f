"""processor.py: one thread and AMX do not go together."""

import os
from pathlib import Path

import pytest

from shoal.mini import processor
from shoal.mini.processor import spare

VARIABLE = "ONEDNN_MAX_CPU_ISA"


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(VARIABLE, raising=False)
    path = tmp_path / "cpuinfo"
    path.write_text("flags : avx512f amx_bf16 amx_tile\n")
    return path


def test_one_thread_does_without_amx(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spare(1, cpuinfo)
    assert os.environ[VARIABLE] == "AVX512_CORE_FP16"
    monkeypatch.setenv(VARIABLE, "AVX2")
    spare(1, cpuinfo)
    assert os.environ[VARIABLE] == "AVX2"


def test_other_processors_and_more_threads_are_left_alone(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "count_cores", lambda: 2)
    spare(2, cpuinfo)
    cpuinfo.write_text("flags : avx2\n")
    spare(1, cpuinfo)
    spare(1, cpuinfo.with_name("none"))
    assert VARIABLE not in os.environ
