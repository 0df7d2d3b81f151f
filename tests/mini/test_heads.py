"""Heads: what they read of a chat, and that their scores are the sum of their parts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from shoal.mini import grams, heads
from shoal.mini.grams import Range
from shoal.mini.heads import Frame, LabelHead, Part, Plan


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Two numbers a text: whether it speaks of cards, and of cash."""
    raw = np.array([[1 + text.count("card"), 1 + text.count("cash")] for text in texts], dtype=np.float32)
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def make_head(directory: Path) -> LabelHead:
    plan = Plan(
        "label",
        ("cards", "cash"),
        parts=(Part("sentence"), Part("near", sharpness=2.0), Part("grams", range=Range("words", 1, 1), vocabulary=("atm", "pin"))),
        temperature=0.5,
    )
    arrays = {
        "bias": np.array([0.0, 0.1]),
        "weights0": np.array([[3, 0], [0, 3]], dtype=np.float16),
        "anchors1": np.array([[1, 0]], dtype=np.float32),
        "weights1": np.array([[1, 0]], dtype=np.float32),
        "rarity2": np.array([1, 1], dtype=np.float32),
        "weights2": np.array([[0, 5], [5, 0]], dtype=np.float16),
    }
    heads.save_head(directory, plan, arrays)
    head = heads.load_head(directory)
    assert isinstance(head, LabelHead)
    return head


def test_a_head_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    head = make_head(tmp_path)
    vector = embed(["my card"])[0]
    near = np.exp(2 * (vector[0] - 1))
    expected = np.array([3 * vector[0] + near, 3 * vector[1] + 0.1])
    assert np.allclose(head.score(["my card"], embed)[0], expected, atol=1e-6)
    assert np.allclose(head.score(["my card atm"], embed)[0] - expected, [0, 5], atol=1e-6)
    assert [label for label, _ in head.answer(["a pin", "the atm of it"], embed)] == ["cards", "cash"]


def test_probabilities_sum_to_one_and_the_best_is_the_answer(tmp_path: Path) -> None:
    head = make_head(tmp_path)
    texts = ["card", "cash cash", "", "pin", "atm atm pin"]
    chances = head.weigh_labels(texts, embed)
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-6)
    assert [(head.labels[row.argmax()], pytest.approx(row.max())) for row in chances] == head.answer(texts, embed)


def test_one_text_scores_as_it_does_among_others(tmp_path: Path) -> None:
    head = make_head(tmp_path)
    texts = ["card", "cash", "atm pin"]
    assert np.allclose(head.score(texts, embed), np.concatenate([head.score([text], embed) for text in texts]), atol=1e-6)


def test_what_a_head_reads_of_a_chat() -> None:
    chat = [
        {"role": "system", "content": "Classify."},
        {"role": "user", "content": [{"type": "text", "text": "my card"}]},
        {"role": "assistant", "content": None},
    ]
    assert heads.text_of(chat) == "my card\n"
    assert heads.text_of(chat, system=True) == "Classify.\nmy card\n"


def test_a_frame_is_taken_off_only_where_it_is() -> None:
    frame = Frame("Query: ", " Answer:")
    assert heads.strip("Query: my card Answer:", frame) == "my card"
    assert heads.strip("my card", frame) == "my card"
    assert heads.strip("Query:  Answer:", frame) == "Query:  Answer:"


@given(st.text(max_size=60))
def test_weights_of_grams_have_length_one_or_are_none(text: str) -> None:
    wanted = Range("characters", 2, 4)
    counts = grams.count(text, wanted)
    vocabulary, rarity = grams.learn([counts, grams.count("some other text", wanted)], 1, 10_000)
    where, weights = grams.weigh(counts, {gram: place for place, gram in enumerate(vocabulary)}, rarity)
    assert len(where) == len(counts)
    assert not counts or np.isclose((weights * weights).sum(), 1, atol=1e-5)


def test_grams_stay_within_words_and_fold_case_and_digits() -> None:
    assert grams.count("Ab 7", Range("characters", 2, 3)) == {" a": 1, "ab": 1, "b ": 1, " ab": 1, "ab ": 1, " 0": 1, "0 ": 1, " 0 ": 1}
    assert grams.count("No, no!", Range("words", 1, 2)) == {"no": 2, ",": 1, "!": 1, "no ,": 1, ", no": 1, "no !": 1}


def test_a_vocabulary_keeps_what_many_texts_have() -> None:
    wanted = Range("words", 1, 1)
    vocabulary, rarity = grams.learn([grams.count(text, wanted) for text in ("a b", "a c", "a b d")], 1, 2)
    assert vocabulary == ["a", "b"]
    assert rarity[0] == 1
    assert rarity[1] > 1
