"""Answers that say what occurs in their question: which JSON form they have, and where in the text their values stand."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from shoal.evals.graders import read_json
from shoal.mini.spans import Form, Mark

MOST_KINDS = 100
_MOST_STRAY = 0.05
_MOST_UNALIGNED = 0.25
_ALWAYS = 0.97
ONLY_KIND = "value"


class NoSpans(ValueError):
    """The answers are of no form that spans can be written in; the message says why."""


class Marked(msgspec.Struct, frozen=True):
    """A text, what is marked in it, and the places of which the answer does not tell whether they are."""

    text: str
    marks: tuple[Mark, ...]
    unsure: tuple[Mark, ...] = ()


class Lesson(msgspec.Struct, frozen=True):
    """Marked texts. `unaligned` counts the answers that say what is not in their text; `places` are those of the rows that are left."""

    form: Form
    kinds: tuple[str, ...]
    marked: tuple[Marked, ...]
    unaligned: int
    places: tuple[int, ...]


def learn(texts: Sequence[str], answers: Sequence[str]) -> Lesson:
    """Form, kinds and places of all answers. Raises NoSpans where too few of them can be found in their texts."""
    form = infer(texts, answers)
    found = [mark(form, text, answer) for text, answer in zip(texts, answers, strict=True)]
    places = tuple(i for i, one in enumerate(found) if one is not None)
    if len(found) - len(places) > _MOST_UNALIGNED * len(found):
        raise NoSpans(f"{len(found) - len(places)} of its {len(found)} answers say what is not in their text")
    marked = tuple(one for one in found if one is not None)
    kinds = tuple(sorted({one.kind for each in marked for one in each.marks}))
    if not kinds or len(kinds) > MOST_KINDS:
        raise NoSpans(f"its answers name {len(kinds)} kinds of things, where 1 to {MOST_KINDS} can be told apart")
    return Lesson(form, kinds, marked, len(found) - len(places), places)


def infer(texts: Sequence[str], answers: Sequence[str]) -> Form:
    """The form that all but a few of the answers have. Raises NoSpans."""
    values = [_parse(answer) for answer in answers]
    wrapper = _find_wrapper(values)
    inner = [value.get(wrapper) if wrapper and isinstance(value, dict) else value for value in values]
    full = [(value, text) for value, text in zip(inner, texts, strict=True) if value]
    if not full:
        raise NoSpans("its answers are empty")
    enough = (1 - _MOST_STRAY) * len(full)
    dicts = [value for value, _ in full if isinstance(value, dict)]
    lists = [(value, text) for value, text in full if isinstance(value, list)]
    if len(dicts) >= enough:
        form = _infer_kinds(dicts, len([value for value in inner if isinstance(value, dict)]))
    elif len(lists) >= enough and sum(all(isinstance(one, str) for one in value) for value, _ in lists) >= enough:
        form = Form("strings")
    elif len(lists) >= enough:
        form = _infer_objects(lists, enough)
    else:
        raise NoSpans("its answers are neither objects nor lists")
    form = msgspec.structs.replace(form, wrapper=wrapper)
    said = [Counter(read) for answer in answers if (read := read_answer(form, answer)) is not None]
    return msgspec.structs.replace(form, repeats=any(count > 1 for one in said for count in one.values()))


def read_answer(form: Form, answer: str) -> list[tuple[str, str]] | None:
    """(kind, value) as an answer says them, in its order; None where it has another form."""
    value = _parse(answer)
    if form.wrapper:
        value = value.get(form.wrapper) if isinstance(value, dict) else None
    if form.shape == "kinds":
        if not isinstance(value, dict):
            return None
        said = [(str(kind), one) for kind, many in value.items() for one in (many if isinstance(many, list) else [many]) if one]
    elif not isinstance(value, list):
        return None
    elif form.shape == "strings":
        said = [(ONLY_KIND, one) for one in value]
    elif not all(isinstance(one, dict) and set(one) == set(form.fields) for one in value):
        return None
    else:
        text_field = next(field for field in form.fields if field != form.kind_field)
        said = [(one[form.kind_field], one[text_field]) for one in value]
    return said if all(isinstance(kind, str) and isinstance(one, str) and one for kind, one in said) else None


def mark(form: Form, text: str, answer: str) -> Marked | None:
    """Where the answer's values stand in the text, each in the first place that is free; None where one is not there.

    Other places of the same value are unsure where nothing else marks them.
    """
    said = read_answer(form, answer)
    if said is None:
        return None
    marks: list[Mark] = []
    last: dict[str, int] = {}
    for kind, value in sorted(said, key=lambda one: -len(one[1])):  # the longest first: "Paris" is not sought inside of "Paris Hilton"
        free = [place for place in _find_all(text, value) if not _overlap(place, place + len(value), marks)]
        if not free:
            return None
        begin = next((place for place in free if place >= last.get(kind + value, 0)), free[0])
        marks.append(Mark(begin, begin + len(value), kind))
        last[kind + value] = begin + len(value)
    unsure = [
        Mark(place, place + len(value), kind)
        for kind, value in dict.fromkeys(said)
        for place in _find_all(text, value)
        if not _overlap(place, place + len(value), marks)
    ]
    return Marked(text, tuple(sorted(marks)), tuple(unsure))


def _find_all(text: str, value: str) -> list[int]:
    """The places of a value, whole words before parts of words."""
    places = [match.start() for match in re.finditer(f"(?={re.escape(value)})", text)]
    return sorted(places, key=lambda place: (not _is_whole(text, place, place + len(value)), place))


def _is_whole(text: str, begin: int, end: int) -> bool:
    before = begin > 0 and text[begin - 1].isalnum() and text[begin].isalnum()
    return not before and not (end < len(text) and text[end].isalnum() and text[end - 1].isalnum())


def _overlap(begin: int, end: int, marks: Iterable[Mark]) -> bool:
    return any(begin < one.end and one.begin < end for one in marks)


def _parse(answer: str) -> Any:
    try:
        return read_json(answer)
    except ValueError:
        return None


def _find_wrapper(values: Sequence[Any]) -> str:
    """The one member that all objects have, where it holds a list of objects."""
    objects = [value for value in values if isinstance(value, dict)]
    names = Counter(next(iter(value)) for value in objects if len(value) == 1)
    if not names or len(objects) < (1 - _MOST_STRAY) * len(values):
        return ""
    name, count = names.most_common(1)[0]
    lists = [value[name] for value in objects if isinstance(value.get(name), list)]
    held = [one for many in lists for one in many]
    return name if count >= (1 - _MOST_STRAY) * len(values) and held and all(isinstance(one, dict) for one in held) else ""


def _infer_kinds(objects: Sequence[dict[str, Any]], count: int) -> Form:
    seen = Counter(kind for value in objects for kind in value)
    if len(seen) > MOST_KINDS:
        raise NoSpans(f"its answers have {len(seen)} different members")
    strings = Counter(kind for value in objects for kind, one in value.items() if isinstance(one, str) and one)
    lists = Counter(kind for value in objects for kind, one in value.items() if isinstance(one, list))
    empty: dict[str, Any] = {}
    for kind, times in seen.items():
        if times >= _ALWAYS * count:
            bare = [value[kind] for value in objects if kind in value and not value[kind]]
            empty[kind] = [] if lists[kind] > strings[kind] else Counter(bare).most_common(1)[0][0] if bare else ""
    return Form("kinds", single=tuple(sorted(kind for kind in seen if strings[kind] > lists[kind])), always=empty)


def _infer_objects(lists: Sequence[tuple[list[Any], str]], enough: float) -> Form:
    held = [(one, text) for value, text in lists for one in value if isinstance(one, dict)]
    fields = Counter(tuple(one) for one, _ in held).most_common(1)
    if not fields or len(fields[0][0]) != 2 or fields[0][1] < enough / len(lists) * len(held):
        raise NoSpans("its answers are lists of neither strings nor objects of a kind and a text")
    names = fields[0][0]
    inside = {name: sum(str(one.get(name)) in text for one, text in held) for name in names}
    return Form("objects", fields=(names[0], names[1]), kind_field=min(names, key=lambda name: inside[name]))
