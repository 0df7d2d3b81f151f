"""The rung `encoder`: the sentence model itself, tuned for one task; it tells labels, or marks what an answer says of its text.

Words' vectors stay as they are: what few rows do not say of a word should not change. Labels begin at the class means of the untuned
vectors, and the untuned head (head.py) has half a say. Smoothed targets keep wrong answers from being learnt by heart. Each epoch ends
with a checkpoint; what is drawn depends on seed and epoch alone, so that a killed training goes on to the same end.
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers import BertConfig, BertModel

from shoal.distil import head, marking, teachable
from shoal.distil.marking import Marked, NoSpans
from shoal.distil.rows import Row
from shoal.distil.student import Estimate, Options, Student, Task
from shoal.distil.watch import Watch
from shoal.evals import graders, stats
from shoal.mini import catalogue
from shoal.mini.card import Card, write_card
from shoal.mini.embedding import CONFIG_FILE, GRAPH_FILE, build_graph, read_graph
from shoal.mini.engine import Embedder
from shoal.mini.heads import Frame, Head, Part, Plan, SpanHead, embed_with, load_head, save_head
from shoal.mini.spans import WINDOW, Mark, plan_windows
from shoal.mini.tokens import FILE as TOKENIZER_FILE

NAME = "encoder"
CHECKPOINT = "checkpoint.pt"
_LEAST_ROWS = 50
_MOST_LABELS = 1_000
_MOST_TOKENS = WINDOW + 2
_UNSURE = -100  # targets that do not count
_SCALE = 15.0  # of unit vectors to scores
_SHARE = 0.5  # of the tuned scores beside the untuned head's
_SMOOTHING = 0.1
_WARMUP = 0.1
_LEAST_DEV = 100  # rows; by fewer no epoch is chosen
_TOKENS_PER_S = 500.0  # trained on, one busy core

Item = tuple[list[int], Any]
"""Token ids, and a label's place or the tags of the tokens."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How to train: rates of the sentence model and of the linear layer on it, epochs, rows a step."""

    epochs: int
    rate: float
    head_rate: float
    batch_size: int = 16


class EncoderRung:
    """See Rung."""

    name = NAME

    def unfit(self, task: Task) -> str | None:
        """Whether the answers are labels, or JSON of what the texts say, and rows enough."""
        if len(task.train) < _LEAST_ROWS:
            return f"{len(task.train)} rows are fewer than {_LEAST_ROWS}"
        if task.kind == "label":
            return f"{len(task.labels)} labels are more than {_MOST_LABELS}" if len(task.labels) > _MOST_LABELS else None
        if task.kind != "json":
            return f"its answers are neither labels nor JSON but {task.kind}"
        try:
            _read_spans(task.train, teachable.find_frame(task.train))
        except NoSpans as error:
            return str(error)
        return None

    def estimate(self, task: Task, options: Options) -> Estimate:
        """By the letters to read, about four a token."""
        texts = teachable.read_texts(task.train, teachable.find_frame(task.train))
        tokens = sum(min(len(text) / 4, _MOST_TOKENS if task.kind == "label" else math.inf) + 2 for text in texts)
        epochs = make_recipe(task, options).epochs
        seconds = 10 + epochs * tokens / _TOKENS_PER_S
        most = math.inf if options.most_minutes is None else 60 * options.most_minutes
        return Estimate(min(seconds, most), False, f"{epochs} epochs of {tokens:.0f} tokens")

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        """Train on train, choose the epoch on dev. Raises watch.Cancelled."""
        if (made := teachable.find_finished(directory, NAME)) is not None:
            return made
        began = time.monotonic()
        torch.set_num_threads(options.threads)
        directory.mkdir(parents=True, exist_ok=True)
        embedder = catalogue.load_embedder(options.home, options.threads)
        frame = teachable.find_frame(task.train)
        teach = _teach_labels if task.kind == "label" else _teach_spans
        figures = teach(task, frame, embedder, directory, options, watch)
        texts = teachable.read_texts([*task.train, *task.dev], frame)
        (directory / TOKENIZER_FILE).write_bytes((_base(options) / TOKENIZER_FILE).read_bytes())
        served = load_served(directory, embedder, options.threads)
        speed = teachable.measure_speed(served, embedder, texts, options.threads)
        figures["train_seconds"] = time.monotonic() - began
        (directory / CHECKPOINT).unlink(missing_ok=True)
        return teachable.finish(directory, NAME, embedder, speed, figures, embedder.dimensions)


