"""Students that are a head: they choose among known labels from a text's sentence vector and its words, or mark up texts.

A head is a sum of linear parts and a temperature, in numpy; distil/head.py, distil/baseline.py and distil/encoder.py train it. Its
directory holds model.json (card.kind "head"), head.json and head.npz, and where a part is "tuned" a sentence model of its own.
`load_head` gives what is served.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from shoal.mini.card import read_card
from shoal.mini.engine import Embedder
from shoal.mini.grams import Range, count, weigh
from shoal.mini.spans import Form, find_marks, plan_windows, write

PLAN_FILE = "head.json"
ARRAYS_FILE = "head.npz"

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to unit vectors, one row a text."""


class Frame(msgspec.Struct, frozen=True):
    """What all prompts of a task share and a head need not see: the words before and after what differs. `system` says that the system
    messages differ too, and belong to the text."""

    before: str = ""
    after: str = ""
    system: bool = False


class Part(msgspec.Struct, frozen=True):
    """One linear part. "sentence": weights (dimensions, labels) on the vector; "near": weights (anchors, labels) on its likeness
    exp(sharpness (cosine - 1)) to stored vectors; "grams": weights (grams, labels) on TF-IDF; "tuned": weights (dimensions, labels) on the
    vector of the head's own sentence model, or (dimensions, tags) on its states where the form is spans."""

    kind: Literal["sentence", "near", "grams", "tuned"]
    sharpness: float = 0.0
    range: Range | None = None
    vocabulary: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """A head but for its numbers. `temperature` divides the scores before they become probabilities."""

    form: Literal["label", "spans"]
    labels: tuple[str, ...]
    frame: Frame = Frame()
    parts: tuple[Part, ...] = ()
    temperature: float = 1.0
    answer: Form | None = None

    @property
    def tuned(self) -> bool:
        """Whether it has a sentence model of its own."""
        return any(part.kind == "tuned" for part in self.parts)


