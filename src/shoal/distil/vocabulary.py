"""Cuts a byte-level BPE tokenizer down to what a task needs: half of a small model's parameters may be words that it never meets.

Guarantee: a text whose pieces are all kept is cut into the very same pieces as before, so that a teacher with the whole vocabulary and a
student with the trimmed one see the same tokens under other numbers. Every byte stays, so any other text can be said too, in more pieces.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from shoal.mini.gguf import Fields

_NORMAL = 1  # token type of the GGUF specification: an ordinary piece of text
_TOKENS, _TYPES, _MERGES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"
_SCORES = "tokenizer.ggml.scores"
_ID_FIELD = re.compile(r"tokenizer\.ggml\.\w+_token_id")


class Trimmed(msgspec.Struct, frozen=True):
    """A trimmed vocabulary. `kept` are the old ids in ascending order: the new id of a token is its place there; `fields` describe the
    trimmed tokenizer as a GGUF's metadata does."""

    kept: tuple[int, ...]
    fields: Fields

    @property
    def changed(self) -> Fields:
        """What of the metadata is the tokenizer's: what export.save is to write in place of the base's."""
        return {name: value for name, value in self.fields.items() if name.startswith("tokenizer.ggml.")}


def trim(fields: Fields, used: Mapping[int, int], least: int = 0, most: int | None = None) -> Trimmed:
    """The vocabulary of a GGUF's metadata, trimmed to the tokens in `used`, which says how often each comes up, and what they are made of.

    Of more than `most` tokens the rarest are left out. Up to `least`, the merges that the makers of the tokenizer learnt first are added:
    texts like these, but not seen, stay short. Special tokens and all bytes are kept, whatever the sizes.
    """
    names: Sequence[str] = fields[_TOKENS]
    kinds: Sequence[int] = fields.get(_TYPES) or [_NORMAL] * len(names)
    ids = {name: i for i, name in enumerate(names)}
    ranks = {tuple(merge.split(" ", 1)): rank for rank, merge in enumerate(fields[_MERGES])}
    kept = {i for i, (name, kind) in enumerate(zip(names, kinds, strict=True)) if kind != _NORMAL or len(name) == 1}
    kept |= {int(value) for field, value in fields.items() if _ID_FIELD.fullmatch(field)}

    def keep(token: int, size: int | None) -> None:
        needed = {token, *(ids[name] for name in list_made(names[token], ranks))}
        if size is None or len(kept | needed) <= size:
            kept.update(needed)

    for token in sorted(used, key=lambda token: (-used[token], token)):
        if token not in kept:
            keep(token, most)
    for pair in ranks:
        if len(kept) >= least:
            break
        keep(ids["".join(pair)], least)
    return Trimmed(tuple(sorted(kept)), _cut(fields, sorted(kept)))


def list_made(name: str, ranks: Mapping[tuple[str, ...], int]) -> list[str]:
    """Every token that comes up while `name` is put together from bytes, as byte-pair encoding does it, itself included.

    Why that is enough: within a word, a piece is put together in the same steps as alone, since nothing was merged across its ends. And
    with any part of the merges that holds a word's steps the word is merged in these steps: at each of them the earliest merge that
    applies is still there, and none was added before it.
    """
    pieces, made = list(name), []
    while pairs := [pair for pair in pairwise(pieces) if pair in ranks]:
        first = min(pairs, key=ranks.__getitem__)
        pieces = list(_join(pieces, first))
        made.append("".join(first))
    return made


def _join(pieces: Sequence[str], pair: tuple[str, ...]) -> Iterator[str]:
    """`pieces` with every occurrence of `pair` made one, from the left."""
    i = 0
    while i < len(pieces):
        if tuple(pieces[i : i + 2]) == pair:
            yield "".join(pair)
            i += 2
        else:
            yield pieces[i]
            i += 1


def _cut(fields: Fields, kept: Sequence[int]) -> Fields:
    """The metadata with nothing but the kept tokens and the merges among them, under new ids."""
    names = [fields[_TOKENS][i] for i in kept]
    known, renumber = set(names), {old: new for new, old in enumerate(kept)}
    cut: dict[str, Any] = dict(fields)
    cut[_TOKENS] = names
    for lists in (_TYPES, _SCORES):
        if lists in fields:
            cut[lists] = [fields[lists][i] for i in kept]
    cut[_MERGES] = [merge for merge in fields[_MERGES] if {*(pair := merge.split(" ", 1)), "".join(pair)} <= known]
    for field, value in fields.items():
        if _ID_FIELD.fullmatch(field):
            cut[field] = renumber[int(value)]
    architecture = fields.get("general.architecture")
    if f"{architecture}.vocab_size" in fields:
        cut[f"{architecture}.vocab_size"] = len(kept)
    return cut
