"""The training loop: trains the parameters that ask for it, can be killed at any moment, and goes on from its last checkpoint to the same
end as if it never had been.

Where the processor multiplies in bf16, the model computes in it while the trained weights are kept, and changed, in f32. Only tokens of
answers are predicted: a vocabulary is too large to be multiplied with every token of a prompt. A step's batch is worked off in parts.
"""

import hashlib
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import torch

from shoal.distil import company
from shoal.distil.arithmetic import Masters, choose_precision, computing
from shoal.distil.examples import Batch, Example, lay_out, plan_epoch, split
from shoal.distil.watch import Cancelled, Silent, Watch

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.json"
_CHECKPOINT_S = 60.0
_PACED_STEPS = 2

Loss = Callable[[Any, Batch], Any]
"""The sum of a batch's losses, over the tokens of its answers, as a tensor to differentiate."""


class CannotSave(Exception):
    """A checkpoint could not be written; the message says why, and what is left."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to train. `batch_size` is in rows, `part_tokens` how many tokens are worked off at once.

    Dev rows are scored `evaluations` times an epoch; after `patience` of these without a better score, training ends. With
    `most_minutes` the rate falls to nothing by then.
    """

    epochs: float = 3
    learning_rate: float = 5e-4
    batch_size: int = 16
    part_tokens: int = 1024
    warmup: float = 0.05
    weight_decay: float = 0.0
    most_norm: float = 1.0
    evaluations: int = 2
    patience: int = 4
    most_minutes: float | None = None
    seed: int = 1
    precision: Literal["auto", "bf16", "f32"] = "auto"


class Point(msgspec.Struct, frozen=True):
    """A point of the learning curve: `loss` is the mean a token since the last point, `seconds` and `tokens` (prompts included) are since
    the beginning."""

    step: int
    epoch: float
    loss: float | None
    dev_loss: float
    learning_rate: float
    seconds: float
    tokens: int


class Trained(msgspec.Struct, frozen=True):
    """What came of it. The model has the weights of `best_step`, whose loss on dev is `dev_loss`."""

    steps: int
    best_step: int
    dev_loss: float
    untrained_dev_loss: float
    seconds: float
    tokens: int
    history: tuple[Point, ...]

    @property
    def tokens_per_s(self) -> float:
        """Tokens trained on per second, prompts included."""
        return self.tokens / self.seconds if self.seconds else 0.0


class _State(msgspec.Struct):
    """All that a checkpoint holds beside tensors."""

    step: int = 0
    best_step: int = 0
    best_loss: float = math.inf
    worse: int = 0
    seconds: float = 0.0
    tokens: int = 0
    history: list[Point] = []
    loss_sum: float = 0.0
    loss_tokens: int = 0


def train(
    model: Any,
    examples: Sequence[Example],
    dev: Sequence[Example],
    plan: Plan,
    directory: Path,
    watch: Watch,
    loss: Loss | None = None,
    dev_loss: Loss | None = None,
) -> Trained:
    """Train those parameters of a transformers causal model that require gradients; they end as the best that dev has seen.

    The checkpoint in `directory` is taken up if it belongs to the same plan, data and parameters, and left there at the end. `loss` is
    answer_loss unless given, `dev_loss` likewise, so that different losses can be compared. In a company of processes each calls this with
    the same arguments, on a directory that all see; the first writes and reports, and what comes of it is what one process would have
    made. Raises watch.Cancelled, CannotSave, and ValueError where there is nothing to train on.
    """
    if not examples or not dev:
        raise ValueError("training needs at least one row in train and one in dev")
    directory.mkdir(parents=True, exist_ok=True)
    watch = watch if company.is_first() else Silent()
    masters = Masters(model, plan.learning_rate, plan.weight_decay)
    with computing(model, choose_precision(plan.precision)):
        run = _Run(model, masters, examples, dev, plan, directory, watch, loss or answer_loss, dev_loss or answer_loss)
        run.resume()
        try:
            trained = run.work()
        except Cancelled:
            run.save()
            raise
        masters.set(run.best)
    masters.publish()  # exact now: outside, the model's weights are its own again
    return trained


def answer_loss(model: Any, batch: Batch) -> Any:
    """The sum of the answers' cross entropy."""
    return torch.nn.functional.cross_entropy(answer_logits(model, batch), batch.targets, reduction="sum")


def answer_logits(model: Any, batch: Batch) -> Any:
    """Logits in f32, places x vocabulary, of the tokens of answers."""
    hidden = model.base_model(input_ids=batch.ids, use_cache=False).last_hidden_state
    return model.get_output_embeddings()(hidden.flatten(0, 1)[batch.places]).float()


