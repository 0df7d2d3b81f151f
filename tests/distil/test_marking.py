"""marking.py: which form answers have, and where their values stand."""

import json

import pytest

from shoal.distil import marking
from shoal.distil.marking import NoSpans
from shoal.mini.spans import Form, Mark, write

TEXTS = ["Ann Lee met Ann in Rome.", "Nobody came.", "Bo is in Oslo."]
BY_KIND = [{"name": ["Ann Lee", "Ann"], "place": ["Rome"]}, {}, {"name": ["Bo"], "place": ["Oslo"]}]
OBJECTS = [[{"type": kind, "text": one} for kind, many in each.items() for one in many] for each in BY_KIND]


@pytest.mark.parametrize(
    "answers",
    [BY_KIND, OBJECTS, [{"found": one} for one in OBJECTS], [[item["text"] for item in one] for one in OBJECTS]],
    ids=["kinds", "objects", "wrapped", "strings"],
)
def test_a_form_is_found_and_written_again(answers: list[object]) -> None:
    said = [json.dumps(one) for one in answers]
    lesson = marking.learn(TEXTS, said)
    assert lesson.unaligned == 0
    for marked, answer in zip(lesson.marked, answers, strict=True):
        assert json.loads(write(lesson.form, marked.text, marked.marks)) == answer


def test_members_that_are_always_there_stay() -> None:
    answers = ['{"name": "Ann", "place": "Rome"}', '{"name": null, "place": null}', '{"name": "Bo", "place": "Oslo"}']
    form = marking.infer(TEXTS, answers)
    assert form == Form("kinds", single=("name", "place"), always={"name": None, "place": None}, repeats=False)
    assert write(form, TEXTS[2], [Mark(0, 2, "name")]) == '{"name":"Bo","place":null}'


def test_whole_words_come_first_and_other_places_are_unsure() -> None:
    marked = marking.mark(Form("kinds"), "Annette, Ann and Ann", '{"name": ["Ann"]}')
    assert marked is not None
    assert marked.marks == (Mark(9, 12, "name"),)
    assert set(marked.unsure) == {Mark(0, 3, "name"), Mark(17, 20, "name")}


def test_answers_that_are_not_in_their_text_are_counted_and_too_many_refused() -> None:
    answers = ['{"name": ["Ann"]}'] * 9 + ['{"name": ["Zoe"]}']
    lesson = marking.learn(["Ann came."] * 10, answers)
    assert (lesson.unaligned, lesson.places) == (1, tuple(range(9)))
    with pytest.raises(NoSpans, match="7 of its 10 answers say what is not in their text"):
        marking.learn(["Ann came."] * 10, answers[:3] + answers[-1:] * 7)


@pytest.mark.parametrize("answers", [["{}"] * 3, ['{"total": 3}'] * 3, ["3"] * 3, ['[{"a": "x", "b": "y", "c": "z"}]'] * 3])
def test_what_is_no_spans(answers: list[str]) -> None:
    with pytest.raises(NoSpans):
        marking.learn(TEXTS, answers)
