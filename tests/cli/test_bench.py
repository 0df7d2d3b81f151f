"""`shoal bench`: what it counts, and what it says when there is nothing to count."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoal.cli.bench import Answer, parse_levels, percentile, summarise

KEY = "sk-shoal-test"


def run(script: Any, home: Path, *arguments: str, key: str = KEY) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "shoal", "bench", "--url", script.url, *arguments]
    environment = {**os.environ, "SHOAL_API_KEY": key, "SHOAL_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_every_level_is_counted(script: Any, tmp_path: Path) -> None:
    done = run(script, tmp_path, "--concurrency", "1,4", "--requests", "6", "--json")
    assert done.returncode == 0, done.stderr
    levels = json.loads(done.stdout)["levels"]
    assert [(level["concurrency"], level["requests"], level["failed"]) for level in levels] == [(1, 6, 0), (4, 6, 0)]
    assert all(level["tokens_per_s"] > level["requests_per_s"] for level in levels)
    assert len(script.asked) == 13  # the first one warms up


def test_a_person_gets_a_table(script: Any, tmp_path: Path) -> None:
    done = run(script, tmp_path, "--concurrency", "2")
    assert "tokens/s" in done.stdout
    assert done.returncode == 0


def test_a_refusal_is_said_at_once(script: Any, tmp_path: Path) -> None:
    done = run(script, tmp_path, key="wrong")
    assert done.returncode == 1
    assert "This key is not known." in done.stderr
    assert len(script.asked) == 1


def test_failures_are_counted_apart() -> None:
    level = summarise(2, [Answer(0.1, 0.2, 10), Answer(error="gone"), Answer(0.3, 0.4, 10)], 2.0)
    assert (level.requests, level.failed, level.requests_per_s, level.tokens_per_s, level.error) == (3, 1, 1.0, 10.0, "gone")
    assert (level.first_token_p50_ms, level.first_token_p95_ms) == (100.0, 300.0)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 10), (0.95, 19), (0.99, 20), (1.0, 20)])
def test_percentiles_are_of_the_nearest_rank(share: float, value: int) -> None:
    assert percentile(range(1, 21), share) == value
    assert percentile([], share) == 0.0


@pytest.mark.parametrize("text", ["", "0", "x", "1,,2", "2000"])
def test_bad_levels_are_refused(text: str) -> None:
    with pytest.raises(Exception, match="separated by commas"):
        parse_levels(text)
