"""The page on routing against the code: every policy with an example that holds, every wish that a request may have."""

import re
import tomllib
from pathlib import Path

from shoal.routing.names import _SUFFIXES
from shoal.routing.preferences import Preferences
from shoal.routing.routes import POLICIES, build_routes

PAGE = (Path(__file__).parents[2] / "docs/guide/routing.md").read_text("utf-8")


def test_every_policy_is_described_and_has_an_example_that_holds() -> None:
    examples = [tomllib.loads(text)["routes"] for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]
    shown = {table["policy"] for example in examples for table in example.values()}
    assert shown == set(POLICIES)
    for example in examples:
        assert build_routes(example)
    assert set(re.findall(r"^\*\*(\w+)\*\*:", PAGE, re.MULTILINE)) == set(POLICIES)


def test_every_field_of_a_policy_is_named() -> None:
    named = set(re.findall(r"[a-z_]+", PAGE))
    for name, kind in POLICIES.items():
        assert set(kind.__struct_fields__) <= named, name


def test_every_wish_of_a_request_is_listed() -> None:
    rows = {name for row in re.findall(r"^\| (`[^|]+`) \|", PAGE, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    assert set(Preferences.__struct_fields__) <= rows
    assert all(f"`:{suffix}`" in PAGE for suffix in _SUFFIXES)
