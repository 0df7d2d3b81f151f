"""The page on the admin API lists what there is, and nothing else."""

import re
from pathlib import Path

from shoal.control.app import HANDLERS, PREFIX
from shoal.control.parameters import MOST_ROWS
from shoal.control.request import MOST_BYTES
from shoal.control.stripe import TOLERANCE_S
from shoal.control.usage import MOST_DAYS

ROOT = Path(__file__).parents[2] / "docs"
PAGE = (ROOT / "reference/admin-api.md").read_text("utf-8")
GUIDE = (ROOT / "guide/accounts.md").read_text("utf-8")


def test_every_endpoint_is_on_the_page() -> None:
    there = {
        f"{method} {re.sub(r':[a-z]+}', '}', path)}" for handler in HANDLERS for method in handler.http_methods for path in handler.paths
    }
    assert set(re.findall(r"^\| `([A-Z]+ /[^`]+)` \|", PAGE, re.MULTILINE)) == there


def test_the_figures_are_true() -> None:
    assert f"`{PREFIX}`" in PAGE
    assert f"at most {MOST_BYTES // 2**20} MiB" in PAGE
    assert f"(at most {MOST_ROWS})" in PAGE
    assert f"at most {MOST_DAYS} days" in PAGE
    assert f"may be {TOLERANCE_S // 60} minutes old" in GUIDE
