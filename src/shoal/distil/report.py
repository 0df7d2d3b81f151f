"""One self-contained HTML page about a student: the verdict, curves, what was tried, slices, and its card. It loads nothing from anywhere.

Curves are PNGs inside the page. Everything that callers chose (names, labels) is escaped.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from shoal.distil.card import ModelCard, show_opinion
from shoal.distil.gate import Verdict

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Points (step, value) by name, such as the loss on train and on dev."""

_STYLE = """
:root{--ink:#1c2733;--soft:#5c6b7a;--line:#dde3e9;--good:#0a7d4f;--bad:#b3341e;--blue:#1f6feb}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);margin:0 auto;max-width:60rem;padding:2rem 1.25rem 4rem;background:#fff}
h1{font-size:1.7rem;margin:0 0 .25rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2.5rem 0 .75rem}
p{margin:.4rem 0}.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(10rem,1fr));gap:.75rem;margin:1.25rem 0}
.cards div{border:1px solid var(--line);border-radius:.5rem;padding:.75rem 1rem}
.cards b{display:block;font-size:1.45rem;font-variant-numeric:tabular-nums}.cards span{color:var(--soft);font-size:.85rem}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .75rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:500}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
img{max-width:100%;height:auto}
"""


def write_page(card: ModelCard, curves: Curves) -> str:
    """The page."""
    verdict = card.verdict
    word = '<b class="good">Passed</b>' if verdict.passed else '<b class="bad">Not passed</b>'
    parts = [
        f"<h1>{escape(card.name)}</h1>",
        f'<p class="soft">{escape(card.rung)} on {escape(card.base)}, made {escape(card.made)}, from {escape(card.dataset)}</p>',
        f"<p>{word}. {escape(verdict.why)}</p>",
        _show_numbers(verdict),
        *_show_opinion(verdict),
        *_show_curves(curves),
        "<h2>What was tried</h2>",
        _table(
            ("student", "score on dev", "seconds of training", "why not"),
            [(one.rung, "" if one.dev_score is None else f"{one.dev_score:.3f}", f"{one.seconds:.0f}", one.why_not) for one in card.tried],
        ),
        *_show_slices(verdict),
        *_show_general(verdict),
        "<h2>What it learnt from</h2>",
        _table(("", "rows"), [(f"for {part}", str(count)) for part, count in card.rows.items()]),
        _table(("where rows came from", "", "rows"), [(s, v, str(n)) for s, counts in card.provenance.items() for v, n in counts.items()]),
        _table(("left out, and why", "rows"), [(why, str(count)) for why, count in card.rejected.items()]),
        _table(("personal data that was replaced", "times"), [(what, str(count)) for what, count in card.redacted.items()]),
        "<h2>Limits</h2>",
        f"<ul>{''.join(f'<li>{escape(limit)}</li>' for limit in card.limits)}</ul>",
        "<h2>Measured in training</h2>",
        _table(("", "value"), [(name.replace("_", " "), f"{value:,.4g}") for name, value in card.figures.items()]),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
    body = "\n".join(part for part in parts if part)
    title = f"<title>{escape(card.name)}</title>"
    return f'<!doctype html>\n<html lang="en"><head>{head}{policy}{title}<style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'


def draw_curves(curves: Curves, width: float = 8.0) -> bytes:
    """A PNG of all curves over their steps."""
    figure = Figure(figsize=(width, 3.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, points in curves.items():
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            label=name.replace("_", " "),
            linewidth=1.6,
            marker="." if len(points) < 30 else "",
        )
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _show_numbers(verdict: Verdict) -> str:
    ratio, lower = verdict.deciding
    shown = [
        (f"{ratio:.1%}", "of its teacher's quality"),
        (f"{lower:.1%}", "surely (lower 95% bound)"),
        (f"{verdict.student_score:.3f}", f"score, teacher {verdict.teacher_score:.3f}"),
        (f"{verdict.rows:,}", f"rows, graded against {verdict.against}"),
    ]
    if verdict.pace is not None:
        pace = verdict.pace
        shown += [
            (f"{pace.p50_ms:.0f} ms", f"an answer, p95 {pace.p95_ms:.0f} ms"),
            (f"{pace.tokens_per_s:,.0f}", "tokens a second"),
            (f"${pace.usd_per_1m_tokens:.4f}", "a million tokens"),
            (f"{pace.watt_hours_per_1m_tokens:.1f} Wh", "a million tokens, at a stated wattage"),
        ]
    return f'<div class="cards">{"".join(f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in shown)}</div>'


def _show_opinion(verdict: Verdict) -> list[str]:
    if verdict.opinion is None:
        return []
    graded = ("ROUGE-L, which decides nothing here: ratio (lower 95% bound)", f"{verdict.ratio:.3f} ({verdict.lower:.3f})")
    return ["<h2>Judged by a model</h2>", _table(("", ""), [*show_opinion(verdict.opinion), graded])]


def _show_curves(curves: Curves) -> list[str]:
    drawn = {name: points for name, points in curves.items() if len(points) > 1}
    if not drawn:
        return []
    data = base64.b64encode(draw_curves(drawn)).decode()
    return ["<h2>Learning</h2>", f'<img alt="{escape(", ".join(drawn))} over steps" src="data:image/png;base64,{data}">']


def _show_slices(verdict: Verdict) -> list[str]:
    if not verdict.slices:
        return []
    rows = [
        (one.by, one.value, str(one.rows), f"{one.student:.3f}", f"{one.low:.2f} to {one.high:.2f}", f"{one.teacher:.3f}")
        for one in verdict.slices
    ]
    return ["<h2>Slices, the weakest first</h2>", _table(("by", "slice", "rows", "student", "95% interval", "teacher"), rows)]


def _show_general(verdict: Verdict) -> list[str]:
    if not verdict.general:
        return []
    rows = [(sort, f"{before:.0%}", f"{after:.0%}") for sort, (before, after) in verdict.general.items()]
    return ["<h2>General questions, before and after</h2>", _table(("", "base", "student"), rows)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; "" without rows. Cells that are numbers stand to the right."""
    if not rows:
        return ""
    numeric = [all(_is_figure(row[i]) for row in rows) and any(row[i] for row in rows) for i in range(len(head))]
    marks = [' class="n"' if one else "" for one in numeric]
    top = "".join(f"<th{mark}>{escape(cell)}</th>" for cell, mark in zip(head, marks, strict=True))
    lines = ["".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(row, marks, strict=True)) for row in rows]
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def _is_figure(cell: str) -> bool:
    return not cell or cell.replace(",", "").replace(".", "").replace("%", "").replace("e-", "").replace("e+", "").lstrip("-").isdigit()