def load_served(directory: Path, embedder: Embedder, threads: int) -> Head:
    """The head as it will be served, before its directory has the card that says it is finished."""
    write_card(directory, Card(NAME, "head", "head", embedder.context_tokens, dimensions=embedder.dimensions))
    return load_head(directory, threads)


def make_recipe(task: Task, options: Options) -> Recipe:
    """Guessed: nothing of it has been chosen by measuring yet (docs/lab.md)."""
    epochs = options.epochs or min(15, max(4, round(12_000 / len(task.train))))
    if task.kind == "label":
        rate, head_rate = options.learning_rate or 1e-4, 5e-3
    else:
        rate, head_rate = options.learning_rate or 2e-4, 2e-3
    return Recipe(epochs=epochs, rate=rate, head_rate=head_rate, batch_size=options.batch_size or 16)


class Tuned(torch.nn.Module):
    """The sentence model and a linear layer on its unit vector, or on the states of tokens."""

    def __init__(self, base: Path, outputs: int, *, pooled: bool) -> None:
        super().__init__()
        self.config = json.loads((base / CONFIG_FILE).read_text("utf-8"))
        shape = BertConfig(**{name: value for name, value in self.config.items() if name in _SHAPE})
        self.encoder = BertModel(shape, add_pooling_layer=False)
        kinds = "embeddings.token_type_embeddings.weight"
        weights = {name: torch.from_numpy(value) for name, value in read_graph(base).items()}
        weights[kinds] = torch.cat([weights[kinds], torch.zeros_like(self.encoder.state_dict()[kinds][1:])])
        self.encoder.load_state_dict(weights, strict=False)
        self.encoder.embeddings.requires_grad_(False)
        self.head = torch.nn.Linear(shape.hidden_size, outputs)
        self.pooled = pooled

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(batch, outputs), or (batch, length, outputs)."""
        state = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooled:
            weight = mask[..., None].to(state.dtype)
            state = functional.normalize((state * weight).sum(1) / weight.sum(1), dim=-1)
        scores: torch.Tensor = self.head(state)
        return scores

    def save_graph(self, directory: Path) -> None:
        """The graph that the mini runs."""
        weights = {name: value.detach().numpy() for name, value in self.encoder.state_dict().items()}
        openvino.save_model(build_graph(weights, self.config, pooled=self.pooled), directory / GRAPH_FILE, compress_to_fp16=False)


_SHAPE = frozenset(
    (
        *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
        *("hidden_dropout_prob", "attention_probs_dropout_prob", "max_position_embeddings", "type_vocab_size", "layer_norm_eps"),
    )
)


def tune(
    model: Tuned,
    items: Sequence[Item],
    recipe: Recipe,
    directory: Path,
    options: Options,
    watch: Watch,
    score: Callable[[], float] | None,
) -> dict[str, float]:
    """Train, from the checkpoint in `directory` if there is one; the model ends as the epoch that `score` liked best, else as the last."""
    groups = [
        {"params": [one for one in model.encoder.parameters() if one.requires_grad], "lr": recipe.rate, "base": recipe.rate},
        {"params": list(model.head.parameters()), "lr": recipe.head_rate, "base": recipe.head_rate},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    state: dict[str, Any] = {"epoch": 0, "best": -1.0, "best_epoch": 0, "weights": None, "seconds": 0.0, "tokens": 0}
    if (directory / CHECKPOINT).exists():
        state = torch.load(directory / CHECKPOINT, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
    steps = math.ceil(len(items) / recipe.batch_size)
    began = time.monotonic() - state["seconds"]
    for epoch in range(state["epoch"], recipe.epochs):
        spent = time.monotonic() - began
        if options.most_minutes is not None and epoch and spent * (epoch + 1) / epoch > 60 * options.most_minutes:
            watch.say(f"{NAME}: ends after {epoch} of {recipe.epochs} epochs, for want of time")
            break
        torch.manual_seed(options.seed * 1_000 + epoch)
        order = np.random.default_rng([options.seed, epoch]).permutation(len(items))
        model.train()
        total = 0.0
        for step in range(steps):
            done = epoch * steps + step
            rate = min((done + 1) / (_WARMUP * recipe.epochs * steps), 1.0) * (1 - done / (recipe.epochs * steps))
            batch = [items[i] for i in order[step * recipe.batch_size : (step + 1) * recipe.batch_size]]
            loss, tokens = _step(model, optimiser, batch, rate)
            total += loss
            state["tokens"] += tokens
            if step % 10 == 0:
                watch.step("tuning", done, recipe.epochs * steps, loss=loss)
        model.eval()
        reached = float(epoch + 1) if score is None else score()
        if reached >= state["best"]:
            state |= {"best": reached, "best_epoch": epoch + 1, "weights": {k: v.clone() for k, v in model.state_dict().items()}}
        state |= {"epoch": epoch + 1, "model": model.state_dict(), "optimiser": optimiser.state_dict(), "seconds": time.monotonic() - began}
        partial = directory / f"{CHECKPOINT}.partial"
        torch.save(state, partial)
        partial.replace(directory / CHECKPOINT)
        seen = {} if score is None else {"dev_score": reached}
        watch.checkpoint((epoch + 1) * steps, loss=total / steps, **seen)
        watch.step("tuning", (epoch + 1) * steps, recipe.epochs * steps, loss=total / steps, **seen)
    if state["weights"] is not None:
        model.load_state_dict(state["weights"])
    model.eval()
    return {"epochs": float(state["epoch"]), "best_epoch": float(state["best_epoch"]), "trained_tokens": float(state["tokens"])}


def _step(model: Tuned, optimiser: Any, batch: Sequence[Item], rate: float) -> tuple[float, int]:
    """One step at `rate` of each group's own; the loss, and how many tokens it took."""
    for group in optimiser.param_groups:
        group["lr"] = group["base"] * rate
    ids, mask = lay_out([one for one, _ in batch])
    scores = model(ids, mask)
    loss = functional.cross_entropy(
        scores.flatten(0, -2), _lay_out_targets(batch, ids.shape[1]), label_smoothing=_SMOOTHING, ignore_index=_UNSURE
    )
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(loss.detach()), int(mask.sum())


