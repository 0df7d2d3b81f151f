"""Cuts a byte-level BPE tokenizer down to what a task's texts need: half of a small model's parameters may be words it never meets.

Guarantee: a covered text is cut into the very same pieces as before, so that a teacher with the whole vocabulary and a student with the
trimmed one see the same tokens under other numbers (`Trimmed.kept`). Every byte stays, so any other text can be said too, in more pieces.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
from tokenizers import Tokenizer

from shoal.mini.gguf import Fields
from shoal.mini.tokens import build_tokenizer

_NORMAL = 1  # token type of the GGUF specification: an ordinary piece of text
_TOKENS, _TYPES, _MERGES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"
_SCORES = "tokenizer.ggml.scores"
_ID_FIELD = re.compile(r"tokenizer\.ggml\.\w+_token_id")


class Trimmed(msgspec.Struct, frozen=True):
    """A trimmed vocabulary. `kept` are the old ids in ascending order: the new id of a token is its place there; `fields` describe the
    trimmed tokenizer as a GGUF's metadata does."""

    kept: tuple[int, ...]
    fields: Fields

    def renumber(self) -> dict[int, int]:
        """New ids by old ones."""
        return {old: new for new, old in enumerate(self.kept)}


def trim(fields: Fields, texts: Iterable[str], size: int | None = None) -> Trimmed:
    """The vocabulary of a GGUF's metadata, trimmed to what `texts` (as the model sees them: rendered prompts and answers) need.

    With `size`, what the texts need most often is kept first, then the merges that the makers of the tokenizer learnt first, until there
    are `size` tokens: texts like these ones, but not seen, stay short. Special tokens and all bytes are kept whatever `size` says.
    Raises tokens.UnknownTokenizer.
    """
    names: Sequence[str] = fields[_TOKENS]
    kinds: Sequence[int] = fields.get(_TYPES) or [_NORMAL] * len(names)
    ids = {name: i for i, name in enumerate(names)}
    merges = [tuple(merge.split(" ", 1)) for merge in fields[_MERGES]]
    merging = _Merging(merges, ids, whole_words=build_tokenizer(fields).model.ignore_merges)

    kept = {i for i, (name, kind) in enumerate(zip(names, kinds, strict=True)) if kind != _NORMAL or len(name) == 1}
    kept |= {int(value) for field, value in fields.items() if _ID_FIELD.fullmatch(field)}
    for word, _ in count_words(build_tokenizer(fields), texts).most_common():
        needed = {ids[name] for name in merging.list_made(word)}
        if size is not None and len(kept | needed) > size:
            continue
        kept |= needed
    for left, right in merges if size is not None else ():
        if size is not None and len(kept) >= size:
            break
        if ids[left] in kept and ids[right] in kept:
            kept.add(ids[left + right])
    return Trimmed(tuple(sorted(kept)), _cut(fields, sorted(kept)))


def count_words(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each word (what the tokenizer merges within, in its own characters) occurs; special tokens in the texts are none."""
    added = sorted((token.content for token in tokenizer.get_added_tokens_decoder().values()), key=len, reverse=True)
    special = re.compile("|".join(map(re.escape, added))) if added else None
    words: Counter[str] = Counter()
    for text in texts:
        for part in special.split(text) if special else [text]:
            words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(part))
    return words


class _Merging:
    """Byte-pair encoding of one word at a time, told step by step.

    Why the steps: with any part of the merges, in their order, that holds the steps of a word, that word is merged in the same steps; at
    each of them the earliest merge that applies is among those kept, and no earlier one was added.
    """

    def __init__(self, merges: Sequence[tuple[str, ...]], ids: Mapping[str, int], *, whole_words: bool) -> None:
        self._ranks = {merge: rank for rank, merge in enumerate(merges)}
        self._ids, self._whole_words = ids, whole_words

    def list_made(self, word: str) -> list[str]:
        """Every token that comes up while `word` is merged, its final pieces included."""
        if self._whole_words and word in self._ids:
            return [word]
        pieces = list(word)
        made = [piece for piece in pieces if piece in self._ids]
        while pairs := [pair for pair in pairwise(pieces) if pair in self._ranks]:
            first = min(pairs, key=self._ranks.__getitem__)
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
