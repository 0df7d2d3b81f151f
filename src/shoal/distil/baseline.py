"""The rung `tfidf`: TF-IDF of words and characters, and a linear support vector machine for each label. Needs no model at all.

It is the cheapest student, and what no other may fall below. scikit-learn fits it; it is served by mini/heads.py like every head.
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.svm import LinearSVC

from shoal.distil import teachable
from shoal.distil.head import find_temperature
from shoal.distil.student import Estimate, Options, Student, Task
from shoal.distil.teachable import Lesson
from shoal.distil.watch import Watch
from shoal.mini import catalogue, grams
from shoal.mini.grams import Range
from shoal.mini.heads import Part, Plan, load_head, save_head

NAME = "tfidf"
RANGES = (Range("words", 1, 2), Range("characters", 2, 5))
_MOST_GRAMS = 60_000
_LEAST_ROWS = 10
_FOLDS = 3


class Cut(msgspec.Struct, frozen=True):
    """Vocabulary and rarity of each range, and the matrix of the texts that they were learnt from."""

    vocabularies: list[list[str]]
    rarities: list[NDArray[np.float32]]


class BaselineRung:
    """See Rung."""

    name = NAME

    def unfit(self, task: Task) -> str | None:
        """Whether the answers are labels, more than one, and rows enough."""
        if task.kind != "label":
            return f"its answers are no labels but {task.kind}"
        if len(task.labels) < 2:
            return "there is one label only"
        if len(task.train) < _LEAST_ROWS:
            return f"{len(task.train)} rows are fewer than {_LEAST_ROWS}"
        return None

    def estimate(self, task: Task, options: Options) -> Estimate:
        """Some 300 rows a second and fold."""
        rows = len(task.train) + len(task.dev)
        return Estimate(2 + (2 + _FOLDS) * rows / 300, False, f"{rows} rows, fitted {2 + _FOLDS} times")

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        """Train on train alone, score dev, then fit again with dev for the student that is served. Raises watch.Cancelled."""
        if (made := teachable.find_finished(directory, NAME)) is not None:
            return made
        began = time.monotonic()
        frame = teachable.find_frame(task.train)
        lesson, dev = teachable.read_labels(task.train, task.labels, frame), teachable.read_labels(task.dev, task.labels, frame)
        count = len(task.labels)
        watch.step("fitting", 0, _FOLDS + 2)
        dev_score = teachable.score(_fit_and_score(lesson, dev.texts, count, options.seed), dev)
        temperature = _calibrate(lesson, count, options.seed, watch)
        whole = teachable.join(lesson, dev)
        cut = learn(whole.texts)
        matrix = weigh(whole.texts, cut)
        weights, bias = fit(matrix, whole.targets, count, options.seed)
        directory.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {"bias": bias}
        start = 0
        for i, (vocabulary, rarity) in enumerate(zip(cut.vocabularies, cut.rarities, strict=True)):
            arrays |= {f"rarity{i}": rarity, f"weights{i}": weights[start : start + len(vocabulary)].astype(np.float16)}
            start += len(vocabulary)
        parts = tuple(Part("grams", range=one, vocabulary=tuple(known)) for one, known in zip(RANGES, cut.vocabularies, strict=True))
        save_head(directory, Plan("label", tuple(task.labels), frame, parts, temperature), arrays)
        embedder = catalogue.load_embedder(options.home, options.threads)  # counts tokens, as for every head
        speed = teachable.measure_speed(load_head(directory), embedder, whole.texts, options.threads)
        watch.step("fitting", _FOLDS + 2, _FOLDS + 2, dev_score=dev_score)
        figures = {
            "dev_score": dev_score,
            "parameters": float(weights.size),
            "train_rows": float(len(whole.texts)),
            "train_seconds": time.monotonic() - began,
            "temperature": temperature,
        }
        return teachable.finish(directory, NAME, embedder, speed, figures)


def learn(texts: Sequence[str]) -> Cut:
    """The grams of the texts."""
    learnt = [grams.learn(_count(texts, one), 1 if len(texts) < 1_000 else 2, _MOST_GRAMS) for one in RANGES]
    return Cut([known for known, _ in learnt], [rarity for _, rarity in learnt])


def weigh(texts: Sequence[str], cut: Cut) -> Any:
    """(texts, grams) sparse: the ranges side by side, exactly as LabelHead weighs them."""
    blocks = []
    for one, known, rarity in zip(RANGES, cut.vocabularies, cut.rarities, strict=True):
        places = {gram: place for place, gram in enumerate(known)}
        rows = [grams.weigh(counts, places, rarity) for counts in _count(texts, one)]
        ends = np.cumsum([0, *(len(where) for where, _ in rows)])
        values = np.concatenate([weights for _, weights in rows]) if rows else np.empty(0, np.float32)
        columns = np.concatenate([where for where, _ in rows]) if rows else np.empty(0, np.int64)
        blocks.append(sparse.csr_matrix((values, columns, ends), shape=(len(texts), len(known))))
    return sparse.hstack(blocks, format="csr")


def fit(matrix: Any, targets: NDArray[np.intp], count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (grams, labels) and bias of one machine a label; labels without rows score below all others."""
    weights, bias = np.zeros((matrix.shape[1], count), np.float32), np.full(count, -10.0, np.float32)
    present = np.unique(targets)
    if len(present) < 2:
        bias[present] = 0.0
        return weights, bias
    machine = LinearSVC(random_state=seed).fit(matrix, targets)
    if len(present) == 2:  # scikit-learn keeps one machine for two labels
        sides = np.array([-1.0, 1.0], np.float32) / 2
        weights[:, present], bias[present] = machine.coef_.T * sides, machine.intercept_ * sides
    else:
        weights[:, present], bias[present] = machine.coef_.T, machine.intercept_
    return weights, bias


def _fit_and_score(lesson: Lesson, texts: Sequence[str], count: int, seed: int) -> NDArray[np.float32]:
    """(texts, labels): scores of a machine that was fitted to the lesson."""
    cut = learn(lesson.texts)
    weights, bias = fit(weigh(lesson.texts, cut), lesson.targets, count, seed)
    scores: NDArray[np.float32] = weigh(texts, cut) @ weights + bias
    return scores


def _calibrate(lesson: Lesson, count: int, seed: int, watch: Watch) -> float:
    """A temperature from scores of rows that their machine did not see."""
    folds = np.random.default_rng(seed).permutation(len(lesson.texts)) % _FOLDS
    scores = np.zeros((len(lesson.texts), count), np.float32)
    for fold in range(_FOLDS):
        watch.step("fitting", fold + 1, _FOLDS + 2)
        taught, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        part = Lesson(tuple(lesson.texts[row] for row in taught), lesson.targets[taught], ())
        scores[held] = _fit_and_score(part, [lesson.texts[row] for row in held], count, seed)
    return find_temperature(scores, lesson.targets)


def _count(texts: Sequence[str], one: Range) -> list["Counter[str]"]:
    return [grams.count(text, one) for text in texts]
