"""What a student is told of its teacher's mind: not only the answer, but how likely every other token was at each place of it.

Losses are for loop.train: they see a batch and give a sum over its answers' tokens. Student and teacher must have one vocabulary, which is
why a teacher is trimmed as its student is (shrink.trim): that a softmax over fewer tokens is the whole one restricted and renormalised is
plain arithmetic, so nothing is approximated there. The teacher's words on fixed answers are computed once and kept (`Lessons`).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import transformers

from shoal.distil import company
from shoal.distil.examples import Batch, Example, lay_out, split
from shoal.distil.loop import answer_logits
from shoal.distil.watch import Watch

FILE = "lessons.npz"
_PART_TOKENS = 4096
_LEAST = 1e-6  # the least probability of all tokens that a lesson does not name: f32 knows no 1 - p below it


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """How to measure the distance to the teacher, and what else counts.

    `beta` 0 is the forward KL divergence (the student covers all that the teacher may say), 1 the reverse (it says nothing that the
    teacher would not), between them the generalised Jensen-Shannon divergence (Agarwal et al. 2024, https://arxiv.org/abs/2306.13649).
    `temperature` flattens both (Hinton et al. 2015, https://arxiv.org/abs/1503.02531). `answer_share` of the loss is the cross entropy of
    the recorded answer. `on_policy` is the share of batches whose answers the student makes up itself, so that it learns to
    go on from its own mistakes; the recorded answer does not count in these.
    """

    beta: float = 0.0
    temperature: float = 1.0
    answer_share: float = 0.0
    on_policy: float = 0.0
    most_new_tokens: int = 32


def divergence(student: Any, teacher: Any, beta: float = 0.0) -> Any:
    """The generalised Jensen-Shannon divergence of log probabilities over the last dimension: one value a place."""
    if beta == 0:
        return _kl(teacher, student)
    if beta == 1:
        return _kl(student, teacher)
    middle = torch.logaddexp(teacher + float(np.log(beta)), student + float(np.log1p(-beta)))
    return beta * _kl(teacher, middle) + (1 - beta) * _kl(student, middle)


def _kl(of: Any, against: Any) -> Any:
    return torch.nn.functional.kl_div(against, of, reduction="none", log_target=True).sum(-1)


def coarsen(logprobs: Any, named: Any) -> Any:
    """The log probabilities of the tokens `named` (places x k), and in a last column that of all others together.

    No divergence of two distributions grows by this, and none is below 0, which leaving the others out would not guarantee.
    """
    chosen = logprobs.gather(-1, named)
    others = torch.log1p(-chosen.exp().sum(-1, keepdim=True).clamp(max=1 - _LEAST))
    return torch.cat((chosen, others), -1)


class Lessons:
    """What the teacher thinks of the recorded answers: at each place its likeliest tokens with their log probabilities, and the rest's."""

    def __init__(self, named: Any, logprobs: Any, starts: Any) -> None:
        self._named, self._logprobs, self._starts = named, logprobs, starts

    def __len__(self) -> int:
        return len(self._starts) - 1

    def look_up(self, rows: Sequence[int], device: Any) -> tuple[Any, Any]:
        """Tokens and log probabilities (one column more) at the places of a batch of these examples, in the batch's order."""
        places = np.concatenate([np.arange(self._starts[row], self._starts[row + 1]) for row in rows])
        named = torch.from_numpy(self._named[places].astype(np.int64)).to(device)
        return named, torch.from_numpy(self._logprobs[places].astype(np.float32)).to(device)


def take_lessons(
    teacher: Any, examples: Sequence[Example], directory: Path, watch: Watch, *, temperature: float = 1.0, width: int = 128, mark: str = ""
) -> Lessons:
    """Ask the teacher once about every place of every answer, `width` tokens each; kept in `directory` for the next time.

    `mark` names the teacher: lessons of another one are not taken for this one's. Raises watch.Cancelled.
    """
    width = min(width, int(teacher.config.vocab_size))
    digest = hashlib.sha256(msgspec.msgpack.encode((examples, temperature, width, mark))).hexdigest()
    file = directory / FILE
    if file.exists():
        with np.load(file) as found:
            if str(found["digest"]) == digest:
                return Lessons(found["named"], found["logprobs"], found["starts"])
    starts = np.cumsum([0, *(len(example.answer) for example in examples)])
    named = np.zeros((int(starts[-1]), width), dtype=np.int32)
    logprobs = np.zeros((int(starts[-1]), width + 1), dtype=np.float16)
    done = 0
    with torch.no_grad():
        for rows in split([example.size for example in examples], range(len(examples)), _PART_TOKENS):
            whole = torch.log_softmax(answer_logits(teacher, lay_out(examples, rows, teacher.device)) / temperature, -1)
            likeliest = whole.topk(width).indices
            places = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])
            named[places] = likeliest.cpu().numpy()
            logprobs[places] = coarsen(whole, likeliest).cpu().numpy()
            done += len(rows)
            watch.step("asking the teacher", done, len(examples))
    if not company.is_first():
        return Lessons(named, logprobs, starts)
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f"partial-{FILE}"
    np.savez(partial, named=named, logprobs=logprobs, starts=starts, digest=np.array(digest))
    partial.replace(file)
    return Lessons(named, logprobs, starts)


