"""What a head that marks up texts says: tags of word pieces become spans, and these the JSON that its rows had.

Tags: 0 is outside, 1 + 2k begins a span of kind k, 2 + 2k goes on with it (BIO). Texts longer than a window are read in windows that
overlap, and each token counts where it stands farther from an edge.
"""

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

WINDOW, OVERLAP = 254, 64  # tokens, without the two special ones

Scores = NDArray[np.float32]


class Mark(NamedTuple):
    """Characters `begin` to `end` of a text are of a kind."""

    begin: int
    end: int
    kind: str


class Form(msgspec.Struct, frozen=True):
    """How answers are written: an object of lists (or of strings) by kind, a list of objects {kind, text}, or a list of strings.

    `wrapper` is the member that holds the list, if one does. Of `single` kinds an object has a string; `always` are the members that it has
    also when nothing is found. `repeats`: what is said twice in a text is said twice.
    """

    shape: Literal["kinds", "objects", "strings"]
    wrapper: str = ""
    fields: tuple[str, str] = ("type", "text")
    kind_field: str = "type"
    single: tuple[str, ...] = ()
    always: dict[str, Any] = {}
    repeats: bool = True


def write(form: Form, text: str, marks: Sequence[Mark]) -> str:
    """The answer for a text, compact, in the order of the text."""
    found = [(mark.kind, text[mark.begin : mark.end]) for mark in sorted(marks)]
    if not form.repeats:
        found = list(dict.fromkeys(found))
    made: Any
    if form.shape == "kinds":
        made = {kind: list(empty) if isinstance(empty, list) else empty for kind, empty in form.always.items()}
        for kind, value in found:
            if kind not in form.single:
                if not isinstance(made.get(kind), list):
                    made[kind] = []
                made[kind].append(value)
            elif not made.get(kind):
                made[kind] = value
    elif form.shape == "objects":
        made = [{field: kind if field == form.kind_field else value for field in form.fields} for kind, value in found]
    else:
        made = [value for _, value in found]
    return json.dumps({form.wrapper: made} if form.wrapper else made, ensure_ascii=False, separators=(",", ":"))


def plan_windows(count: int) -> list[tuple[int, int, int, int]]:
    """(begin, end, first, last) for each window: which tokens it reads, and those of them for which it counts."""
    begins = list(range(0, max(1, count - OVERLAP), WINDOW - OVERLAP))
    ends = [min(count, begin + WINDOW) for begin in begins]
    firsts = [0, *(begin + OVERLAP // 2 for begin in begins[1:])]
    return list(zip(begins, ends, firsts, [*firsts[1:], count], strict=True))


def find_marks(scores: Scores, offsets: Sequence[tuple[int, int]], kinds: Sequence[str]) -> tuple[list[Mark], float]:
    """The likeliest tags of tokens in which none goes on that has not begun (Viterbi 1967), as marks, and how probable they are."""
    if not len(scores):
        return [], 1.0
    peaks = scores.max(axis=1, keepdims=True)
    logs = scores - peaks - np.log(np.exp(scores - peaks).sum(axis=1, keepdims=True))
    tags = _find_tags(logs)
    marks: list[Mark] = []
    for (begin, end), tag in zip(offsets, tags, strict=True):
        if tag == 0:
            continue
        kind = kinds[(tag - 1) // 2]
        if tag % 2:
            marks.append(Mark(begin, end, kind))
        else:
            marks[-1] = marks[-1]._replace(end=end)
    return marks, float(np.exp(logs[np.arange(len(tags)), tags].sum()))


def _find_tags(logs: Scores) -> list[int]:
    count, tags = logs.shape
    goes_on = np.arange(2, tags, 2)  # each follows itself and the tag before it alone
    best = logs[0].copy()
    best[goes_on] = -np.inf
    came = np.zeros((count, tags), np.intp)
    for i in range(1, count):
        came[i] = best.argmax()
        came[i, goes_on] = np.where(best[goes_on] > best[goes_on - 1], goes_on, goes_on - 1)
        best = best[came[i]] + logs[i]
    path = [int(best.argmax())]
    for i in range(count - 1, 0, -1):
        path.append(int(came[i, path[-1]]))
    return path[::-1]
