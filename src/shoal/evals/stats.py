"""How sure one may be of a score: intervals for shares, and a lower bound for the ratio of two models' scores on the same rows.

Everything is seeded: the same scores give the same bounds.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shoal.evals.graders import Tally

RESAMPLES = 10_000
_CHUNK = 1 << 22  # indexes drawn at once: 32 MB


def wilson_interval(successes: float, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of a share (Wilson 1927); (0, 1) when nothing was tried."""
    if trials <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    middle = share + z * z / (2 * trials)
    reach = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)


def mean_interval(
    scores: Sequence[float], confidence: float = 0.95, seed: int = 1, resamples: int = RESAMPLES
) -> tuple[float, float, float]:
    """The mean of `scores` and its two-sided interval, by bootstrap. Raises ValueError when there are none."""
    values = _read([scores])
    drawn = _resample(values, seed, resamples)[:, 0] / len(scores)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(values.mean()), float(low), float(high)


def ratio_lower_bound(
    student: Sequence[float], teacher: Sequence[float], confidence: float = 0.95, seed: int = 1, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Mean of `student` over mean of `teacher`, scores of the same rows in the same order, and the ratio's one-sided lower bound.

    Paired bootstrap (Efron 1979): rows are drawn with replacement, each with both of its scores; the bound is the 1 - `confidence`
    quantile. Raises ValueError where there are no rows, or the teacher scored nothing at all.
    """
    values = _read([student, teacher])
    sums = _resample(values, seed, resamples)
    return _bound(values.sum(axis=0), sums, confidence)


def f1_ratio_lower_bound(
    student: Sequence[Tally], teacher: Sequence[Tally], confidence: float = 0.95, seed: int = 1, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """As ratio_lower_bound, of F1 over all rows (micro-averaged) in place of means."""
    parts = [[t.hit for t in student], [t.said + t.wanted for t in student], [t.hit for t in teacher], [t.said + t.wanted for t in teacher]]
    values = _read(parts)
    return _bound(_f1(values.sum(axis=0)[None])[0], _f1(_resample(values, seed, resamples)), confidence)


def micro_f1(tallies: Sequence[Tally]) -> float:
    """F1 over all rows together."""
    return Tally(sum(t.hit for t in tallies), sum(t.said for t in tallies), sum(t.wanted for t in tallies)).f1


def _f1(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 4) sums of hit and said + wanted of both, as (n, 2) F1s."""
    hit, parts = sums[:, ::2], sums[:, 1::2]
    return np.where(parts > 0, 2 * hit / np.maximum(parts, 1), 1.0)


def _read(columns: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Columns of equal length as a (rows, columns) array."""
    read = [np.asarray(column, dtype=np.float64) for column in columns]
    if not read[0].size:
        raise ValueError("there are no rows to compare")
    if len({column.shape for column in read}) > 1:
        raise ValueError(f"scores must be of the same rows: {', '.join(str(column.size) for column in read)} do not pair up")
    return np.stack(read, axis=1)


def _resample(values: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """(resamples, columns): sums over as many rows, drawn with replacement."""
    rng, rows = np.random.default_rng(seed), len(values)
    at_once = max(1, _CHUNK // rows)
    out = np.empty((resamples, values.shape[1]))
    columns = np.ascontiguousarray(values.T)
    for start in range(0, resamples, at_once):
        stop = min(resamples, start + at_once)
        drawn = rng.integers(0, rows, size=(stop - start, rows), dtype=np.int32)
        for i, column in enumerate(columns):
            out[start:stop, i] = column[drawn].sum(axis=1)
    return out


def _bound(whole: NDArray[np.float64], sums: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The ratio of the first column to the second, and the low quantile of it over the resamples."""
    if whole[1] <= 0:
        raise ValueError("the teacher scored nothing on these rows, so no ratio to it can be told")
    kept = sums[sums[:, 1] > 0]  # a resample without any of the teacher's points says nothing about the ratio
    return float(whole[0] / whole[1]), float(np.quantile(kept[:, 0] / kept[:, 1], 1 - confidence))
