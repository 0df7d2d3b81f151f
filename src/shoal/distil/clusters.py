"""Which requests are of one kind: those under the same instructions, and those without any by what they are about.

Instructions are the system message, or the words that many questions begin with. What is left is clustered by its embeddings: k-means on
the unit sphere, with the number of clusters that separates best. The same requests give the same clusters, in whatever order they come.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from shoal.distil.duplicates import Likeness
from shoal.distil.rows import Message, normalise

Vectors = npt.NDArray[np.float32]

_FEWEST = 10
"""Fewer requests are no kind of their own."""
_SAME = 0.8
"""Instructions that are this similar are the same ones."""
_OPENING_WORDS = (24, 12, 6)
_MOST_CLUSTERS = 12
_SAMPLE = 2000
_ROUNDS, _BEGINNINGS = 50, 4
_LEAST_GAIN = 0.05
"""A further cluster must separate so much better, or there is none."""


class Cluster(msgspec.Struct, frozen=True):
    """Places of requests of one kind. `cohesion` is how alike they are, from 0 to 1: the mean cosine with their middle, 1 where they have
    the same instructions; `instructions` are these, "" where there are none."""

    places: tuple[int, ...]
    cohesion: float
    instructions: str = ""


def frame_of(messages: Sequence[Message]) -> str:
    """The instructions of a chat: what its system messages say."""
    return "\n".join(str(message.get("content") or "") for message in messages if message.get("role") in ("system", "developer")).strip()


def asked_of(messages: Sequence[Message]) -> str:
    """What a chat's user said last."""
    return next((str(message.get("content") or "") for message in reversed(messages) if message.get("role") == "user"), "")


def find_frames(chats: Sequence[Sequence[Message]]) -> list[Cluster]:
    """Chats under the same instructions, or ones that differ in little, such as a date; the others are in none of these."""
    framed: defaultdict[str, list[int]] = defaultdict(list)
    bare: list[int] = []
    for place, messages in enumerate(chats):
        frame = frame_of(messages)
        framed[frame].append(place) if frame else bare.append(place)
    frames = sorted(framed)
    dateless = [re.sub("[0-9]+", "0", frame) for frame in frames]
    alike: defaultdict[int, list[str]] = defaultdict(list)
    for frame, number in zip(frames, Likeness(dateless, common=True).group(_SAME), strict=True):
        alike[number].append(frame)
    found = [Cluster(tuple(sorted(place for frame in same for place in framed[frame])), 1.0, same[0]) for same in alike.values()]
    found += _find_openings({place: asked_of(chats[place]) for place in bare})
    return sorted((one for one in found if len(one.places) >= _FEWEST), key=lambda one: (-len(one.places), one.instructions))


def _find_openings(texts: dict[int, str]) -> list[Cluster]:
    """Questions that begin with the same words, the longest beginnings first."""
    found = []
    words = {place: normalise(text).split() for place, text in texts.items()}
    for length in _OPENING_WORDS:
        openings: defaultdict[str, list[int]] = defaultdict(list)
        for place, said in words.items():
            if len(said) > length:
                openings[" ".join(said[:length])].append(place)
        for opening, places in openings.items():
            if len(places) >= _FEWEST:
                found.append(Cluster(tuple(sorted(places)), 1.0, opening))
                for place in places:
                    del words[place]
    return found


def cluster(vectors: Vectors, names: Sequence[str]) -> list[Cluster]:
    """Clusters of unit vectors, the largest first; together they hold all. `names` order the vectors, in whatever order they come."""
    if len(vectors) < 2 * _FEWEST:
        return [Cluster(tuple(range(len(vectors))), _cohesion(vectors))] if len(vectors) else []
    order = sorted(range(len(vectors)), key=lambda place: hashlib.sha256(names[place].encode("utf-8", "surrogatepass")).digest())
    sample = vectors[order[:_SAMPLE]]
    best, middles = 0.0, sample.mean(axis=0, keepdims=True)
    for count in range(2, min(_MOST_CLUSTERS, len(sample) // _FEWEST) + 1):
        found = _k_means(sample, count)
        separation = _separation(sample, found)
        if separation > best + (_LEAST_GAIN if count > 2 else 0.0):
            best, middles = separation, found
    nearest = (vectors @ middles.T).argmax(axis=1)
    parts = [tuple(np.flatnonzero(nearest == number).tolist()) for number in range(len(middles))]
    clusters = [Cluster(places, _cohesion(vectors[list(places)])) for places in parts if places]
    return sorted(clusters, key=lambda one: (-len(one.places), one.places))


def _cohesion(vectors: Vectors) -> float:
    middle = vectors.mean(axis=0)
    return float(np.linalg.norm(middle))  # of unit vectors: the mean cosine with the middle


def _k_means(vectors: Vectors, count: int) -> Vectors:
    """Unit middles of `count` clusters: the best of several beginnings by k-means++ (Arthur and Vassilvitskii 2007)."""
    found = [_settle(vectors, _begin(vectors, count, np.random.default_rng(seed))) for seed in range(_BEGINNINGS)]
    return max(found, key=lambda middles: float((vectors @ middles.T).max(axis=1).sum()))


def _begin(vectors: Vectors, count: int, dice: np.random.Generator) -> Vectors:
    chosen = [int(dice.integers(len(vectors)))]
    apart = 1 - vectors @ vectors[chosen[0]]
    while len(chosen) < count:
        weights = np.maximum(apart, 0).astype(np.float64) + 1e-9
        chosen.append(int(dice.choice(len(vectors), p=weights / weights.sum())))
        apart = np.minimum(apart, 1 - vectors @ vectors[chosen[-1]])
    return vectors[chosen]


def _settle(vectors: Vectors, middles: Vectors) -> Vectors:
    for _ in range(_ROUNDS):
        nearest = (vectors @ middles.T).argmax(axis=1)
        sums = np.stack([vectors[nearest == number].sum(axis=0) for number in range(len(middles))])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        moved = np.where(lengths > 1e-6, sums / np.maximum(lengths, 1e-6), middles).astype(np.float32)
        if np.allclose(moved, middles, atol=1e-5):
            break
        middles = moved
    return middles


def _separation(vectors: Vectors, middles: Vectors) -> float:
    """The simplified silhouette: how much nearer vectors are to their own middle than to the next, from -1 to 1; tiny clusters spoil it."""
    distances = 1 - vectors @ middles.T
    nearest = distances.argmin(axis=1)
    if min(Counter(nearest.tolist()).get(number, 0) for number in range(len(middles))) < _FEWEST:
        return -1.0
    ordered = np.sort(distances, axis=1)
    return float(np.mean((ordered[:, 1] - ordered[:, 0]) / np.maximum(ordered[:, 1], 1e-6)))
