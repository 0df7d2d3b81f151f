"""Texts that say nearly the same: groups of them, so that one copy is trained on and a test never meets its twin in the training split.

Texts are compared by the runs of five characters that they share (Jaccard similarity). What most texts have in common, such as an
instruction around each question, tells none apart and is left out. Signatures by MinHash, and bands of them (https://www.mmds.org/, chapter
3), find alike pairs without comparing all; memory is some 600 bytes a text. The groups do not depend on the order of the texts.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from shoal.distil.rows import normalise

Hashes = npt.NDArray[np.uint64]

_RUN = 5
_BANDS, _ROWS = 25, 5
"""Pairs with a similarity of 0.8 share a band in all but one of 20,000 cases, pairs with 0.5 in half of them."""
_MOST_RUNS = 8192
_COMPARED = 32
"""How many texts of a band each of the others is compared with."""
_SLOTS = 1 << 22
_COMMON_SHARE, _COMMON_LEAST = 0.1, 20
"""A run that more than this share of the texts has, and more than so many texts, is common."""
_FEWEST_RUNS = 8
_PRIME = np.uint64((1 << 61) - 1)
_generator = np.random.default_rng(5)
_FACTORS = _generator.integers(1, 1 << 31, (_BANDS * _ROWS, 1), dtype=np.uint64)
_OFFSETS = _generator.integers(0, 1 << 61, (_BANDS * _ROWS, 1), dtype=np.uint64)


class Likeness:
    """How alike these texts are: by what most of them do not have in common or, with `common`, by all. Takes time in proportion to their
    length."""

    def __init__(self, texts: Sequence[str], *, common: bool = False) -> None:
        self._plain = [normalise(text) for text in texts]
        self._unique = sorted(set(self._plain))
        self._signatures = _sign(self._unique, common)

    def group(self, least: float) -> list[int]:
        """For every text the number of its group: those equal to a reader, or similar by `least` or more, directly or through others."""
        leaders = _Leaders(len(self._unique))
        if least < 1:
            for one, other in _find_pairs(self._signatures, least):
                leaders.join(one, other)
        numbers: dict[int, int] = {}
        place = {text: numbers.setdefault(leaders.find(at), len(numbers)) for at, text in enumerate(self._unique)}
        return [place[text] for text in self._plain]


class _Leaders:
    """Disjoint sets, each known by its first member."""

    def __init__(self, size: int) -> None:
        self._above = list(range(size))

    def find(self, one: int) -> int:
        while self._above[one] != one:
            self._above[one] = self._above[self._above[one]]
            one = self._above[one]
        return one

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self._above[second] = first


def _runs(text: str) -> Hashes:
    """Hashes of the distinct runs of a text, the smallest _MOST_RUNS of them: a sample that is the same for every text they occur in."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(points) < _RUN:
        points = np.pad(points, (0, _RUN - len(points)))
    count = len(points) - _RUN + 1
    hashes = np.zeros(count, np.uint64)
    for at in range(_RUN):
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + points[at : at + count] + np.uint64(1)
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    return np.unique(hashes)[:_MOST_RUNS]


def _sign(texts: Sequence[str], common: bool) -> npt.NDArray[np.uint32]:
    """A signature for every text: equal in as large a share of its places as the texts share runs, or runs that are not common."""
    seen = np.zeros(_SLOTS, np.int32)
    for text in texts if not common else ():
        seen[np.unique(_runs(text) % np.uint64(_SLOTS))] += 1
    left_out = seen > max(_COMMON_LEAST, _COMMON_SHARE * len(texts))
    signatures = np.empty((len(texts), _BANDS * _ROWS), np.uint32)
    for number, text in enumerate(texts):
        runs = _runs(text)
        telling = runs[~left_out[runs % np.uint64(_SLOTS)]]
        signatures[number] = _signature(telling if len(telling) >= _FEWEST_RUNS else runs)
    return signatures


def _signature(runs: Hashes) -> npt.NDArray[np.uint32]:
    small = runs >> np.uint64(33)  # 31 bits, so that products fit
    least = np.full(_BANDS * _ROWS, np.iinfo(np.uint64).max, np.uint64)
    for at in range(0, len(small), 1024):
        least = np.minimum(least, ((_FACTORS * small[at : at + 1024] + _OFFSETS) % _PRIME).min(axis=1))
    return (least >> np.uint64(20)).astype(np.uint32)


def _find_pairs(signatures: npt.NDArray[np.uint32], least: float) -> Iterator[tuple[int, int]]:
    """Pairs that share a band and are as similar as wanted, as far as their signatures tell."""
    for band in range(_BANDS):
        keys = np.ascontiguousarray(signatures[:, band * _ROWS : (band + 1) * _ROWS]).view(np.dtype((np.void, 4 * _ROWS))).ravel()
        order = np.argsort(keys, kind="stable")
        edges = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1], True])
        for start, end in itertools.pairwise(edges):
            members = order[start:end]
            for place, one in enumerate(members[:-1][:_COMPARED]):
                others = members[place + 1 :]
                alike = (signatures[others] == signatures[one]).mean(axis=1) >= least
                for other in others[alike]:
                    yield int(one), int(other)
