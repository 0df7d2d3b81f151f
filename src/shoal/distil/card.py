"""A student's model card: what it is, what it learnt from, how it was judged, and where it should not be trusted. As data and as Markdown.

After Mitchell et al., Model Cards for Model Reporting (2019): it says what was measured, and of the rest that it was not.
"""

import time
from collections.abc import Collection, Mapping, Sequence

import msgspec

from shoal.core.money import usd_text
from shoal.distil.dataset import Manifest
from shoal.distil.gate import Verdict
from shoal.distil.ladder import Tried
from shoal.distil.slices import Slice, find_weak
from shoal.distil.student import Student, Task
from shoal.evals.judge import Opinion

_MOST_WEAK = 12


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a student. `provenance` counts rows by where they came from; `limits` are sentences."""

    name: str
    rung: str
    base: str
    made: str  # UTC, to the second
    kind: str
    labels: tuple[str, ...]
    dataset: str
    rows: Mapping[str, int]
    provenance: Mapping[str, Mapping[str, int]]
    rejected: Mapping[str, int]
    redacted: Mapping[str, int]
    figures: Mapping[str, float]
    tried: tuple[Tried, ...]
    verdict: Verdict
    weak: tuple[Slice, ...]
    limits: tuple[str, ...]


def make_card(
    name: str, base: str, task: Task, manifest: Manifest, student: Student, tried: Sequence[Tried], verdict: Verdict, made_at: float
) -> ModelCard:
    """The card of a student. `made_at` is in seconds since 1970."""
    weak = find_weak(verdict.slices, verdict.student_score)
    return ModelCard(
        name=name,
        rung=student.rung,
        base=base,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made_at)),
        kind=task.kind,
        labels=tuple(task.labels),
        dataset=manifest.id,
        rows={part: len(rows) for part, rows in (("train", task.train), ("dev", task.dev), ("test", task.test))},
        provenance={"kinds": manifest.kinds, "models": manifest.models, "rules": manifest.rules, "consents": manifest.consents},
        rejected=manifest.rejected,
        redacted=manifest.redacted,
        figures=student.figures,
        tried=tuple(tried),
        verdict=verdict,
        weak=tuple(weak[:_MOST_WEAK]),
        limits=tuple(_find_limits(task, student, verdict, len(weak), manifest.models)),
    )


def _find_limits(task: Task, student: Student, verdict: Verdict, weak: int, models: Collection[str]) -> list[str]:
    limits = ["It knows one task, as it looked in its dataset; on other questions its answers mean nothing."]
    if task.kind == "label":
        limits.append("It always answers with one of its labels, also where none fits.")
        taught = {row.answer for row in task.train}
        if missing := [label for label in task.labels if label not in taught]:
            limits.append(f"{len(missing)} of its labels occur in no row that it was trained on: {', '.join(missing[:5])}.")
    if verdict.opinion is not None:
        limits.append("A model judged it, which has preferences of its own and can be mistaken in both orders alike.")
        if verdict.opinion.judge in models:
            limits.append("Its judge is its teacher, which may prefer its own answers.")
    elif verdict.against == "teacher":
        limits.append(
            "It was graded by its teacher's answers: where the teacher errs, agreeing counts as right and correcting it as wrong."
        )
    if verdict.rows < 200:
        limits.append(f"It was judged by {verdict.rows} rows, few enough for the bound to be far from the ratio.")
    if weak:
        limits.append(f"In {weak} slices it is weaker than overall beyond chance; with many slices some of that is chance too.")
    forgotten = [sort for sort, (before, after) in verdict.general.items() if after < before]
    if forgotten:
        limits.append(f"It has forgotten some of what its base knew: {', '.join(forgotten)}.")
    if not verdict.general:
        limits.append(
            "It cannot hold a conversation." if student.rung in ("head", "tfidf", "encoder") else "What it forgot was not measured."
        )
    limits.append("Languages of slices are guesses; fairness towards groups of people was not measured.")
    return limits


def write_markdown(card: ModelCard) -> str:
    """The card as Markdown."""
    verdict = card.verdict
    lines = [
        f"# {_escape(card.name)}",
        "",
        f"A student of the kind `{card.rung}`, on {_escape(card.base)}, made {card.made}. It answers with {_tell_kind(card)}.",
        "",
        "## How it was judged",
        "",
        f"{'Passed' if verdict.passed else 'Not passed'}. {_escape(verdict.why)} Rows: {verdict.rows}, graded against {verdict.against}.",
        "",
        *_table(
            ["", "student", "teacher", "ratio", "lower 95% bound"],
            [["score", f"{verdict.student_score:.3f}", f"{verdict.teacher_score:.3f}", f"{verdict.ratio:.3f}", f"{verdict.lower:.3f}"]],
        ),
        *_tell_opinion(verdict),
        *_tell_pace(verdict),
        *_tell_general(verdict),
        "## What was tried",
        "",
        *_table(
            ["student", "score on dev", "seconds", "why not"],
            [[one.rung, "" if one.dev_score is None else f"{one.dev_score:.3f}", f"{one.seconds:.0f}", one.why_not] for one in card.tried],
        ),
        "## What it learnt from",
        "",
        f"Dataset `{card.dataset}`: {', '.join(f'{count} rows for {part}' for part, count in card.rows.items())}.",
        "",
        *_table(
            ["", "", "rows"], [[sort, value, str(count)] for sort, counts in card.provenance.items() for value, count in counts.items()]
        ),
        f"Rejected: {_list(card.rejected)}. Personal data replaced: {_list(card.redacted)}.",
        "",
        "## Limits",
        "",
        *[f"- {_escape(limit)}" for limit in card.limits],
        "",
    ]
    if card.weak:
        rows = [
            [one.by, one.value, str(one.rows), f"{one.student:.2f} ({one.low:.2f} to {one.high:.2f})", f"{one.teacher:.2f}"]
            for one in card.weak
        ]
        lines += ["## Where it is weak", "", *_table(["by", "slice", "rows", "student", "teacher"], rows)]
    return "\n".join(lines)


def _tell_kind(card: ModelCard) -> str:
    return {"label": f"one of {len(card.labels)} labels", "json": "JSON", "number": "a number", "text": "a text"}[card.kind]


def _tell_opinion(verdict: Verdict) -> list[str]:
    one = verdict.opinion
    if one is None:
        return []
    words = (
        f"{_escape(one.judge)} compared its answers with its teacher's in both orders, and its verdict decides; the score above is ROUGE-L."
    )
    return [words, "", *_table(["judged", ""], show_opinion(one))]


def show_opinion(one: Opinion) -> list[tuple[str, str]]:
    """What a judge said, line by line."""
    return [
        ("judge", one.judge),
        ("ratio (lower 95% bound)", f"{one.ratio:.3f} ({one.lower:.3f})"),
        ("better, even, worse", f"{one.wins}, {one.ties}, {one.losses}"),
        ("even since both answers are the same", str(one.same)),
        ("without a verdict", str(one.unjudged)),
        ("agrees with itself when answers change places", "not told" if one.agreement is None else f"{one.agreement:.0%}"),
        ("cost", f"{usd_text(one.cost_nano)} USD"),
    ]


def _tell_pace(verdict: Verdict) -> list[str]:
    pace = verdict.pace
    if pace is None:
        return []
    latency, price = f"{pace.p50_ms:.0f} ms (p95 {pace.p95_ms:.0f} ms)", f"{pace.usd_per_1m_tokens:.4f} USD"
    energy = f"{pace.watt_hours_per_1m_tokens:.1f} Wh"
    return [
        f"An answer takes {latency}, {pace.tokens_per_s:,.0f} tokens pass in a second, and a million of them cost {price} and {energy}.",
        "",
    ]


def _tell_general(verdict: Verdict) -> list[str]:
    if not verdict.general:
        return []
    rows = [[sort, f"{before:.0%}", f"{after:.0%}"] for sort, (before, after) in verdict.general.items()]
    return ["General questions, before and after:", "", *_table(["", "base", "student"], rows)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(_escape(cell) for cell in line)} |" for line in lines), ""]


def _escape(text: str) -> str:
    """Names and labels are callers' own: none of them may be read as Markdown, or as HTML where it is shown as such."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\|*`[]" else c for c in flat)


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} ({_escape(what)})" for what, count in counts.items()) or "nothing"
