"""The model card and the page: they say what was measured, and nothing that a caller wrote becomes markup."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.distil import card, gate, report
from shoal.distil.card import ModelCard
from shoal.distil.dataset import File, Manifest
from shoal.distil.gate import Pace, Rules
from shoal.distil.ladder import Tried
from shoal.distil.rows import Row
from shoal.distil.student import Student, Task

HOSTILE = '<script>alert("1")</script>|`[x](y)'


def make(name: str = "ft:minnow:acme:intents:1", against_gold: bool = True, label: str = "fees") -> ModelCard:
    rows = [Row(({"role": "user", "content": f"What is the price of the card {i}?"},), label if i % 2 else "pin") for i in range(60)]
    task = Task("label", rows[:1], [], rows, ("pin", label))
    said = [row.answer if i > 9 else "pin" for i, row in enumerate(rows)]
    teacher = [row.answer for row in rows] if against_gold else None
    pace = Pace(p50_ms=7, p95_ms=11, tokens_per_s=4321, usd_per_1m_tokens=0.0064, watt_hours_per_1m_tokens=1.5)
    verdict = gate.judge(task, said, Rules(0.8), teacher, pace, {"facts": (0.5, 0.25)})
    file = File("0" * 64, 1, 60)
    manifest = Manifest(
        id="ds_0123456789ab",
        files={"train": file, "dev": file, "test": file},
        options={},
        given=70,
        rejected={"empty": 10},
        redacted={"EMAIL": 2},
        kinds={"logs": 60},
        models={"openai/gpt-4o": 60},
        rules={"licence": 60},
        consents={"the project may train": 60},
    )
    tried = (Tried("tfidf", 0.7, 1.0), Tried("lora", why_not="head is cheaper and good enough"))
    return card.make_card(name, "minnow-embed", task, manifest, Student("head", Path("student"), {"dev_score": 0.9}), tried, verdict, 0)


def test_a_card_holds_what_was_measured_and_its_limits() -> None:
    text = card.write_markdown(make())
    for said in ("Passed", "ds_0123456789ab", "openai/gpt-4o", "10 (empty)", "2 (EMAIL)", "7 ms"):
        assert said in text
    assert "It has forgotten some of what its base knew: facts." in text
    assert "1 of its labels occur in no row" in text
    assert "graded by its teacher" not in text
    assert "graded by its teacher" in card.write_markdown(make(against_gold=False))


def test_a_page_stands_alone_and_shows_curves() -> None:
    page = report.write_page(make(), {"dev loss": [(1, 2.0), (2, 1.5)], "one point": [(1, 1.0)]})
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert page.count("data:image/png;base64,") == 1
    assert "head is cheaper and good enough" in page
    assert "<img" not in report.write_page(make(), {})


def test_nothing_that_callers_wrote_becomes_markup() -> None:
    page = report.write_page(make(HOSTILE, label=HOSTILE), {})
    assert "<script" not in page
    text = card.write_markdown(make(HOSTILE, label=HOSTILE))
    assert "<script" not in text
    assert "\\[x\\](y)" in text


@given(st.text(max_size=40))
def test_a_cell_of_markdown_stays_in_its_cell(text: str) -> None:
    table = card._table(["a", "b"], [[text, "x"]])
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", table[2])) == 3
    assert "\n" not in table[2]


def test_a_curve_is_a_png() -> None:
    assert report.draw_curves({"loss": [(0, 1.0), (1, 0.5)]}).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("cell", "figure"), [("1,234.5", True), ("", True), ("1.2e-05", True), ("12%", True), ("0.1 to 0.2", False), ("a", False)]
)
def test_figures_stand_to_the_right(cell: str, figure: bool) -> None:
    assert report._is_figure(cell) == figure
