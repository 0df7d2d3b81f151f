"""From gathered rows to the parts of a dataset: checked, cleaned of personal data, each question once, labels looked at, and split.

Every row that is left out is counted by its reason. The outcome depends on the rows and on the options alone, not on the rows' order.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Literal

import msgspec

from shoal.distil import checks
from shoal.distil.collect import Gathered
from shoal.distil.ladder import kind_of
from shoal.distil.licences import CORRECTED
from shoal.distil.rows import Row, id_of, question_of
from shoal.distil.split import Part, Shares, split
from shoal.distil.student import Kind
from shoal.evals import graders
from shoal.guard import pii

_ALIKE = 0.8
"""Rows that are this similar are in the same part."""
_COMPARED = 32
"""Of different answers to a question the commonest ones are compared."""
_RARE = 20
"""A label is rare when it occurs once, and the others so many times as often."""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a dataset is made; kept in its manifest. `pii`: what happens to personal data; `near_duplicates`: of rows with the same answer
    that are this similar one is kept, 1 keeps all that differ; `labels`: the closed set of answers, found out where it is empty;
    `least_agreement`: a question whose answers agree less is left out; `keep`: reasons of checks.py that do not count here."""

    pii: Literal["redact", "reject", "keep"] = "redact"
    near_duplicates: Annotated[float, msgspec.Meta(ge=0.5, le=1)] = 0.9
    shares: Shares = Shares()
    seed: int = 1
    labels: tuple[str, ...] = ()
    least_agreement: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    most_bytes: Annotated[int, msgspec.Meta(ge=1)] = checks.MOST_BYTES
    keep: tuple[str, ...] = ()


class Cleaned(msgspec.Struct, frozen=True):
    """The parts, and what was left out or redacted, counted."""

    parts: Mapping[Part, Sequence[Row]]
    given: int
    rejected: Mapping[str, int]
    redacted: Mapping[str, int]


def clean(gathered: Gathered, options: Options, validation: Sequence[Row] = ()) -> Cleaned:
    """Rows as they can be learnt from. Where rows for validation are given they are the test, and nothing like them is trained on."""
    from shoal.distil.duplicates import Likeness  # numpy: whoever only reads datasets does not load it

    rejected, redacted = Counter(gathered.rejected), Counter[str]()
    rows, tests = (_agree(_check(given, options, rejected, redacted), options, rejected) for given in (gathered.rows, validation))
    likeness = Likeness([question_of(row.messages) for row in (*rows, *tests)])
    alike, nearly = likeness.group(_ALIKE), likeness.group(options.near_duplicates)
    tested = set(alike[len(rows) :])
    wrong = _find_odd(rows, alike[: len(rows)], options)
    seen: set[tuple[int, str]] = set()
    kept: list[int] = []
    for place in sorted(range(len(rows)), key=lambda place: _rank(rows[place])):
        told = (nearly[place], graders.normalise_label(rows[place].answer))
        reason = wrong.get(place) or ("also in validation" if alike[place] in tested else "near-duplicate" if told in seen else None)
        if reason is None:
            seen.add(told)
            kept.append(place)
        else:
            rejected[reason] += 1
    shares = options.shares if not validation else msgspec.structs.replace(options.shares, test=0.0)
    where = split([alike[place] for place in kept], [id_of(rows[place]) for place in kept], shares, options.seed)
    parts: dict[Part, list[Row]] = {"train": [], "dev": [], "test": sorted(tests, key=_rank)}
    for place, part in zip(kept, where, strict=True):
        parts[part].append(rows[place])
    given = len(gathered.rows) + len(validation) + sum(gathered.rejected.values())
    return Cleaned(parts, given, dict(rejected), dict(redacted))


def _check(rows: Iterable[Row], options: Options, rejected: Counter[str], redacted: Counter[str]) -> list[Row]:
    """Rows that nothing speaks against, without personal data where that is wanted."""
    passed = []
    for row in rows:
        reason = checks.reject(row, options.most_bytes)
        if reason is not None and reason not in options.keep:
            rejected[reason] += 1
            continue
        found = Counter[str]()
        if options.pii != "keep" and reason is None:
            for text in (*(message["content"] for message in row.messages), row.answer):
                found.update(_find_personal(text))
        if found and options.pii == "reject":
            rejected["personal data"] += 1
        elif found:
            redacted.update(found)
            passed.append(_redact(row))
        else:
            passed.append(row)
    return passed


