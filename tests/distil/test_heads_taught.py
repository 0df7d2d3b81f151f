"""The cheapest rungs: what they learn from made-up vectors and wrong labels, and that what is served is what was taught."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.distil import baseline, head, teachable
from shoal.distil.baseline import BaselineRung
from shoal.distil.head import HeadRung
from shoal.distil.rows import Row
from shoal.distil.student import Options, Rung, Task
from shoal.distil.watch import Silent
from shoal.mini import catalogue, heads
from shoal.mini.card import read_card, read_speed
from shoal.mini.heads import Frame

TOPICS = ("lost_card", "cashLimit", "new-pin", "fees")
WORDS = {
    "lost_card": ["card", "lost", "stolen", "gone", "missing"],
    "cashLimit": ["cash", "limit", "atm", "machine", "withdraw"],
    "new-pin": ["pin", "new", "code", "number", "change"],
    "fees": ["fees", "charge", "cost", "price", "money"],
}
KNOWN = sorted({word for words in WORDS.values() for word in words})


class MadeUp:
    """A sentence model: a number for each known word, and a little of everything."""

    dimensions, context_tokens, size = len(KNOWN) + 1, 64, 1000

    def encode(self, text: str) -> list[int]:
        return [KNOWN.index(word) if word in KNOWN else len(KNOWN) for word in text.split()]

    def embed(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        vectors = np.zeros((len(texts), self.dimensions))
        for vector, text in zip(vectors, texts, strict=True):
            np.add.at(vector, list(text), 1)
            vector[-1] += 0.1
        unit: list[list[float]] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tolist()
        return unit


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(catalogue, "load_embedder", lambda home, threads=1: MadeUp())
    yield


def make_rows(count: int, seed: int, wrong: float = 0.0) -> list[Row]:
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        topic = rng.choice(TOPICS)
        text = " ".join([rng.choice(WORDS[topic]), rng.choice(KNOWN), rng.choice(WORDS[topic]), rng.choice(WORDS[topic])])
        chat = ({"role": "system", "content": "Classify."}, {"role": "user", "content": f"The customer says: {text}"})
        rows.append(Row(chat, rng.choice(TOPICS) if rng.random() < wrong else topic))
    return rows


def make_task(wrong: float = 0.0) -> Task:
    return Task("label", make_rows(160, 1, wrong), make_rows(40, 2, wrong), make_rows(100, 3), TOPICS)


def measure_share(directory: Path, rows: Sequence[Row]) -> float:
    served = heads.load_head(directory)
    texts = [heads.text_of(row.messages, served.frame.system) for row in rows]
    said = served.answer(texts, heads.embed_with(MadeUp()))
    return float(np.mean([answer == row.answer for (answer, _), row in zip(said, rows, strict=True)]))


@pytest.mark.parametrize("rung", [HeadRung(), BaselineRung()], ids=lambda rung: rung.name)
def test_a_rung_learns_through_wrong_labels_and_is_served_as_taught(rung: Rung, tmp_path: Path) -> None:
    task = make_task(wrong=0.1)
    student = rung.train(task, tmp_path / "student", Options(tmp_path), Silent())
    assert measure_share(student.directory, task.test) > 0.9
    assert 0.8 < student.figures["dev_score"] < 1
    assert student.figures["train_rows"] == 200
    assert read_card(student.directory).kind == "head"
    assert read_speed(student.directory).prefill_tokens_per_s > 0
    assert heads.load_head(student.directory).frame == Frame("The customer says: ")
    assert rung.train(task, student.directory, Options(tmp_path), Silent()) == student


@pytest.mark.parametrize("rung", [HeadRung(), BaselineRung()], ids=lambda rung: rung.name)
def test_two_labels_and_no_rows_to_choose_by_are_enough(rung: Rung, tmp_path: Path) -> None:
    rows = [row for row in make_rows(200, 5) if row.answer in TOPICS[:2]]
    student = rung.train(Task("label", rows, [], [], TOPICS[:2]), tmp_path, Options(tmp_path), Silent())
    assert measure_share(student.directory, [row for row in make_rows(200, 6) if row.answer in TOPICS[:2]]) > 0.9


@pytest.mark.parametrize("rung", [HeadRung(), BaselineRung()], ids=lambda rung: rung.name)
def test_what_a_rung_cannot_hold(rung: Rung) -> None:
    rows = make_rows(20, 1)
    assert "no labels but text" in (rung.unfit(Task("text", rows, [], [])) or "")
    assert "rows are fewer" in (rung.unfit(Task("label", rows[:4], [], [], TOPICS)) or "")
    assert rung.unfit(Task("label", rows, [], [], TOPICS)) is None


def test_a_label_that_nobody_taught_is_known_by_its_name(tmp_path: Path) -> None:
    task = make_task()
    taught = [row for row in task.train if row.answer != "fees"]
    task = Task("label", taught, [], [], TOPICS)
    student = HeadRung().train(task, tmp_path, Options(tmp_path), Silent())
    served = heads.load_head(student.directory)
    assert served.answer(["fees"], heads.embed_with(MadeUp()))[0][0] == "fees"


def test_leave_one_out_is_what_leaving_out_gives() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(12, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, weights = rng.integers(0, 3, 12), rng.uniform(0.5, 2, 12)
    scores = head.solve(vectors, labels, weights, 3, 0.5, left_out=True).left_out
    assert scores is not None
    for i in range(12):
        rest = np.arange(12) != i
        without = head.solve(vectors[rest], labels[rest], weights[rest], 3, 0.5).weights
        assert np.allclose(head.liken(vectors[i : i + 1], vectors[rest]) @ without, scores[i], atol=1e-4)


def test_rows_that_all_others_contradict_are_doubted() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.0], [0.1, 0.9], [0.9, 0.0]] * 10, dtype=np.float32)
    targets = np.array([0, 0, 1, 0] * 10)
    targets[3] = 1
    assert np.flatnonzero(head.doubt(scores, targets)).tolist() == [3]


def test_the_temperature_makes_probabilities_honest() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(size=(4000, 3)) * 2
    chances = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(3, p=row) for row in chances])
    assert 0.08 < head.find_temperature((true / 10).astype(np.float32), targets) < 0.12


@pytest.mark.parametrize("label", ["lost_card", "LostCard", "lost-card", "Lost card"])
def test_names_are_words(label: str) -> None:
    assert head.spell(label) == "lost card"


def test_one_label_of_two_weighs_what_the_other_does() -> None:
    matrix = baseline.weigh(["a b", "c d", "a b b"], baseline.learn(["a b", "c d"]))
    weights, bias = baseline.fit(matrix, np.array([2, 0, 2]), 4, 1)
    scores = matrix @ weights + bias
    assert scores.argmax(axis=1).tolist() == [2, 0, 2]
    assert bias[1] == bias[3] == -10


def test_a_frame_ends_at_words_and_survives_a_stray_row() -> None:
    rows = [Row(({"role": "user", "content": f"Classify this message: card {i} ...\nAnswer with a label."},)) for i in range(10, 99)]
    assert teachable.find_frame(rows) == Frame("Classify this message: card ", " ...\nAnswer with a label.")
    assert teachable.find_frame([*rows, Row(({"role": "user", "content": "Something else"},))]) == teachable.find_frame(rows)
    assert teachable.find_frame(rows[:1]) == Frame()


def test_a_system_message_that_differs_is_part_of_the_text() -> None:
    rows = [Row(({"role": "system", "content": f"Shop {i}"}, {"role": "user", "content": "hi"})) for i in range(3)]
    assert teachable.read_texts(rows, teachable.find_frame(rows)) == ["Shop 0\nhi", "Shop 1\nhi", "Shop 2\nhi"]


@given(st.lists(st.text(alphabet="ab \n", max_size=12), min_size=1, max_size=8))
def test_no_frame_takes_more_than_a_text_has(texts: list[str]) -> None:
    rows = [Row(({"role": "user", "content": f"Please tell what this is: {text}"},)) for text in texts]
    for row, read in zip(rows, teachable.read_texts(rows, teachable.find_frame(rows)), strict=True):
        assert read in row.messages[0]["content"]
        assert read


def test_thinning_takes_from_frequent_labels_first() -> None:
    targets: NDArray[np.intp] = np.array([0] * 90 + [1] * 10)
    lesson = teachable.Lesson(tuple(map(str, range(100))), targets, tuple(range(100)))
    thinned = teachable.thin(lesson, 20, 1)
    assert np.bincount(thinned.targets).tolist() == [10, 10]
    assert [lesson.texts[row] for row in thinned.picked] == list(thinned.texts)