class Distilled:
    """The loss of a student that learns from its teacher's distributions; what loop.train takes as its `loss`."""

    def __init__(self, teacher: Any, examples: Sequence[Example], lessons: Lessons, mix: Mix, end: int) -> None:
        """`lessons` must be of `examples`, at the mix's temperature. `end` is the token that ends an answer."""
        if len(lessons) != len(examples):
            raise ValueError(f"there are {len(lessons)} lessons for {len(examples)} examples")
        self._teacher, self._examples, self._lessons, self._mix, self._end = teacher, examples, lessons, mix, end

    def __call__(self, student: Any, batch: Batch) -> Any:
        """The sum over the places of the batch, or of answers that the student makes up to its prompts."""
        mix = self._mix
        # the loop's own generator decides, so that training which is taken up again decides the same
        if mix.on_policy and float(torch.rand(())) < mix.on_policy:
            return self._on_policy(student, batch)
        logits = answer_logits(student, batch)
        named, taught = self._lessons.look_up(batch.rows, logits.device)
        loss = self._scaled(coarsen(torch.log_softmax(logits / mix.temperature, -1), named), taught).sum()
        if not mix.answer_share:
            return loss
        answers = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum")
        return mix.answer_share * answers + (1 - mix.answer_share) * loss

    def _scaled(self, student: Any, teacher: Any) -> Any:
        """Gradients shrink with the square of the temperature, which this makes up for."""
        return divergence(student, teacher, self._mix.beta) * self._mix.temperature**2

    def _on_policy(self, student: Any, batch: Batch) -> Any:
        """The student answers, the teacher says at each place what it would; the sum, brought to as many places as the batch has."""
        mix = self._mix
        prompts = [self._examples[row].prompt for row in batch.rows]
        made = lay_out(sample(student, prompts, self._end, mix.most_new_tokens), range(len(prompts)), student.device)
        with torch.no_grad():
            taught = torch.log_softmax(answer_logits(self._teacher, made) / mix.temperature, -1)
        said = torch.log_softmax(answer_logits(student, made) / mix.temperature, -1)
        return self._scaled(said, taught).mean() * len(batch.targets)


@torch.no_grad()
def sample(model: Any, prompts: Sequence[Sequence[int]], end: int, most_new: int) -> list[Example]:
    """An answer to each prompt, drawn as the model thinks (temperature 1), up to `end` or `most_new` tokens."""
    answers: list[list[int]] = [[] for _ in prompts]
    width = max(map(len, prompts))
    fed = torch.tensor([[end] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=model.device)
    seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    was, cache, going = model.training, transformers.DynamicCache(), set(range(len(prompts)))
    model.eval()
    for _ in range(most_new):
        places = (seen.cumsum(-1) - 1).clamp(min=0)[:, -fed.shape[1] :]
        told = model(fed, seen, places, cache, use_cache=True, logits_to_keep=1)
        fed = torch.multinomial(torch.softmax(told.logits[:, -1].float(), -1), 1)
        seen = torch.cat((seen, torch.ones_like(fed)), -1)
        for i, token in enumerate(fed[:, 0].tolist()):
            if i in going:
                answers[i].append(token)
                going -= {i} if token == end else set()
        if not going:
            break
    model.train(was)
    return [Example(tuple(prompt), tuple(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
