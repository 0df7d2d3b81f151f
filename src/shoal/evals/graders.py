"""How good one answer is, from 0 to 1, where something exact can say so: labels, JSON fields, spans, numbers, and texts by ROUGE-L.

`grade` is for one row. F1 over a whole data set is made of the rows' tallies, not of their grades: `tally` and `Tally`.
Nothing here asks a model; judge.py does.
"""

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

Kind = Literal["label", "json", "spans", "number", "text"]

_FENCE = re.compile(r"\A\s*```[\w-]*\n(.*?)\n?\s*```\s*\Z", re.DOTALL)
_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_QUOTES = "\"'`*“”‘’ "
_WORD = re.compile(r"[^\W_]+")


class Tally(msgspec.Struct, frozen=True):
    """What an answer has right: `hit` of the `said` parts are among the `wanted` ones."""

    hit: int
    said: int
    wanted: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 1 where nothing was wanted and nothing said."""
        return 2 * self.hit / (self.said + self.wanted) if self.said + self.wanted else 1.0


def grade(kind: Kind, answer: str, gold: str | Sequence[str]) -> float:
    """How good `answer` is beside `gold`, 0 to 1. Of several references the one that fits best counts."""
    references = [gold] if isinstance(gold, str) else gold
    return max((_GRADERS[kind](answer, one) for one in references), default=0.0)


def normalise_label(text: str) -> str:
    """A label as it is compared: without case, quotes, a full stop at the end, and with `_` the same as a space.

    Signs stay, so that "-1" is not "1" and "C++" is not "C".
    """
    text = re.sub(r"[\s_]+", " ", unicodedata.normalize("NFKC", text)).strip()
    return (text.lstrip(_QUOTES).rstrip(_QUOTES + ".!") or text).casefold()


def read_number(text: str) -> float | None:
    """The number that a text names: the whole of it, else the last one in it (a solution ends with its result). None: there is none."""
    found = [match[0] for match in _NUMBER.finditer(text) if any(c.isdigit() for c in match[0])]
    if not found:
        return None
    value = float(found[-1].replace(",", "").replace("−", "-"))
    return value if math.isfinite(value) else None


def is_number(text: str) -> bool:
    """Whether a text is one number and nothing else but a sign, a currency or a percent sign."""
    return bool(re.fullmatch(r"[-+−]?[$€£¥]?\s?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?\s?[%$€£¥]?", text.strip()))


def read_json(text: str) -> Any:
    """The value of a JSON text, with or without a Markdown fence around it. Raises ValueError."""
    fenced = _FENCE.match(text)
    try:
        return json.loads(fenced[1] if fenced else text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def tally(answer: str, gold: str) -> Tally:
    """The fields of two JSON texts compared: a field is a path and a value, lists are bags. A text that is not JSON is one field."""
    said, wanted = _read_fields(answer), _read_fields(gold)
    return Tally((wanted & said).total(), said.total(), wanted.total())


def measure_rouge_l(answer: str, gold: str) -> float:
    """ROUGE-L's F1 of two texts: the longest common subsequence of their words over the mean of their lengths (Lin 2004), case ignored."""
    ours, theirs = _WORD.findall(answer.casefold()), _WORD.findall(gold.casefold())
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * measure_common(ours, theirs) / (len(ours) + len(theirs))


def measure_common(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence; bit-parallel (Hyyrö 2004): one row of the table is one whole number."""
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(first)) - 1
    row = every
    for word in second:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & every
    return len(first) - row.bit_count()


def _grade_label(answer: str, gold: str) -> float:
    return float(normalise_label(answer) == normalise_label(gold))


def _grade_number(answer: str, gold: str) -> float:
    ours, theirs = read_number(answer), read_number(gold)
    return float(ours is not None and theirs is not None and math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-9))


def _grade_fields(answer: str, gold: str) -> float:
    return tally(answer, gold).f1


_GRADERS = {"label": _grade_label, "json": _grade_fields, "spans": _grade_fields, "number": _grade_number, "text": measure_rouge_l}


def _read_fields(text: str) -> "Counter[tuple[str, str]]":
    try:
        return _list_fields(read_json(text))
    except ValueError:
        return Counter({("not JSON", text.strip()): 1})


def _list_fields(value: Any) -> "Counter[tuple[str, str]]":
    """Every leaf of a JSON value with the path to it. An empty list or object says nothing."""
    fields: Counter[tuple[str, str]] = Counter()
    rest: list[tuple[str, Any]] = [("", value)]
    while rest:
        path, node = rest.pop()
        if isinstance(node, dict):
            rest += [(f"{path}.{name}", part) for name, part in node.items()]
        elif isinstance(node, list):
            rest += [(f"{path}[]", part) for part in node]
        else:
            fields[path, _spell(node)] += 1
    return fields


def _spell(leaf: Any) -> str:
    """A leaf as it is compared: numbers by value, texts by their characters, with white space counted as one space."""
    if isinstance(leaf, str):
        return '"' + " ".join(unicodedata.normalize("NFC", leaf).split())
    if isinstance(leaf, bool) or leaf is None:
        return str(leaf)
    return f"{float(leaf):.9g}" if abs(leaf) < 1e15 else str(leaf)
