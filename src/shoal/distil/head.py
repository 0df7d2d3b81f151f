"""The rung `head`: a closed set of labels, told by a text's likeness to the taught texts and to the labels' own names.

Kernel ridge regression on the sentence model's vectors (regularised least squares, one label against the rest). It has one solution and no
seed; its leave-one-out scores follow from the same matrix, so that strength, names and temperature are chosen without held-out rows, and
rows whose label all their neighbours contradict are found and count less. docs/lab.md says what was tried beside it.
"""

import re
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from shoal.distil import teachable
from shoal.distil.student import Estimate, Options, Student, Task
from shoal.distil.watch import Watch
from shoal.mini import catalogue
from shoal.mini.heads import Part, Plan, embed_with, load_head, save_head

NAME = "head"
MOST_ANCHORS = 12_000  # rows that are kept; more would take minutes to solve and make serving slow
_MOST_EXACT = 2_500  # rows for which all leave-one-out scores are computed
SHARPNESS = 2.0
_STRENGTHS = (0.1, 0.3, 1.0)
_NAME_ROWS = 2.0  # a label's name counts like so many rows
_DOUBTFUL, _DOUBTED_WEIGHT = 0.1, 0.1  # a label this improbable beside the likeliest one counts a tenth
_ERRORS = 0.5
_TEMPERATURES = np.geomspace(0.02, 1.0, 24)
_MOST_LABELS = 1_000
_LEAST_ROWS = 10

Matrix = NDArray[np.float32]


class Settings(msgspec.Struct, frozen=True):
    """What is chosen by leave-one-out: the ridge, and whether labels' names are taught too."""

    strength: float
    names: bool


class Solution(msgspec.Struct, frozen=True):
    """Weights (anchors, labels), and the leave-one-out scores of the anchors where they were asked for."""

    weights: Matrix
    left_out: Matrix | None


class HeadRung:
    """See Rung."""

    name = NAME

    def unfit(self, task: Task) -> str | None:
        """Whether the answers are labels, and rows enough."""
        if task.kind != "label":
            return f"its answers are no labels but {task.kind}"
        if len(task.labels) > _MOST_LABELS:
            return f"{len(task.labels)} labels are more than {_MOST_LABELS}"
        if len(task.train) < _LEAST_ROWS:
            return f"{len(task.train)} rows are fewer than {_LEAST_ROWS}"
        return None

    def estimate(self, task: Task, options: Options) -> Estimate:
        """Reading at the sentence model's speed, as usual on two cores, and solving at the cube of the rows."""
        rows = min(len(task.train) + len(task.dev), MOST_ANCHORS)
        return Estimate(5 + rows / 100 + 30 * (rows / 5_000) ** 3, False, f"{rows} texts to read, at most {rows} unknowns to solve for")

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        """Train on train alone, score dev, then solve again with dev for the student that is served. Raises watch.Cancelled."""
        if (made := teachable.find_finished(directory, NAME)) is not None:
            return made
        began = time.monotonic()
        embedder = catalogue.load_embedder(options.home, options.threads)
        embed = teachable.watch_embedding(embed_with(embedder), embedder.dimensions, watch)
        frame = teachable.find_frame(task.train)
        lesson, dev = teachable.read_labels(task.train, task.labels, frame), teachable.read_labels(task.dev, task.labels, frame)
        lesson = teachable.thin(lesson, MOST_ANCHORS, options.seed)
        names = embed([spell(label) for label in task.labels])
        vectors, dev_vectors = embed(lesson.texts), embed(dev.texts)
        watch.step("choosing", 0, 1)
        settings, temperature = choose(vectors, lesson.targets, names, options.seed)
        anchors, weights = teach(vectors, lesson.targets, names, settings)
        dev_score = teachable.score(liken(dev_vectors, anchors) @ weights, dev)
        watch.step("solving", 0, 1)
        whole = teachable.thin(teachable.join(lesson, dev), MOST_ANCHORS, options.seed)
        both = np.concatenate([vectors, dev_vectors])[list(whole.picked)]
        anchors, weights = teach(both, whole.targets, names, settings)
        plan = Plan("label", tuple(task.labels), frame, (Part("near", sharpness=SHARPNESS),), temperature)
        directory.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, NDArray[Any]] = {
            "bias": np.zeros(len(task.labels), np.float32),
            "anchors0": anchors.astype(np.float16),
            "weights0": weights.astype(np.float16),
        }
        save_head(directory, plan, arrays)
        speed = teachable.measure_speed(load_head(directory), embedder, [*lesson.texts, *dev.texts], options.threads)
        watch.step("solving", 1, 1, dev_score=dev_score)
        figures = {
            "dev_score": dev_score,
            "parameters": float(anchors.size + weights.size),
            "train_rows": float(len(whole.texts)),
            "train_seconds": time.monotonic() - began,
            "strength": settings.strength,
            "names": float(settings.names),
            "temperature": temperature,
        }
        return teachable.finish(directory, NAME, embedder, speed, figures)


