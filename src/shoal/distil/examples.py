"""Rows as token ids, and the batches that training takes them in.

Texts of like length go together, each in a line of its own, filled up at its end: with causal attention no text sees another, nor what
fills it up, and no mask is needed. Which rows make a batch depends on the seed and the epoch alone, so training can be taken up anywhere.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch

from shoal.core.errors import Fault
from shoal.distil.pretrained import ChatTokenizer
from shoal.distil.rows import Row
from shoal.mini.template import TooLong

_WINDOW = 16  # batches whose rows are sorted by length together


class Example(msgspec.Struct, frozen=True):
    """A prompt's tokens and its answer's, the end token included."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def size(self) -> int:
        """Tokens in all."""
        return len(self.prompt) + len(self.answer)


class Batch(NamedTuple):
    """Some examples, one a line. `places` are the positions, in the lines laid end to end, after which a token of an answer follows, and
    `targets` these tokens; `rows` says which examples they are, and `owners` which of `rows` each place belongs to."""

    ids: Any
    places: Any
    targets: Any
    rows: tuple[int, ...]
    owners: Any


def encode(tokenizer: ChatTokenizer, rows: Sequence[Row], most_tokens: int) -> tuple[list[Example], int]:
    """The rows that have an answer and fit in `most_tokens`, in order, and how many do not."""
    examples = []
    for row in rows:
        try:
            example = Example(tuple(tokenizer.prompt(row.messages)), tuple(tokenizer.answer(row.answer)))
        except (Fault, TooLong):  # nobody could ask the student this either
            continue
        if row.answer and example.size <= most_tokens:
            examples.append(example)
    return examples, len(rows) - len(examples)


def lay_out(examples: Sequence[Example], rows: Sequence[int], device: Any = "cpu") -> Batch:
    """One batch of `examples[row]` for each of `rows`."""
    chosen = [examples[row] for row in rows]
    width = max(example.size for example in chosen) - 1  # nothing follows the last token
    ids = np.zeros((len(chosen), width), dtype=np.int64)
    places: list[Any] = []
    targets: list[int] = []
    owners: list[int] = []
    for line, example in enumerate(chosen):
        tokens = (*example.prompt, *example.answer)[:-1]
        ids[line, : len(tokens)] = tokens
        places.append(line * width + np.arange(len(example.prompt) - 1, len(tokens)))
        targets += example.answer
        owners += [line] * len(example.answer)
    tensors = (ids, np.concatenate(places), np.array(targets), np.array(owners))
    laid, at, wanted, whose = (torch.from_numpy(values).to(device) for values in tensors)
    return Batch(laid, at, wanted, tuple(rows), whose)


def plan_epoch(sizes: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The rows of every batch of an epoch: all rows once, those of like size together, in an order drawn from seed and epoch."""
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(sizes))
    window = batch_size * _WINDOW
    batches = []
    for start in range(0, len(order), window):
        near = sorted(order[start : start + window].tolist(), key=lambda row: sizes[row])
        batches += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def split(sizes: Sequence[int], rows: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """`rows` in parts that hold at most `most_tokens` when filled up, or one row."""
    part: list[int] = []
    for row in sorted(rows, key=lambda row: sizes[row]):
        if part and sizes[row] * (len(part) + 1) > most_tokens:
            yield part
            part = []
        part.append(row)
    if part:
        yield part