@lru_cache(maxsize=1024)
def _find_personal(text: str) -> tuple[str, ...]:
    """The kinds of personal data in a text; instructions and labels are the same in most rows, and looked at once."""
    return tuple(span.kind for span in pii.find(text))


def _redact(row: Row) -> Row:
    messages = tuple({**message, "content": pii.redact(message["content"])} for message in row.messages)
    return msgspec.structs.replace(row, messages=messages, answer=pii.redact(row.answer))


def _rank(row: Row) -> tuple[str, ...]:
    """An order of rows that depends on nothing but themselves."""
    origin = row.origin
    return (id_of(row), question_of(row.messages), row.answer, origin.request_id, origin.file_id, f"{origin.line:012}")


def _agree(rows: Sequence[Row], options: Options, rejected: Counter[str]) -> list[Row]:
    """Each question once, with the answer that was corrected, or else the one that agrees most with the others."""
    asked: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        asked[" ".join(f"{message['role']} {message['content']}" for message in row.messages).casefold()].append(row)
    kind = _kind_of([row.answer for row in rows if row.answer], options)[0]
    agreed = []
    for same in asked.values():
        same.sort(key=_rank)
        corrected = [row for row in same if row.origin.rule == CORRECTED]
        answered = corrected or [row for row in same if row.answer] or same
        chosen, agreement = _choose(kind, answered)
        if agreement < options.least_agreement:
            rejected["answers disagree"] += len(same)
        else:
            agreed.append(chosen)
            if len(same) > 1:
                rejected["duplicate"] += len(same) - 1
    return agreed


def _choose(kind: Kind, rows: Sequence[Row]) -> tuple[Row, float]:
    """The row whose answer agrees most with all of them, and how much, from 0 to 1: of labels, the share that says the same."""
    if len(rows) == 1:
        return rows[0], 1.0
    spelt = Counter(row.answer for row in rows)
    said = Counter(graders.normalise_label(row.answer) for row in rows).most_common(_COMPARED)
    first = {graders.normalise_label(row.answer): row.answer for row in reversed(rows)}

    def agree(one: str, other: str) -> float:
        if kind == "label" or one == other:
            return float(one == other)
        try:
            return graders.grade(kind, first[one], first[other])
        except ValueError:  # an answer that is not of this kind is like no other
            return 0.0

    total = sum(count for _, count in said)
    agreement = {one: sum(count * agree(one, other) for other, count in said) / total for one, _ in said}
    chosen = max(agreement, key=lambda one: (agreement[one], first[one]))
    row = max((row for row in rows if graders.normalise_label(row.answer) == chosen), key=lambda row: spelt[row.answer])
    return row, agreement[chosen]


def _kind_of(answers: Sequence[str], options: Options) -> tuple[Kind, Sequence[str]]:
    if options.labels:
        return "label", options.labels
    return kind_of(answers) if answers else ("text", ())


def _find_odd(rows: Sequence[Row], groups: Sequence[int], options: Options) -> dict[int, str]:
    """Places of rows whose answer is not of the kind that the others are, or likely wrong, with the reason."""
    places = [place for place, row in enumerate(rows) if row.answer]
    if not places:
        return {}
    answered, answers = [rows[place] for place in places], [rows[place].answer for place in places]
    kind, labels = _kind_of(answers, options)
    if kind == "label":
        allowed = options.labels or _common(answers, labels)
        odd = checks.odd_labels(answered, allowed, [groups[place] for place in places])
    elif kind in ("json", "number"):
        odd = {at: f"no {kind}" for at, answer in enumerate(answers) if not _is(kind, answer)}
    else:
        odd = {}
    return {places[at]: reason for at, reason in odd.items() if reason not in options.keep}


def _common(answers: Sequence[str], labels: Sequence[str]) -> list[str]:
    """Labels without those that occur once while the others are common: slips, as likely as not."""
    counts = Counter(map(graders.normalise_label, answers))
    known = [graders.normalise_label(label) for label in labels]
    usual = sorted(counts[label] for label in known)[len(known) // 2]
    return [label for label in known if counts[label] > 1 or usual < _RARE]


def _is(kind: Kind, answer: str) -> bool:
    if kind == "number":
        return graders.is_number(answer)
    try:
        return isinstance(graders.read_json(answer), dict | list)
    except ValueError:
        return False
