"""TF-IDF of words and characters, the same for training a head and for serving it, in plain Python and numpy.

A text's grams are counted, damped (1 + ln), weighted by rarity and scaled to length 1 (Salton and Buckley 1988). Character grams stay
within words, whose ends are marked by a space.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

LONGEST_TEXT = 20_000
"""Characters of a text that are looked at."""

_WORD = re.compile(r"\w+|[^\w\s]")


class Range(msgspec.Struct, frozen=True):
    """Which grams to take: of `least` to `most` words, or characters."""

    unit: str  # words, characters
    least: int
    most: int


def fold(text: str) -> str:
    """A text as grams see it: compatible forms made one, lower case, digits all alike."""
    text = unicodedata.normalize("NFKC", text[:LONGEST_TEXT]).casefold()
    return re.sub(r"\d", "0", text)


def cut(folded: str, wanted: Range) -> Iterator[str]:
    """The grams of a folded text, as often as they occur."""
    words = _WORD.findall(folded)
    if wanted.unit == "words":
        for size in range(wanted.least, wanted.most + 1):
            for i in range(len(words) - size + 1):
                yield " ".join(words[i : i + size])
        return
    for word in words:
        padded = f" {word} "
        for size in range(wanted.least, wanted.most + 1):
            if size >= len(padded):
                yield padded
                break
            for i in range(len(padded) - size + 1):
                yield padded[i : i + size]


def count(text: str, wanted: Range) -> "Counter[str]":
    """How often each gram occurs in a text."""
    return Counter(cut(fold(text), wanted))


def weigh(
    counts: Mapping[str, int], places: Mapping[str, int], rarity: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A text's grams as places in the vocabulary and weights of length 1; unknown grams are left out."""
    known = [(places[gram], 1 + math.log(times)) for gram, times in counts.items() if gram in places]
    where = np.array([place for place, _ in known], dtype=np.int64)
    weights = np.array([weight for _, weight in known], dtype=np.float32) * rarity[where]
    length = float(np.sqrt((weights * weights).sum()))
    return where, weights / length if length else weights


def learn(counts: Sequence[Mapping[str, int]], least_texts: int, most_grams: int) -> tuple[list[str], NDArray[np.float32]]:
    """The vocabulary of counted texts, sorted, and each gram's rarity: 1 + ln((1 + texts) / (1 + texts with it)).

    Grams of fewer than `least_texts` texts are left out, and the rarest where there are more than `most_grams`.
    """
    spread: Counter[str] = Counter()
    for one in counts:
        spread.update(one.keys())
    kept = sorted((gram for gram, texts in spread.items() if texts >= least_texts), key=lambda gram: (-spread[gram], gram))[:most_grams]
    kept.sort()
    rarity = np.array([1 + math.log((1 + len(counts)) / (1 + spread[gram])) for gram in kept], dtype=np.float32)
    return kept, rarity
