"""Where a student is weaker than elsewhere: its scores by label, by the length of the question, by how rare the answer is, by language.

Languages are guessed from letters and a few common words, and said to be guesses.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from shoal.distil.rows import Row
from shoal.distil.student import Kind
from shoal.evals.graders import normalise_label
from shoal.evals.stats import wilson_interval
from shoal.mini.heads import text_of

LEAST_ROWS = 10
_ENGLISH = frozenset(
    ["the", "is", "to", "my", "i", "of", "and", "a", "in", "what", "do", "it", "for", "how", "you", "this", "that", "with"]
)
_LOOKED_AT = 400  # characters of a question


class Slice(msgspec.Struct, frozen=True):
    """The rows that share one thing: both mean scores, and the 95% interval of the student's (as if each row were right or wrong)."""

    by: str  # label, length, frequency, language
    value: str
    rows: int
    student: float
    teacher: float
    low: float
    high: float


def find_slices(rows: Sequence[Row], student: Sequence[float], teacher: Sequence[float], kind: Kind) -> tuple[Slice, ...]:
    """All slices of at least LEAST_ROWS rows, the weakest of each sort first."""
    texts = [text_of(row.messages) for row in rows]
    sorts: dict[str, Sequence[str]] = {"length": _by_length(texts), "language": [guess_language(text) for text in texts]}
    if kind == "label":
        labels = [normalise_label(row.answer) for row in rows]
        sorts = {"label": [row.answer for row in rows], "frequency": _by_frequency(labels), **sorts}
    found: list[Slice] = []
    for by, values in sorts.items():
        groups: Mapping[str, list[int]] = defaultdict(list)
        for place, value in enumerate(values):
            groups[value].append(place)
        made = [_make(by, value, places, student, teacher) for value, places in groups.items() if len(places) >= LEAST_ROWS]
        found += sorted(made, key=lambda one: (one.student, one.value)) if len(made) > 1 else []
    return tuple(found)


def find_weak(slices: Sequence[Slice], overall: float) -> list[Slice]:
    """The slices whose whole interval lies below the student's score over all rows."""
    return [one for one in slices if one.high < overall]


def guess_language(text: str) -> str:
    """English by its common words, other texts by the script of most of their letters ("Latin, not English", "Cyrillic", "CJK", ...)."""
    letters = [c for c in text[:_LOOKED_AT] if c.isalpha()]
    scripts = Counter(unicodedata.name(c, "other").split()[0] for c in letters)
    if not scripts:
        return "no letters"
    script = scripts.most_common(1)[0][0]
    if script != "LATIN":
        return script if script == "CJK" else script.capitalize()
    words = text[:_LOOKED_AT].lower().split()
    return "English" if sum(word.strip(".,!?'\"") in _ENGLISH for word in words) >= 0.08 * len(words) else "Latin, not English"


def _make(by: str, value: str, places: Sequence[int], student: Sequence[float], teacher: Sequence[float]) -> Slice:
    count = len(places)
    ours = sum(student[place] for place in places)
    low, high = wilson_interval(ours, count)
    return Slice(by, value, count, ours / count, sum(teacher[place] for place in places) / count, low, high)


def _by_length(texts: Sequence[str]) -> list[str]:
    """Thirds by characters."""
    ordered = sorted(len(text) for text in texts)
    first, second = ordered[len(ordered) // 3], ordered[2 * len(ordered) // 3]
    names = (f"up to {first} characters", f"up to {second} characters", f"over {second} characters")
    return [names[(len(text) > first) + (len(text) > second)] for text in texts]


def _by_frequency(labels: Sequence[str]) -> list[str]:
    """Rare labels are those that together make up a quarter of the rows."""
    rare: set[str] = set()
    covered = 0
    for label, count in sorted(Counter(labels).items(), key=lambda one: (one[1], one[0])):
        covered += count
        if covered > len(labels) / 4:
            break
        rare.add(label)
    return ["rare labels" if label in rare else "frequent labels" for label in labels]
