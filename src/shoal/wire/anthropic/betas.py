"""Headers of every call, and which members of a request are documented to need an `anthropic-beta` value.

https://platform.claude.com/docs/en/api/beta-headers
"""

from collections.abc import Container

VERSION = "2023-06-01"
FILES = "files-api-2025-04-14"

OWN: dict[str, str | None] = {
    "cache_control": None,
    "container": None,
    "diagnostics": None,
    "inference_geo": None,
    "speed": "fast-mode-2026-02-01",
    "context_management": "context-management-2025-06-27",
    "mcp_servers": "mcp-client-2025-11-20",
}
"""Members of the Messages API that have no noun of ours, and the beta that each needs."""


def headers(members: Container[str], files: bool) -> tuple[tuple[str, str], ...]:
    """The headers for a request with these members; `files`: it names files by their id."""
    betas = [beta for name, beta in OWN.items() if beta and name in members] + ([FILES] if files else [])
    version = ("anthropic-version", VERSION)
    return (version, ("anthropic-beta", ",".join(betas))) if betas else (version,)
