"""How rows are parted into train, dev and test: by groups of near-duplicates, so that what is tested was never trained on in other words.

A group's place depends on the seed and on what its rows ask, not on their order.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

import msgspec

Part = Literal["train", "dev", "test"]
PARTS: tuple[Part, ...] = ("train", "dev", "test")


class Shares(msgspec.Struct, frozen=True):
    """Which share of the rows goes to dev and to test; where there are few, at least one group each."""

    dev: float = 0.1
    test: float = 0.2


def split(groups: Sequence[int], ids: Sequence[str], shares: Shares, seed: int) -> list[Part]:
    """The part of every row; all rows of a group have the same one. `ids` name rows by what they ask (rows.id_of).

    Groups are drawn into test, then into dev, until these have their share; one that would make it twice the share stays in train.
    With fewer than three groups there is no test, with one no dev.
    """
    members: dict[int, list[int]] = {}
    for place, number in enumerate(groups):
        members.setdefault(number, []).append(place)
    drawn = sorted(members.values(), key=lambda places: _draw(seed, min(ids[place] for place in places)))
    parts: list[Part] = ["train"] * len(groups)
    left = drawn
    for part, share in (("test", shares.test if len(drawn) > 2 else 0), ("dev", shares.dev if len(drawn) > 1 else 0)):
        taken, left = _take(left, share * len(groups))
        for place in (place for places in taken for place in places):
            parts[place] = part  # type: ignore[call-overload]
    return parts


def _draw(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def _take(drawn: Sequence[list[int]], wanted: float) -> tuple[list[list[int]], list[list[int]]]:
    taken: list[list[int]] = []
    left: list[list[int]] = []
    size = 0
    for places in drawn:
        fits = size < wanted and (size + len(places) <= max(1, 2 * wanted)) and len(left) + len(taken) < len(drawn)
        (taken if fits else left).append(places)
        size += len(places) if fits else 0
    if not left and taken:  # never all of them
        left.append(taken.pop())
    return taken, left
