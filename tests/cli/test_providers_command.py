"""`shoal providers` as an operator uses it: the key comes in through a pipe, and is seen nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

KEY = "sk-from-a-pipe-4711"


def shoal(home: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a home of its own, with no keys in the environment."""
    env = {name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_TOKEN"))} | {"SHOAL_HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-m", "shoal", "providers", *arguments], input=said, env=env, capture_output=True, text=True, check=False
    )


def listed(home: Path) -> dict[str, tuple[int, str | None]]:
    """Keys and what is missing, by provider."""
    rows = json.loads(shoal(home, "list", "--json").stdout)["providers"]
    return {row["name"]: (row["keys"], row["missing"]) for row in rows}


def test_a_key_makes_a_provider_reachable(tmp_path: Path) -> None:
    assert "GROQ_API_KEY" in str(listed(tmp_path)["groq"][1])
    done = shoal(tmp_path, "set-key", "groq", said=KEY + "\n")
    assert (done.returncode, done.stdout) == (0, "")
    assert KEY not in done.stderr
    assert shoal(tmp_path, "set-key", "groq", "--add", said="another").returncode == 0
    assert listed(tmp_path)["groq"] == (2, None)
    assert KEY not in shoal(tmp_path, "list").stdout
    assert shoal(tmp_path, "remove-key", "groq").returncode == 0
    assert listed(tmp_path)["groq"][0] == 0
    assert shoal(tmp_path, "remove-key", "groq").returncode == 1


def test_an_unknown_provider_and_an_empty_key_are_refused(tmp_path: Path) -> None:
    unknown = shoal(tmp_path, "set-key", "nobody", said=KEY)
    assert unknown.returncode == 1
    assert "nobody" in unknown.stderr
    assert shoal(tmp_path, "set-key", "groq", said="").returncode == 1