class Marker(Protocol):
    """A sentence model that gives the states of tokens, and where these stand."""

    def encode(self, text: str) -> list[int]:
        """Token ids with the model's special tokens."""

    def cut(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids without special tokens, and where in the text each begins and ends."""

    def read(self, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """(tokens, dimensions) per tokenised text."""


class Head(Protocol):
    """What is served. `labels` are what it may answer, or the kinds of span it marks."""

    labels: tuple[str, ...]
    frame: Frame
    needs_vectors: bool

    def answer(self, texts: Sequence[str], embed: Embed) -> list[tuple[str, float]]:
        """For each text (as `text_of` gives it) the answer and how probable it is that the answer is right. Blocks: call it in a thread."""


class LabelHead:
    """A head that chooses a label."""

    def __init__(self, plan: Plan, arrays: Mapping[str, NDArray[Any]], own: Embed | None = None) -> None:
        """`arrays`: "bias" (labels), and "weights0", "weights1", ... for the parts, "anchors0", "rarity0", ... where a part has them.
        `own` is the head's own sentence model."""
        self._own = own
        self.labels, self.frame, self._plan = plan.labels, plan.frame, plan
        self.needs_vectors = any(part.kind in ("sentence", "near") for part in plan.parts)
        self._arrays = {name: value if name.startswith("weights") else value.astype(np.float32) for name, value in arrays.items()}
        self._places = [{gram: place for place, gram in enumerate(part.vocabulary)} for part in plan.parts]

    def answer(self, texts: Sequence[str], embed: Embed) -> list[tuple[str, float]]:
        """See Head."""
        chances = self.weigh_labels(texts, embed)
        best = chances.argmax(axis=1)
        return [(self.labels[label], float(row[label])) for row, label in zip(chances, best, strict=True)]

    def weigh_labels(self, texts: Sequence[str], embed: Embed) -> NDArray[np.float32]:
        """(texts, labels): how probable each label is; rows sum to 1."""
        scores = self.score(texts, embed) / np.float32(self._plan.temperature)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        chances: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return chances

    def score(self, texts: Sequence[str], embed: Embed) -> NDArray[np.float32]:
        """(texts, labels): the sum of the parts, before the temperature."""
        framed = [strip(text, self.frame) for text in texts]
        vectors = embed(framed) if self.needs_vectors else np.empty((len(texts), 0), dtype=np.float32)
        scores: NDArray[np.float32] = np.tile(self._arrays["bias"], (len(texts), 1))
        for i, part in enumerate(self._plan.parts):
            scores += self._score_part(i, part, framed, vectors)
        return scores

    def _score_part(self, i: int, part: Part, texts: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        weights = self._arrays[f"weights{i}"]
        if part.kind == "grams":
            assert part.range is not None
            rows = [weigh(count(text, part.range), self._places[i], self._arrays[f"rarity{i}"]) for text in texts]
            return np.stack([values @ weights[where].astype(np.float32) for where, values in rows])
        if part.kind == "tuned":
            assert self._own is not None
            vectors = self._own(texts)
        if part.kind == "near":
            vectors = np.exp(np.float32(part.sharpness) * (vectors @ self._arrays[f"anchors{i}"].T - 1))
        scores: NDArray[np.float32] = vectors @ weights.astype(np.float32)
        return scores


class SpanHead:
    """A head that marks what is of a kind in a text, and says it in the form that its rows had."""

    needs_vectors = False

    def __init__(self, plan: Plan, arrays: Mapping[str, NDArray[Any]], own: Marker) -> None:
        """`arrays`: "bias" (tags) and "weights0" (dimensions, tags). Raises ValueError where the plan is of no spans."""
        if plan.answer is None:
            raise ValueError("a head of spans must say how its answers are written")
        self.labels, self.frame, self._form, self._own = plan.labels, plan.frame, plan.answer, own
        self._weights, self._bias = arrays["weights0"].astype(np.float32), arrays["bias"].astype(np.float32)
        start, *_, end = own.encode("a")
        self._start, self._end = start, end

    def answer(self, texts: Sequence[str], embed: Embed) -> list[tuple[str, float]]:
        """See Head."""
        framed = [strip(text, self.frame) for text in texts]
        cuts = [self._own.cut(text) for text in framed]
        windows = [(i, *window) for i, (ids, _) in enumerate(cuts) for window in plan_windows(len(ids))]
        states = self._own.read([[self._start, *cuts[i][0][begin:end], self._end] for i, begin, end, _, _ in windows])
        read: list[list[NDArray[np.float32]]] = [[] for _ in texts]
        for (i, begin, _, first, last), state in zip(windows, states, strict=True):
            read[i].append(state[1 + first - begin : 1 + last - begin] @ self._weights + self._bias)
        said = []
        for text, (_, offsets), scores in zip(framed, cuts, read, strict=True):
            marks, chance = find_marks(np.concatenate(scores), offsets, self.labels)
            said.append((write(self._form, text, marks), chance))
        return said


def text_of(messages: Sequence[Mapping[str, Any]], system: bool = False) -> str:
    """What a head reads of a chat: the texts of all messages, those of the system only where `system` (Frame.system) says so."""
    read = [_text_of(message.get("content")) for message in messages if system or message.get("role") not in ("system", "developer")]
    return "\n".join(read)


def strip(text: str, frame: Frame) -> str:
    """A text without what its frame says all share."""
    inner = text.removeprefix(frame.before)
    return (inner.removesuffix(frame.after) if frame.after else inner).strip() or text


def embed_with(embedder: Embedder) -> Embed:
    """A sentence model as heads ask it: texts longer than its context are cut, empty ones are taken as a space."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = [embedder.encode(text or " ")[: embedder.context_tokens] for text in texts]
        return np.array(embedder.embed(tokens), dtype=np.float32)

    return embed


def load_head(directory: Path, threads: int = 1) -> Head:
    """The head in `directory`; its own sentence model, where it has one, uses `threads` threads. Raises OSError, ValueError or
    msgspec.ValidationError when there is none, or a damaged one."""
    plan = msgspec.json.decode((directory / PLAN_FILE).read_bytes(), type=Plan)
    with np.load(directory / ARRAYS_FILE, allow_pickle=False) as file:
        arrays = dict(file)
    if not plan.tuned:
        return LabelHead(plan, arrays)
    from shoal.mini.embedding import OpenVinoEmbedder

    own = OpenVinoEmbedder(directory, read_card(directory), threads)
    return SpanHead(plan, arrays, own) if plan.form == "spans" else LabelHead(plan, arrays, embed_with(own))


def save_head(directory: Path, plan: Plan, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a head's two files; its card is the caller's."""
    (directory / PLAN_FILE).write_bytes(msgspec.json.encode(plan))
    np.savez(directory / ARRAYS_FILE, allow_pickle=False, **arrays)


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else ()
    return "\n".join(str(part.get("text") or "") for part in parts if isinstance(part, Mapping))
