"""The documentation against the code: every setting listed with its true default, every link and command real."""

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal import settings
from shoal.gateway import door, endpoints
from shoal.providers import options

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
CONFIGURATION = (ROOT / "docs/guide/configuration.md").read_text("utf-8")
TREE: list[Any] = [
    settings.ServerSettings,
    settings.StorageSettings,
    settings.CreditsSettings,
    settings.MiniSettings,
    settings.DistilSettings,
    options.ProviderSettings,
    options.QuirkSettings,
    options.PrefillSettings,
    options.TimeoutSettings,
    options.DeploymentSettings,
    options.PriceSettings,
    options.TierSettings,
]


def documented() -> dict[str, set[str]]:
    """Key -> its defaults as written (a key may occur in several tables); keys that share a row are split."""
    found: dict[str, set[str]] = defaultdict(set)
    for keys, default in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \| [^|]+ \|$", CONFIGURATION, re.MULTILINE):
        for key in re.findall(r"`([^`]+)`", keys):
            found[key].add(default)
    return found


def written(field: Any) -> set[str]:
    """How a default may be written."""
    if field.required:
        return {"required"}
    if field.default is None:
        return {"none"}
    if isinstance(field.default, msgspec.Struct):
        return {"see below"}
    return {f"`{msgspec.json.encode(field.default).decode()}`"}


@pytest.mark.parametrize("struct", TREE, ids=lambda struct: struct.__name__)
def test_every_setting_is_listed_with_its_default(struct: Any) -> None:
    table = documented()
    for field in msgspec.structs.fields(struct):
        assert table[field.name] & written(field), f"{struct.__name__}.{field.name}"


def test_nothing_is_listed_that_does_not_exist() -> None:
    known = {field.name for struct in TREE for field in msgspec.structs.fields(struct)}
    assert set(documented()) - known == set()


@pytest.mark.parametrize("page", ["README.md", "docs/guide/configuration.md"])
def test_the_examples_are_valid(page: str) -> None:
    examples = re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    assert examples
    for example in examples:
        settings.check(tomllib.loads(example), page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text("utf-8")
    assert [page.name for page in (ROOT / "docs/decisions").glob("0*.md") if page.name not in index] == []


def test_every_endpoint_is_told() -> None:
    told = (ROOT / "docs/guide/api.md").read_text("utf-8")
    paths = {path.decode() for path in (*endpoints.HOT, *door.PAGES, *door.OPEN) if not path.startswith(b"/openai")}
    verbs = {f":{verb.decode()}" for verb in endpoints._VERBS}
    assert [one for one in sorted(paths | verbs) if one not in told] == []


def test_every_known_provider_is_told() -> None:
    told = (ROOT / "docs/guide/providers.md").read_text("utf-8")
    assert [row.stem for row in (ROOT / "src/shoal/providers/rows").glob("*.toml") if row.stem not in told] == ["minnow"]
