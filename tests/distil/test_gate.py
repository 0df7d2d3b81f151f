"""The gate: what it lets through, what it counts, and where it finds a student weak."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.distil import gate, general, slices
from shoal.distil.gate import Rules
from shoal.distil.rows import Message, Row
from shoal.distil.served import Spent
from shoal.distil.slices import Slice
from shoal.distil.student import Kind, Task
from shoal.mini.card import Speed


def make_task(answers: Sequence[str], kind: Kind = "label", questions: Sequence[str] = ()) -> Task:
    asked = questions or [f"What is the number {i} of my orders?" for i in range(len(answers))]
    test = [Row(({"role": "user", "content": text},), answer) for text, answer in zip(asked, answers, strict=True)]
    return Task(kind, [], [], test, tuple(sorted(set(answers))))


def test_the_lower_bound_decides() -> None:
    gold = ["yes", "no"] * 100
    said = ["yes", "no"] * 96 + ["no", "yes"] * 4
    verdict = gate.judge(make_task(gold), said, Rules(0.95))
    assert verdict.ratio == 0.96
    assert verdict.lower < 0.95
    assert not verdict.passed
    assert "where 95.0% is wished for" in verdict.why
    assert gate.judge(make_task(gold), said, Rules(0.9)).passed


def test_a_student_is_measured_against_its_teachers_own_slips() -> None:
    gold = ["yes", "no"] * 100
    teacher = ["yes", "no"] * 92 + ["no", "yes"] * 8
    verdict = gate.judge(make_task(gold), teacher, Rules(), teacher)
    assert (verdict.ratio, verdict.lower, verdict.against) == (1.0, 1.0, "gold")
    assert verdict.student_score == verdict.teacher_score == 0.92
    assert gate.judge(make_task(gold), gold, Rules()).against == "teacher"


def test_fields_are_counted_over_all_rows() -> None:
    task = make_task(['{"a": [1, 2, 3]}', '{"a": [1]}'] * 20, "json")
    verdict = gate.judge(task, ['{"a": [1, 2, 3]}', "{}"] * 20, Rules())
    assert verdict.student_score == pytest.approx(6 / 7)


def test_too_few_rows_and_a_teacher_without_points_are_refused() -> None:
    few = gate.judge(make_task(["yes"] * 5), ["yes"] * 5, Rules(0.5))
    assert (few.passed, few.ratio) == (False, 1.0)
    assert "too few" in few.why
    useless = gate.judge(make_task(["yes"] * 30), ["yes"] * 30, Rules(), ["no"] * 30)
    assert not useless.passed
    assert "the teacher scored nothing" in useless.why
    assert "no rows" in gate.judge(make_task([]), [], Rules()).why
    with pytest.raises(ValueError, match="do not belong"):
        gate.judge(make_task(["yes"]), [], Rules())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=20, max_size=60))
@settings(max_examples=25)
def test_a_verdict_passes_exactly_when_its_bound_does(pairs: list[tuple[str, str]]) -> None:
    verdict = gate.judge(make_task([gold for gold, _ in pairs]), [said for _, said in pairs], Rules(0.5))
    assert verdict.passed == (verdict.lower >= 0.5)
    for one in verdict.slices:
        assert one.low <= one.student <= one.high
        assert one.rows >= slices.LEAST_ROWS


def test_slices_show_where_a_student_is_weak() -> None:
    gold = ["common"] * 80 + ["rare"] * 20
    said = ["common"] * 90 + ["rare"] * 10
    questions = ["what is the matter with the card"] * 80 + ["où est la carte que vous avez envoyée"] * 20
    verdict = gate.judge(make_task(gold, questions=questions), said, Rules())
    weak = {(one.by, one.value) for one in slices.find_weak(verdict.slices, verdict.student_score)}
    assert {("label", "rare"), ("frequency", "rare labels"), ("language", "Latin, not English")} <= weak
    assert ("label", "common") not in weak


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the limit of my card?", "English"),
        ("Wo bleibt meine Karte?", "Latin, not English"),
        ("Где моя карта?", "Cyrillic"),
        ("我的卡在哪里", "CJK"),
        ("1234 !", "no letters"),
    ],
)
def test_languages_are_guessed(text: str, language: str) -> None:
    assert slices.guess_language(text) == language


def test_slices_that_are_too_small_or_all_there_is_are_left_out() -> None:
    rng = random.Random(1)
    rows = make_task(["a"] * 50 + ["b"] * 5, questions=["the " * rng.randint(1, 50) for _ in range(55)]).test
    found = slices.find_slices(rows, [1.0] * 55, [1.0] * 55, "label")
    assert {one.by for one in found} == {"length"}
    assert isinstance(found[0], Slice)


class Slow:
    """A student that spends a known time on ten tokens a question."""

    def __init__(self) -> None:
        self.spent = Spent()

    def answer(self, questions: Sequence[Sequence[Message]]) -> list[str]:
        self.spent.questions += len(questions)
        self.spent.prompt_tokens += 9 * len(questions)
        self.spent.answer_tokens += len(questions)
        self.spent.seconds += 0.01 * len(questions)
        self.spent.cpu_seconds += 0.02 * len(questions)
        return ["yes" for _ in questions]


def test_a_pace_has_a_price_and_an_energy() -> None:
    student = Slow()
    questions: list[list[Message]] = [[{"role": "user", "content": "?"}]] * 10
    pace = gate.time_answers(student, student.spent, questions, None, Rules(usd_per_hour=3.6, watts=36))
    assert pace is not None
    assert pace.tokens_per_s == pytest.approx(1000)
    assert pace.usd_per_1m_tokens == pytest.approx(1)
    assert pace.watt_hours_per_1m_tokens == pytest.approx(20)
    assert 0 < pace.p50_ms <= pace.p95_ms
    faster = gate.time_answers(student, student.spent, questions, Speed(100, 9000, 1, 1), Rules())
    assert faster is not None
    assert faster.tokens_per_s == pytest.approx(10 / (9 / 9000 + 1 / 100))
    assert gate.time_answers(student, student.spent, [], None, Rules()) is None


class Parrot:
    """Answers every question with the same."""

    def __init__(self, text: str) -> None:
        self._text = text

    def answer(self, questions: Sequence[Sequence[Message]]) -> list[str]:
        return [self._text for _ in questions]


def test_what_was_forgotten_is_told_by_sort() -> None:
    base, student = general.check(Parrot("It is Paris, or H2O: 7! Cold.")), general.check(Parrot("card_arrival"))
    assert base == {"facts": 3 / 8, "sums": 0, "language": 1 / 4, "instructions": 0}
    assert general.compare(base, student)["facts"] == (3 / 8, 0)
    assert general.check(Parrot("A, B, and C."))["instructions"] == 1 / 4
