"""The rung `lora`: the base with adapters of low rank on all of its products, merged at the end, for every kind of task.

The student is as large and as fast as its base, and is served exactly as it is. Adapters change 4% of what a full training would, which
needs less memory, and less time a token, since the base's own weights need no gradients.
"""

import itertools
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import peft
import torch

from shoal.distil import company, export, loop, pretrained
from shoal.distil.examples import Example, encode
from shoal.distil.student import Estimate, Options, Student, Task
from shoal.distil.watch import Watch

NAME = "lora"
RANK = 16
LEARNING_RATE = 1e-3
BATCH_SIZE = 16
MOST_TOKENS = 2048  # of a row; longer ones are left out
MOST_MINUTES = 55.0
_DEV_ROWS = 128  # scored for early stopping, at most,
_DEV_SHARE = 0.05  # and of all that is trained on in an epoch, but
_LEAST_DEV_ROWS = 16
_LEAST_ROWS = 30
_SHORT_TOKENS = 160
_TRAINING = "training"
_FIGURES = "figures.json"
_OTHER_S = 60.0  # loading, merging, converting and measuring, on two cores


class Lora:
    """LoRA on Options.base."""

    name = NAME

    def unfit(self, task: Task) -> str | None:
        """Too few rows to learn from; kinds of tasks make no difference."""
        if len(task.train) < _LEAST_ROWS or not task.dev:
            return f"{len(task.train)} rows to train on and {len(task.dev)} to choose by; at least {_LEAST_ROWS} and 1 are needed"
        return None

    def estimate(self, task: Task, options: Options) -> Estimate:
        """The time for all epochs at the speed of a few steps, made here and thrown away; early stopping may end it sooner."""
        torch.set_num_threads(options.threads)
        model, tokenizer = pretrained.load(options.home, options.base)
        adapt(model, options.seed)
        plan = make_plan(task, options)
        examples, _ = encode(tokenizer, task.train, MOST_TOKENS)
        dev = choose_dev(encode(tokenizer, task.dev, MOST_TOKENS)[0], examples)
        if not examples or not dev:
            return Estimate(0.0, False, "no row fits")
        choose_attention(model, examples)
        seconds = loop.measure_pace(model, examples, plan)
        tokens = sum(example.size for example in examples) * plan.epochs
        scored = sum(example.size for example in dev) * (plan.epochs * plan.evaluations + 1) / 3  # forward only
        whole = (tokens + scored) * seconds
        most = (plan.most_minutes or MOST_MINUTES) * 60
        why = f"{len(examples)} rows, {plan.epochs:g} epochs, {tokens:,.0f} tokens at {1 / seconds:,.0f} a second"
        return Estimate(min(whole, most) + _OTHER_S, True, why)

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        """Train, merge, and make `directory` servable. Raises watch.Cancelled, loop.CannotSave, export.CannotExport."""
        if (directory / _FIGURES).exists():
            return _read(directory)
        torch.set_num_threads(options.threads)
        watch.step("loading", 0, 1)
        model, tokenizer = pretrained.load(options.home, options.base)
        examples, left_out = encode(tokenizer, task.train, MOST_TOKENS)
        dev = choose_dev(encode(tokenizer, task.dev, MOST_TOKENS)[0], examples)
        if left_out:
            watch.say(f"{left_out} of {len(task.train)} rows have no answer or more than {MOST_TOKENS} tokens, and are left out", "warn")
        adapted = adapt(model.to(company.device()), options.seed)
        choose_attention(model, examples)
        trained = loop.train(model, examples, dev, make_plan(task, options), directory / _TRAINING, watch)
        if company.is_first():
            self._write(adapted.merge_and_unload(), trained, directory, options, watch)
        company.wait()
        return _read(directory)

    def _write(self, merged: Any, trained: loop.Trained, directory: Path, options: Options, watch: Watch) -> None:
        """Make `directory` servable; the figures come last."""
        export.save(merged, options.base, directory, NAME, options.home, watch, threads=options.threads)
        figures = {
            "dev_loss": trained.dev_loss,
            "untrained_dev_loss": trained.untrained_dev_loss,
            "parameters": float(sum(parameter.numel() for parameter in merged.parameters())),
            "trained_tokens": float(trained.tokens),
            "train_seconds": trained.seconds,
            "train_tokens_per_s": trained.tokens_per_s,
            "steps": float(trained.steps),
            "best_step": float(trained.best_step),
        }
        shutil.copyfile(directory / _TRAINING / loop.HISTORY, directory / loop.HISTORY)
        partial = directory / f"{_FIGURES}.partial"
        partial.write_bytes(msgspec.json.encode(figures))
        partial.replace(directory / _FIGURES)  # finished: only now can the checkpoint go
        shutil.rmtree(directory / _TRAINING)


def _read(directory: Path) -> Student:
    """The student that a training has finished."""
    return Student(NAME, directory, msgspec.json.decode((directory / _FIGURES).read_bytes(), type=dict[str, float]))


def choose_attention(model: Any, examples: Sequence[Example]) -> None:
    """Have a model attend in the way that is faster for texts of this length: PyTorch's own has a slow way back where they are short."""
    mean = sum(example.size for example in examples) / len(examples)
    model.set_attn_implementation("eager" if mean < _SHORT_TOKENS else "sdpa")


def adapt(model: Any, seed: int, rank: int = RANK) -> Any:
    """Put adapters on a model's linear layers, in place, and freeze the rest; gives peft's handle, which merges them."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # between peft and transformers
        return peft.get_peft_model(model, config)


def choose_dev(dev: Sequence[Example], examples: Sequence[Example]) -> list[Example]:
    """The first of dev, so few that scoring them takes little of the time."""
    most = _DEV_SHARE * sum(example.size for example in examples)
    sums = itertools.accumulate(example.size for example in dev[:_DEV_ROWS])
    return [example for i, (example, size) in enumerate(zip(dev, sums, strict=False)) if i < _LEAST_DEV_ROWS or size <= most]


def make_plan(task: Task, options: Options) -> loop.Plan:
    """How to train for a task: what Options leaves open, by its size."""
    rows = len(task.train)
    epochs = 6 if rows < 300 else 4 if rows < 1500 else 3
    return loop.Plan(
        epochs=options.epochs or epochs,
        learning_rate=options.learning_rate or LEARNING_RATE,
        batch_size=options.batch_size or BATCH_SIZE,
        most_minutes=options.most_minutes or MOST_MINUTES,
        seed=options.seed,
    )
