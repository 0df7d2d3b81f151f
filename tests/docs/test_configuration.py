"""The guide names every setting, and no setting that does not exist."""

import re
from pathlib import Path

import msgspec
import pytest

from shoal import settings

GUIDE = (Path(__file__).parents[2] / "docs/guide/configuration.md").read_text()
SECTIONS = {
    "[server]": settings.ServerSettings,
    "[storage]": settings.StorageSettings,
    "[mini]": settings.MiniSettings,
    "[providers.NAME]": settings.ProviderSettings,
    '[models."NAME"]': settings.DeploymentSettings,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_guide_lists_exactly_the_settings_of(section: str) -> None:
    text = GUIDE.split(f"## {section}\n", 1)[1].split("\n## ")[0]
    first_cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == {field.encode_name for field in msgspec.structs.fields(SECTIONS[section])}