def spell(label: str) -> str:
    """A label as words: `card_not_working`, `CardNotWorking` and `card-not-working` are "card not working"."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[_\-./]+", " ", apart).split()).lower() or label


def liken(vectors: Matrix, anchors: Matrix) -> Matrix:
    """(texts, anchors): exp(sharpness (cosine - 1)), as LabelHead computes it."""
    likeness: Matrix = np.exp(np.float32(SHARPNESS) * (vectors @ anchors.T - 1))
    return likeness


def choose(vectors: Matrix, targets: NDArray[np.intp], names: Matrix, seed: int) -> tuple[Settings, float]:
    """Settings by the leave-one-out accuracy on at most _MOST_EXACT rows, rare labels counting as much as others, and a temperature.

    The strongest ridge wins that is as good as the best within half a standard error: labels are noisy, and more of them agree with a
    weak one by chance (Breiman et al. 1984).
    """
    rows = np.sort(np.random.default_rng(seed).permutation(len(targets))[:_MOST_EXACT])
    vectors, targets = vectors[rows], targets[rows]
    tried: list[tuple[float, Settings, Matrix]] = []
    for strength in sorted(_STRENGTHS, reverse=True):
        for with_names in (True, False):
            anchors, labels, weights = _gather(vectors, targets, names, with_names)
            left_out = solve(anchors, labels, weights, len(names), strength, left_out=True).left_out
            assert left_out is not None
            scores = left_out[: len(targets)]
            tried.append((_mean_by_row(scores.argmax(axis=1) == targets, targets, len(names)), Settings(strength, with_names), scores))
    best = max(share for share, _, _ in tried)
    enough = best - _ERRORS * (best * (1 - best) / len(targets)) ** 0.5
    _, settings, scores = next(one for one in tried if one[0] >= enough)
    return settings, find_temperature(scores, targets)


def teach(vectors: Matrix, targets: NDArray[np.intp], names: Matrix, settings: Settings) -> tuple[Matrix, Matrix]:
    """Anchors and their weights. Where rows are few enough to find out, those that their neighbours contradict count less."""
    anchors, labels, row_weights = _gather(vectors, targets, names, settings.names)
    exact = len(targets) <= _MOST_EXACT
    solution = solve(anchors, labels, row_weights, len(names), settings.strength, left_out=exact)
    if solution.left_out is not None:
        doubted = doubt(solution.left_out[: len(targets)], targets)
        row_weights[: len(targets)][doubted] *= _DOUBTED_WEIGHT
        solution = solve(anchors, labels, row_weights, len(names), settings.strength)
    return anchors, solution.weights


def solve(
    anchors: Matrix, labels: NDArray[np.intp], row_weights: NDArray[np.float64], count: int, strength: float, *, left_out: bool = False
) -> Solution:
    """Minimise the weighted squares of what the kernel's scores miss of one-hot labels, plus `strength` times their norm.

    Leave-one-out: what a row's own score would be without it is y - a / diagonal of the inverse (Rifkin and Lippert 2007).
    """
    wanted = np.eye(count, dtype=np.float64 if left_out else np.float32)[labels]
    system = liken(anchors, anchors).astype(wanted.dtype)
    system[np.diag_indices(len(system))] += strength / row_weights
    if not left_out:
        return Solution(linalg.solve(system, wanted, assume_a="pos", overwrite_a=True, check_finite=False).astype(np.float32), None)
    inverse = linalg.inv(system, overwrite_a=True, check_finite=False)
    weights = inverse @ wanted
    scores = wanted - weights / np.diag(inverse)[:, None]
    return Solution(weights.astype(np.float32), scores.astype(np.float32))


def doubt(scores: Matrix, targets: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which rows' labels are improbable by scores that did not see them: a teacher's slips, as far as they can be told."""
    powers = np.exp((scores - scores.max(axis=1, keepdims=True)) / find_temperature(scores, targets))
    improbable: NDArray[np.bool_] = powers[np.arange(len(targets)), targets] < _DOUBTFUL
    return improbable


def find_temperature(scores: Matrix, targets: NDArray[np.intp]) -> float:
    """What to divide scores by so that their softmax is as probable as they are right (Guo et al. 2017): the least log loss of a grid."""

    def lose(temperature: float) -> float:
        shifted = (scores - scores.max(axis=1, keepdims=True)) / temperature
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(targets)), targets]))

    return float(min(_TEMPERATURES, key=lose))


def _gather(
    vectors: Matrix, targets: NDArray[np.intp], names: Matrix, with_names: bool
) -> tuple[Matrix, NDArray[np.intp], NDArray[np.float64]]:
    """Anchors, their labels and weights: all labels weigh the same, however often they occur."""
    if with_names:
        vectors, labels = np.concatenate([vectors, names]), np.concatenate([targets, np.arange(len(names))])
    else:
        labels = targets
    weights = np.ones(len(labels))
    weights[len(targets) :] = _NAME_ROWS
    shares = np.bincount(labels, weights, minlength=len(names))
    return vectors, labels, weights * (weights.sum() / np.count_nonzero(shares) / shares[labels])


def _mean_by_row(right: NDArray[np.bool_], targets: NDArray[np.intp], count: int) -> float:
    """The mean of two shares: of rows that are right, and of labels' rows that are right."""
    sizes = np.bincount(targets, minlength=count)
    by_label = np.bincount(targets, right, minlength=count)[sizes > 0] / sizes[sizes > 0]
    return float((right.mean() + by_label.mean()) / 2)
