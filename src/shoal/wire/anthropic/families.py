"""What a Claude takes, told by its name: how it thinks, whether tokens are drawn as one likes, whether answers follow a schema.

https://platform.claude.com/docs/en/build-with-claude/thinking, .../effort, .../structured-outputs and the models' migration guides.
"""

import re

import msgspec

_NAME = re.compile(r"claude-(?:([a-z]+)-)?(\d+)(?:[-.](\d)(?!\d))?")
_NEWEST = (99, 0)


class Family(msgspec.Struct, frozen=True):
    """What a model takes. `off` is the `thinking.type` that turns thought off (None: it always thinks, or never does).

    `budgets`: thought by `budget_tokens`; `adaptive`: by itself, with `efforts`; `samples`: temperature, top_p and top_k are known;
    `samples_once`: temperature or top_p, not both; `structured`: JSON schemas and strict tools; `longest` is an answer's length, in
    tokens, that every model of the generation is documented to take.
    """

    budgets: bool = True
    adaptive: bool = False
    efforts: tuple[str, ...] = ()
    off: str | None = "disabled"
    samples: bool = True
    samples_once: bool = False
    structured: bool = False
    longest: int = 8192


OTHERS = Family()
"""Models of other makers that are reached by this dialect."""


def find_family(model: str) -> Family:
    """What the upstream's model of this name takes; a Claude without a number is held to be the newest."""
    found = _NAME.search(model)
    if found is None and "claude" not in model:
        return OTHERS
    line, version = (found[1], (int(found[2]), int(found[3] or 0))) if found else (_line(model), _NEWEST)
    return Family(
        budgets=(3, 7) <= version < (4, 7),
        adaptive=version >= (4, 6),
        efforts=_efforts(version),
        off=_off(line, version),
        samples=version < (4, 7),
        samples_once=version >= (4, 1),
        structured=version >= (4, 5),
        longest=_longest(version),
    )


def _line(model: str) -> str | None:
    found = re.search(r"claude-([a-z]+)", model)
    return found[1] if found else None


def _efforts(version: tuple[int, int]) -> tuple[str, ...]:
    if version >= (4, 7):
        return ("low", "medium", "high", "xhigh", "max")
    return ("low", "medium", "high", "max") if version >= (4, 6) else ()


def _off(line: str | None, version: tuple[int, int]) -> str | None:
    if line in ("fable", "mythos") or version < (3, 7) or (line == "opus" and version >= (5, 5)):
        return None
    return "between_tools" if line == "sonnet" and version >= (5, 5) else "disabled"


def _longest(version: tuple[int, int]) -> int:
    if version >= (4, 0):
        return 32_000
    return 8192 if version >= (3, 5) else 4096
