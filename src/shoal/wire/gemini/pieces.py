"""Arguments of a call that come in pieces, each with the path of its place, as Google streams them where it is asked to.

https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/function-calling#streaming-fc
"""

import re
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.wire.gemini.shapes import FunctionCall, PartialArg

_STEP = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]""")
_LONGEST = 100
"""Steps of a path; no function's schema is as deep."""


class Pieces:
    """One call while its arguments come in."""

    def __init__(self, call: FunctionCall, signature: str | None) -> None:
        self.name = call.name
        self.id = call.id
        self.signature = signature
        self._said: dict[str, Any] = {}
        self._place = ""
        self._words: list[str] = []

    def take(self, pieces: list[PartialArg]) -> None:
        """Add what these say. Errors: Fault upstream_garbled for a place that there cannot be."""
        for piece in pieces:
            if piece.string_value is not None and self._words and piece.json_path == self._place:
                self._words.append(piece.string_value)
                continue
            self._settle()
            if piece.string_value is not None:
                self._place, self._words = piece.json_path, [piece.string_value]
            else:
                self._put(piece.json_path, piece.number_value if piece.number_value is not None else piece.bool_value)

    def arguments(self) -> str:
        """All that was said, as JSON."""
        self._settle()
        return msgspec.json.encode(self._said).decode()

    def _settle(self) -> None:
        if self._words:
            self._put(self._place, "".join(self._words))
            self._words = []

    def _put(self, path: str, value: object) -> None:
        steps = _steps(path)
        held: Any = {"$": self._said}
        for step, following in zip(["$", *steps], [*steps, None], strict=True):
            fresh = value if following is None else [] if isinstance(following, int) else {}
            held = _reach(held, step, fresh, following is None)


def _reach(held: Any, step: str | int, fresh: object, last: bool) -> Any:
    """What stands at this step, made where there is nothing yet."""
    if isinstance(held, dict) and isinstance(step, str):
        if last or step not in held:
            held[step] = fresh
    elif isinstance(held, list) and isinstance(step, int) and step <= len(held):
        if last or step == len(held):
            held[step : step + 1] = [fresh]
    else:
        raise _misplaced()
    return held[step]


def _steps(path: str) -> list[str | int]:
    out: list[str | int] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or len(out) == _LONGEST:
            raise _misplaced()
        name, index, *quoted = found.groups()
        if index is not None:
            out.append(int(index))
        else:
            out.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted[0] if quoted[0] is not None else quoted[1]))
        at = found.end()
    if not path.startswith("$") or not out:
        raise _misplaced()
    return out


def _misplaced() -> Fault:
    return Fault(
        "upstream_garbled", "The upstream sent a part of a function's arguments that has no place among them.", upstream_status=200
    )
