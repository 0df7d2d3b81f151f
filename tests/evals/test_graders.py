"""Graders: each kind by its definition, with what must hold for any text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.evals import graders
from shoal.evals.graders import Tally, grade

WORDS = st.lists(st.sampled_from("abcde"), max_size=14)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=3), part, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("answer", "gold", "same"),
    [
        ("Card_Arrival", "card arrival", True),
        ('"card_arrival".', "card_arrival", True),
        ("**Yes!**", "yes", True),
        ("-1", "1", False),
        ("C++", "C", False),
        ("card", "card_arrival", False),
        ("!", "?", False),
        ("", "x", False),
    ],
)
def test_a_label_is_right_or_wrong(answer: str, gold: str, same: bool) -> None:
    assert grade("label", answer, gold) == float(same)


@given(st.text().filter(lambda text: any(c.isalnum() for c in text)))
def test_every_label_is_itself_however_it_is_quoted(text: str) -> None:
    assert grade("label", text, text) == 1
    assert grade("label", f'"{text}"', f" *{text}* ") == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("$1,234.50", 1234.5),
        ("-3", -3),
        ("−3", -3),
        ("6 * 7 = 42 apples", 42),
        ("1e3", 1000),
        ("#### 18", 18),
        ("12,50", 50),
        ("none", None),
        ("1" + "0" * 400, None),
    ],
)
def test_a_number_is_read_from_the_end_of_a_text(text: str, value: float | None) -> None:
    assert graders.read_number(text) == value


def test_numbers_are_equal_within_a_tolerance() -> None:
    assert grade("number", "0.33333333", "0.333333333") == 1
    assert grade("number", "0.333", "0.3333") == 0
    assert grade("number", "I do not know", "0") == 0


def test_what_is_a_number_alone() -> None:
    assert all(map(graders.is_number, ["1", "-2.5", "$3", "1,000", "7 %", " 5 "]))
    assert not any(map(graders.is_number, ["", "1 apple", "a1", "1,00", "-", "3 4"]))


def test_fields_are_paths_and_values() -> None:
    gold = '{"name": "Ann", "age": 30, "tags": ["a", "b"]}'
    assert grade("json", '{"age": 30.0, "tags": ["b", "a"], "name": " Ann "}', gold) == 1
    assert graders.tally('{"name": "Ann", "age": "30", "tags": ["a"]}', gold) == Tally(2, 3, 4)
    assert graders.tally("no JSON", gold) == Tally(0, 1, 4)
    assert grade("json", "no JSON", "no JSON") == 1
    assert grade("json", "```json\n" + gold + "\n```", gold) == 1
    assert grade("json", '{"name": true}', '{"name": 1}') == 0


def test_a_value_said_twice_is_right_once() -> None:
    assert graders.tally('{"PERSON": ["Ann", "Ann"]}', '{"PERSON": ["Ann"]}') == Tally(1, 2, 1)
    assert grade("spans", '{"PERSON": ["Ann"]}', '{"CITY": ["Ann"]}') == 0
    assert grade("spans", "{}", '{"PERSON": []}') == 1


def test_an_answer_nested_without_end_is_wrong() -> None:
    assert grade("json", "[" * 100_000, "[]") == 0


@given(JSON, JSON)
def test_fields_are_symmetric_and_bounded(first: object, second: object) -> None:
    there, back = graders.tally(json.dumps(first), json.dumps(second)), graders.tally(json.dumps(second), json.dumps(first))
    assert there.f1 == back.f1
    assert 0 <= there.f1 <= 1
    assert grade("json", json.dumps(first), json.dumps(first)) == 1


@given(WORDS, WORDS)
def test_the_longest_common_subsequence_is_that_of_the_plain_table(first: list[str], second: list[str]) -> None:
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    assert graders.measure_common(first, second) == table[-1][-1]


def test_rouge_l_by_hand() -> None:
    assert grade("text", "police killed the gunman", "Police kill the gunman.") == 0.75
    assert grade("text", "the gunman kill police", "police kill the gunman") == 0.5
    assert grade("text", "", "") == 1
    assert grade("text", "", "a") == 0


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_the_best_reference_counts(answer: str, references: list[str]) -> None:
    assert grade("text", answer, references) == max(grade("text", answer, one) for one in references)
    assert grade("text", answer, [*references, answer]) == 1
