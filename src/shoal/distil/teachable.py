"""Rows as heads are taught them: texts without what all prompts share, and labels as numbers; and what all heads do at the end."""

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.distil.rows import Row
from shoal.distil.student import Student
from shoal.distil.watch import Watch
from shoal.evals.graders import normalise_label
from shoal.mini.card import SPEED_FILE, Card, Speed, write_card
from shoal.mini.catalogue import EMBEDDING
from shoal.mini.engine import Embedder
from shoal.mini.heads import Embed, Frame, Head, embed_with, strip, text_of

_FIGURES = "figures.json"
_BATCH = 256
_SPEED_TEXTS = 256
_LEAST_FRAME = 12  # characters; a shorter common beginning may be chance
_STRAY = 0.02


class Lesson(msgspec.Struct, frozen=True):
    """Texts and their labels' places; `picked` are their places in what they were thinned from."""

    texts: tuple[str, ...]
    targets: NDArray[np.intp]
    picked: tuple[int, ...]


def find_frame(rows: Sequence[Row]) -> Frame:
    """What all prompts begin and end with, at word boundaries; system messages count as text where they differ."""
    system = len({_system_of(row) for row in rows}) > 1
    texts = [text_of(row.messages, system) for row in rows]
    before = _find_shared(texts)
    before = before[: max(before.rfind(" "), before.rfind("\n")) + 1]
    after = _find_shared([text.removeprefix(before)[::-1] for text in texts])[::-1]
    starts = [place for place in (after.find(" "), after.find("\n")) if place >= 0]
    after = after[min(starts) :] if starts else ""
    return Frame(before if len(before) >= _LEAST_FRAME else "", after if len(after) >= _LEAST_FRAME else "", system)


def read_texts(rows: Sequence[Row], frame: Frame) -> list[str]:
    """What a head reads of each row."""
    return [strip(text_of(row.messages, frame.system), frame) for row in rows]


def read_labels(rows: Sequence[Row], labels: Sequence[str], frame: Frame) -> Lesson:
    """The rows whose answer is one of the labels."""
    places = {normalise_label(label): place for place, label in enumerate(labels)}
    kept = [(text, places.get(normalise_label(row.answer))) for row, text in zip(rows, read_texts(rows, frame), strict=True)]
    known = [(text, place) for text, place in kept if place is not None]
    return Lesson(tuple(text for text, _ in known), np.array([place for _, place in known], dtype=np.intp), tuple(range(len(known))))


def join(first: Lesson, second: Lesson) -> Lesson:
    """One lesson after the other."""
    texts = first.texts + second.texts
    return Lesson(texts, np.concatenate([first.targets, second.targets]), tuple(range(len(texts))))


def thin(lesson: Lesson, most: int, seed: int) -> Lesson:
    """At most so many rows, drawn so that frequent labels lose rows first."""
    if len(lesson.texts) <= most:
        return lesson
    order = np.random.default_rng(seed).permutation(len(lesson.texts))
    seen: dict[int, int] = {}
    turns = []
    for row in order:
        label = int(lesson.targets[row])
        seen[label] = seen.get(label, 0) + 1
        turns.append(seen[label])
    kept = np.sort(order[np.argsort(turns, kind="stable")[:most]])
    return Lesson(tuple(lesson.texts[row] for row in kept), lesson.targets[kept], tuple(int(row) for row in kept))


def score(scores: NDArray[np.float32], lesson: Lesson) -> float:
    """The share of rows whose highest score is their label's; 0 where there are none."""
    return float((scores.argmax(axis=1) == lesson.targets).mean()) if len(lesson.texts) else 0.0


def watch_embedding(embed: Embed, dimensions: int, watch: Watch) -> Embed:
    """The same, in batches that report."""

    def watched(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), dimensions), dtype=np.float32)
        for start in range(0, len(texts), _BATCH):
            watch.step("reading", start, len(texts))
            vectors[start : start + _BATCH] = embed(texts[start : start + _BATCH])
        watch.step("reading", len(texts), len(texts))
        return vectors

    return watched


def measure_speed(head: Head, embedder: Embedder, texts: Sequence[str], threads: int) -> Speed:
    """Tokens of the sentence model that the head answers in a second, in batches of 32: what its price follows from."""
    texts = texts[:_SPEED_TEXTS]
    tokens = sum(len(embedder.encode(text)) for text in texts)
    embed = embed_with(embedder)
    head.answer(texts[:1], embed)
    began = time.perf_counter()
    for start in range(0, len(texts), 32):
        head.answer(texts[start : start + 32], embed)
    rate = tokens / (time.perf_counter() - began)
    return Speed(rate, rate, 32, threads)


def finish(directory: Path, name: str, embedder: Embedder, speed: Speed, figures: dict[str, float], own_dimensions: int = 0) -> Student:
    """The files that make a directory servable, and what training measured, which is written last. `own_dimensions` are those of a
    sentence model of its own."""
    (directory / SPEED_FILE).write_bytes(msgspec.json.encode(speed))
    card = Card(name, "head", "head", embedder.context_tokens, dimensions=own_dimensions, base=EMBEDDING, made_at=int(time.time()))
    write_card(directory, card)
    (directory / _FIGURES).write_bytes(msgspec.json.encode(figures))
    return Student(name, directory, figures)


def find_finished(directory: Path, name: str) -> Student | None:
    """What an earlier call made."""
    try:
        return Student(name, directory, msgspec.json.decode((directory / _FIGURES).read_bytes(), type=dict[str, float]))
    except FileNotFoundError:
        return None


def _find_shared(texts: Sequence[str]) -> str:
    """The beginning that all but a few of the texts share: in order of the alphabet, those between two texts begin as both do."""
    ordered = sorted(texts)
    stray = int(_STRAY * len(ordered))
    first, last = ordered[stray], ordered[-1 - stray]
    return (
        ""
        if first == last
        else first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))]
    )


def _system_of(row: Row) -> str:
    return text_of([{**message, "role": "user"} for message in row.messages if message.get("role") in ("system", "developer")])