def lay_out(texts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, padded to the longest."""
    ids = torch.zeros((len(texts), max(map(len, texts))), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = 1
    return ids, mask


def _lay_out_targets(batch: Sequence[Item], length: int) -> torch.Tensor:
    if isinstance(batch[0][1], int):
        return torch.tensor([target for _, target in batch])
    return torch.tensor([tag for _, tags in batch for tag in [*tags, *[_UNSURE] * (length - len(tags))]])


def _run(model: Tuned, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
    """Scores of each text, (labels) or (tokens, tags)."""
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with torch.no_grad():
        for start in range(0, len(order), 32):
            batch = order[start : start + 32]
            scores = model(*lay_out([texts[i] for i in batch])).numpy()
            for row, i in enumerate(batch):
                found[i] = scores[row] if model.pooled else scores[row, : len(texts[i])]
    return found


def _base(options: Options) -> Path:
    return catalogue.find_directory(options.home, catalogue.EMBEDDING)


def _teach_labels(task: Task, frame: Frame, embedder: Embedder, directory: Path, options: Options, watch: Watch) -> dict[str, float]:
    count = len(task.labels)
    embed = teachable.watch_embedding(embed_with(embedder), embedder.dimensions, watch)
    lesson, dev = teachable.read_labels(task.train, task.labels, frame), teachable.read_labels(task.dev, task.labels, frame)
    lesson = teachable.thin(lesson, head.MOST_ANCHORS, options.seed)
    names = embed([head.spell(label) for label in task.labels])
    vectors, dev_vectors = embed(lesson.texts), embed(dev.texts)
    settings, temperature = head.choose(vectors, lesson.targets, names, options.seed)
    model = Tuned(_base(options), count, pooled=True)
    means = names.copy()
    np.add.at(means, lesson.targets, vectors)
    with torch.no_grad():
        model.head.weight.copy_(torch.from_numpy(_SCALE * means / np.linalg.norm(means, axis=1, keepdims=True)))
        model.head.bias.zero_()
    cut = [embedder.encode(text or " ")[:_MOST_TOKENS] for text in (*lesson.texts, *dev.texts)]
    taught, held = cut[: len(lesson.texts)], cut[len(lesson.texts) :]
    items: list[Item] = [(ids, int(target)) for ids, target in zip(taught, lesson.targets, strict=True)]

    def score() -> float:
        return teachable.score(np.stack(_run(model, held)), dev)

    recipe = make_recipe(task, options)
    figures = tune(model, items, recipe, directory, options, watch, score if len(held) >= _LEAST_DEV else None)
    model.save_graph(directory)
    plan = Plan("label", tuple(task.labels), frame, (Part("near", sharpness=head.SHARPNESS), Part("tuned")))

    def make_arrays(anchors: NDArray[np.float32], weights: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        return {
            "bias": _SHARE * model.head.bias.detach().numpy(),
            "anchors0": anchors.astype(np.float16),
            "weights0": ((1 - _SHARE) * weights / temperature).astype(np.float32),
            "weights1": _SHARE * model.head.weight.detach().numpy().T,
        }

    anchors, weights = head.teach(vectors, lesson.targets, names, settings)
    dev_score = 0.0
    if held:
        near = (1 - _SHARE) / temperature * (head.liken(dev_vectors, anchors) @ weights)
        dev_score = teachable.score(near + _SHARE * np.stack(_run(model, held)), dev)
    whole = teachable.thin(teachable.join(lesson, dev), head.MOST_ANCHORS, options.seed)
    both = np.concatenate([vectors, dev_vectors])[list(whole.picked)]
    save_head(directory, plan, make_arrays(*head.teach(both, whole.targets, names, settings)))
    parameters = float(sum(one.numel() for one in model.parameters()))
    return figures | {"dev_score": dev_score, "parameters": parameters, "train_rows": float(len(items))}


def _read_spans(rows: Sequence[Row], frame: Frame) -> marking.Lesson:
    return marking.learn(teachable.read_texts(rows, frame), [row.answer for row in rows])


def tag(marked: Marked, offsets: Sequence[tuple[int, int]], kinds: Sequence[str]) -> list[int]:
    """The tag of each token (spans.py); those of which the answer says nothing sure do not count."""
    tags = [0] * len(offsets)

    def cover(mark: Mark) -> list[int]:
        return [i for i, (begin, end) in enumerate(offsets) if begin < mark.end and mark.begin < end]

    for mark in marked.unsure:
        for i in cover(mark):
            tags[i] = _UNSURE
    for mark in marked.marks:
        for nth, i in enumerate(cover(mark)):
            tags[i] = 1 + 2 * kinds.index(mark.kind) + (nth > 0)
    return tags


def _teach_spans(task: Task, frame: Frame, embedder: Any, directory: Path, options: Options, watch: Watch) -> dict[str, float]:
    lesson = _read_spans(task.train, frame)
    if lesson.unaligned:
        watch.say(f"{NAME}: {lesson.unaligned} answers say what is not in their text, and are left out")
    start, *_, end = embedder.encode("a")
    items: list[Item] = []
    for marked in lesson.marked:
        ids, offsets = embedder.cut(marked.text)
        tags = tag(marked, offsets, lesson.kinds)
        for begin, stop, first, last in plan_windows(len(ids)):
            inside = [tags[i] if first <= i < last else _UNSURE for i in range(begin, stop)]
            if any(one != _UNSURE for one in inside):
                items.append(([start, *ids[begin:stop], end], [_UNSURE, *inside, _UNSURE]))
    model = Tuned(_base(options), 1 + 2 * len(lesson.kinds), pooled=False)
    torch.manual_seed(options.seed)
    torch.nn.init.normal_(model.head.weight, std=0.02)
    torch.nn.init.zeros_(model.head.bias)
    plan = Plan("spans", lesson.kinds, frame, (Part("tuned"),), answer=lesson.form)
    texts = [teachable.read_texts([row], frame)[0] for row in task.dev]

    def score() -> float:
        asked = SpanHead(plan, _span_arrays(model), _Inside(model, embedder))
        said = asked.answer(texts, embed_with(embedder))
        return stats.micro_f1([graders.tally(one, row.answer) for (one, _), row in zip(said, task.dev, strict=True)])

    figures = tune(model, items, make_recipe(task, options), directory, options, watch, score if task.dev else None)
    model.save_graph(directory)
    save_head(directory, plan, _span_arrays(model))
    dev_score = 0.0
    if task.dev:
        said = SpanHead(plan, _span_arrays(model), _Inside(model, embedder)).answer(texts, embed_with(embedder))
        grades = [graders.grade("json", one, row.answer) for (one, _), row in zip(said, task.dev, strict=True)]
        dev_score = sum(grades) / len(grades)
    counts = {"train_rows": float(len(lesson.marked)), "unaligned": float(lesson.unaligned)}
    return figures | counts | {"dev_score": dev_score, "parameters": float(sum(one.numel() for one in model.parameters()))}


def _span_arrays(model: Tuned) -> dict[str, NDArray[Any]]:
    return {"bias": model.head.bias.detach().numpy(), "weights0": model.head.weight.detach().numpy().T}


class _Inside:
    """The model in training as heads.Marker, cutting texts as the untuned sentence model does."""

    def __init__(self, model: Tuned, embedder: Any) -> None:
        self._model, self.encode, self.cut = model, embedder.encode, embedder.cut

    def read(self, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """See Marker."""
        with torch.no_grad():
            layer, self._model.head = self._model.head, torch.nn.Identity()
            try:
                return _run(self._model, texts)
            finally:
                self._model.head = layer
