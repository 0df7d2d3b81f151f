"""Headers of every call, and which members of a request are documented to need an `anthropic-beta` value.

https://platform.claude.com/docs/en/api/beta-headers
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

VERSION = "2023-06-01"
FILES = "files-api-2025-04-14"

OWN: dict[str, str | None] = {
    "cache_control": None,
    "container": None,
    "diagnostics": None,
    "inference_geo": None,
    "output_config": None,
    "speed": "fast-mode-2026-02-01",
    "context_management": "context-management-2025-06-27",
    "mcp_servers": "mcp-client-2025-11-20",
}
"""Members of the Messages API that have no noun of ours, and the beta that each needs."""


TOOLS: dict[str, str] = {
    "code_execution_20250522": "code-execution-2025-05-22",
    "code_execution_20250825": "code-execution-2025-08-25",
    "computer_20241022": "computer-use-2024-10-22",
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
    "memory_20250818": "context-management-2025-06-27",
    "web_fetch_20250910": "web-fetch-2025-09-10",
}
"""Types of Anthropic's own tools that need a beta."""

COMPACTION = "compact-2026-01-12"
_COMPACTS = re.compile(rb'"type"\s*:\s*"compact_')


class _Tool(msgspec.Struct):
    type: str = ""


_tool = msgspec.json.Decoder(_Tool)


def headers(members: Mapping[str, msgspec.Raw], files: bool, tools: Iterable[msgspec.Raw] = ()) -> tuple[tuple[str, str], ...]:
    """The headers for a request with these members and `tools` of Anthropic's own; `files`: it names files by their id."""
    betas = [beta for name, beta in OWN.items() if beta and name in members] + ([FILES] if files else [])
    betas += [TOOLS[type] for tool in tools if (type := _tool.decode(tool).type) in TOOLS]
    if _COMPACTS.search(members.get("context_management", b"")):
        betas.append(COMPACTION)
    version = ("anthropic-version", VERSION)
    return (version, ("anthropic-beta", ",".join(dict.fromkeys(betas)))) if betas else (version,)