def measure_loss(model: Any, examples: Sequence[Example], part_tokens: int = 1024, loss: Loss = answer_loss) -> float:
    """The mean loss a token of the answers."""
    sizes = [example.size for example in examples]
    was, total = model.training, 0.0
    model.eval()
    with torch.no_grad():
        for part in split(sizes, company.share(range(len(examples))), part_tokens):
            total += float(loss(model, lay_out(examples, part, model.device)))
    model.train(was)
    total = company.add_up_number(total, model.device)
    return total / sum(len(example.answer) for example in examples)


def measure_pace(model: Any, examples: Sequence[Example], plan: Plan) -> float:
    """Seconds a token of training, prompts included, from a few steps with rows of ordinary size. They change the model."""
    middle = sorted(examples, key=lambda example: example.size)[len(examples) // 4 : len(examples) * 3 // 4 + 1]
    some = middle[:: max(1, len(middle) // plan.batch_size)][: plan.batch_size]
    sizes = [example.size for example in some]
    masters, times = Masters(model, plan.learning_rate, plan.weight_decay), []
    with computing(model, choose_precision(plan.precision)):
        model.train()
        for _ in range(_PACED_STEPS + 1):
            times.append(time.monotonic())
            for part in split(sizes, range(len(some)), plan.part_tokens):
                answer_loss(model, lay_out(some, part, model.device)).backward()
                masters.take_gradients()
            masters.step(plan.learning_rate, 1 / sum(len(example.answer) for example in some), plan.most_norm)
        times.append(time.monotonic())
    return (times[-1] - times[1]) / (_PACED_STEPS * sum(sizes))  # the first step also builds kernels


class _Run:
    """One training: what it was given, and how far it is."""

    def __init__(
        self,
        model: Any,
        masters: Masters,
        examples: Sequence[Example],
        dev: Sequence[Example],
        plan: Plan,
        directory: Path,
        watch: Watch,
        loss: Loss,
        dev_loss: Loss,
    ) -> None:
        self.model, self.masters, self.examples, self.dev, self.plan = model, masters, examples, dev, plan
        self.directory, self.watch, self.loss, self.dev_loss = directory, watch, loss, dev_loss
        self.sizes = [example.size for example in examples]
        self.epoch_steps = math.ceil(len(examples) / plan.batch_size)
        self.steps = max(1, round(self.epoch_steps * plan.epochs))
        self.every = max(1, self.epoch_steps // plan.evaluations)
        self.best = self.masters.copy()
        self.state = _State()
        self.mark = _fingerprint(plan, examples, dev, self.masters.named)
        self.saved_at = self.started = time.monotonic()

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one of this very training."""
        file = self.directory / CHECKPOINT
        if not file.exists():
            return
        try:
            found = torch.load(file, weights_only=True)
            state = msgspec.json.decode(found["state"], type=_State)
        except (RuntimeError, OSError, KeyError, ValueError, msgspec.MsgspecError) as error:
            self.watch.say(f"the checkpoint cannot be read ({error}); training begins anew", "warn")
            return
        if found["mark"] != self.mark:
            self.watch.say("the checkpoint belongs to another training; training begins anew", "warn")
            return
        self.masters.set(found["masters"])
        self.masters.optimiser.load_state_dict(found["optimiser"])
        torch.set_rng_state(found["random"])
        self.best, self.state = found["best"], state
        self.started = time.monotonic() - state.seconds
        self.watch.say(f"training goes on from step {state.step} of {self.steps}")

    def work(self) -> Trained:
        """Train to the end."""
        self.model.train()
        state = self.state
        if not state.history:
            self.evaluate(0.0)
        epoch, plan = -1, list[list[int]]()
        while state.step < self.steps and not self.over():
            if epoch != state.step // self.epoch_steps:
                epoch = state.step // self.epoch_steps
                plan = plan_epoch(self.sizes, self.plan.batch_size, self.plan.seed, epoch)
            rate = self.rate()
            loss, tokens = self.step(plan[state.step % self.epoch_steps], rate)
            state.step += 1
            state.loss_sum += loss
            state.loss_tokens += tokens
            state.seconds = company.agree(time.monotonic() - self.started, self.model.device)
            if state.step % self.every == 0 or state.step == self.steps or self.late():
                self.evaluate(rate)
            self.report(loss / tokens, rate)
        self.model.eval()
        return Trained(
            steps=state.step,
            best_step=state.best_step,
            dev_loss=state.best_loss,
            untrained_dev_loss=state.history[0].dev_loss,
            seconds=state.seconds,
            tokens=state.tokens,
            history=tuple(state.history),
        )

    def step(self, rows: Sequence[int], rate: float) -> tuple[float, int]:
        """One step of the optimiser; the sum of the losses, and over how many tokens."""
        loss_sum, tokens = 0.0, sum(len(self.examples[row].answer) for row in rows)
        for part in split(self.sizes, company.share(rows), self.plan.part_tokens):
            loss = self.loss(self.model, lay_out(self.examples, part, self.model.device))
            loss.backward()
            loss_sum += float(loss.detach())
            self.masters.take_gradients()
        self.masters.meet()
        self.masters.step(rate, 1 / tokens, self.plan.most_norm)
        self.state.tokens += sum(self.sizes[row] for row in rows)
        return company.add_up_number(loss_sum, self.model.device), tokens

    def evaluate(self, rate: float) -> None:
        """Score dev, and keep the best."""
        state = self.state
        score = measure_loss(self.model, self.dev, self.plan.part_tokens, self.dev_loss)
        mean = state.loss_sum / state.loss_tokens if state.loss_tokens else None
        state.loss_sum, state.loss_tokens = 0.0, 0
        state.seconds = company.agree(time.monotonic() - self.started, self.model.device)
        state.history.append(Point(state.step, state.step / self.epoch_steps, mean, score, rate, round(state.seconds, 1), state.tokens))
        if score < state.best_loss:
            state.best_loss, state.best_step, state.worse, self.best = score, state.step, 0, self.masters.copy()
        else:
            state.worse += 1
        self.save()

    def rate(self) -> float:
        """The rate of the next step: a short rise, then half a cosine down to nothing at the last step, or the last minute."""
        done = max(self.state.step / self.steps, self.state.seconds / self.most_s)
        rise = min(1.0, (self.state.step + 1) / max(1.0, self.plan.warmup * self.steps))
        return self.plan.learning_rate * rise * (1 + math.cos(math.pi * min(1.0, done))) / 2

    @property
    def most_s(self) -> float:
        """The seconds that training may take."""
        return math.inf if self.plan.most_minutes is None else self.plan.most_minutes * 60

    def late(self) -> bool:
        """Whether the time is up."""
        return self.state.seconds >= self.most_s

    def over(self) -> bool:
        """Whether there is nothing to gain by going on."""
        return self.late() or self.state.worse >= self.plan.patience

    def report(self, loss: float, rate: float) -> None:
        """Say how far it is; write a checkpoint now and then."""
        state = self.state
        left = min(state.seconds / state.step * (self.steps - state.step), max(0.0, self.most_s - state.seconds))
        if time.monotonic() - self.saved_at >= _CHECKPOINT_S:
            self.save()
        self.watch.step(
            "training",
            state.step,
            self.steps,
            loss=loss,
            dev_loss=state.history[-1].dev_loss,
            learning_rate=rate,
            tokens_per_s=state.tokens / state.seconds,
            seconds_left=left,
        )

    def save(self) -> None:
        """Write a checkpoint and the curve; what was there is replaced at once or not at all. Raises CannotSave."""
        if not company.is_first():
            return
        state = self.state
        content = {
            "mark": self.mark,
            "state": msgspec.json.encode(state),
            "masters": [master.detach() for master in self.masters.values],
            "optimiser": self.masters.optimiser.state_dict(),
            "best": self.best,
            "random": torch.get_rng_state(),
        }
        partial = self.directory / f"{CHECKPOINT}.partial"
        try:
            with partial.open("wb") as file:
                torch.save(content, file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.directory / CHECKPOINT)
            curve = self.directory / f"{HISTORY}.partial"
            curve.write_bytes(msgspec.json.format(msgspec.json.encode(state.history)))
            curve.replace(self.directory / HISTORY)
        except (OSError, RuntimeError) as error:  # the archive writer says RuntimeError, and the reason in its cause
            partial.unlink(missing_ok=True)
            kept = "the last checkpoint is kept" if (self.directory / CHECKPOINT).exists() else "there is no earlier one"
            reason = getattr(error, "strerror", None) or getattr(error.__context__, "strerror", None) or str(error).splitlines()[0]
            raise CannotSave(f"the checkpoint of step {state.step} could not be written to {self.directory} ({reason}); {kept}") from error
        self.saved_at = time.monotonic()
        self.watch.checkpoint(state.step, dev_loss=state.best_loss)


def _fingerprint(plan: Plan, examples: Sequence[Example], dev: Sequence[Example], named: Sequence[tuple[str, Any]]) -> str:
    """What a checkpoint must agree with to be taken up. How long it may take is no part of it."""
    digest = hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(plan, most_minutes=None)))
    digest.update(msgspec.msgpack.encode((examples, dev)))
    digest.update(repr([(name, tuple(parameter.shape)) for name, parameter in named]).encode())
    return digest.hexdigest()
