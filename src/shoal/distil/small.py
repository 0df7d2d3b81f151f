"""The rung `small`: a student of a fifth of its base's parameters, for one task, taught by the base that was fine-tuned on that task.

The teacher is open: the student is cut out of it (shrink.py), knows only the task's words (vocabulary.py), and learns from
the teacher's whole distributions (losses.py). Every step keeps what it made, so a training that was killed goes on where it was.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from shoal.distil import arithmetic, company, export, loop, lora, pretrained, shrink
from shoal.distil.examples import Example, encode
from shoal.distil.losses import Distilled, Mix, take_lessons
from shoal.distil.pretrained import GGUF_FILE, ChatTokenizer
from shoal.distil.student import Estimate, Options, Student, Task
from shoal.distil.vocabulary import Trimmed, trim
from shoal.distil.watch import Watch
from shoal.mini.card import read_card
from shoal.mini.gguf import open_gguf, read_fields
from shoal.mini.pull import hash_file
from shoal.mini.tokens import FILE as TOKENIZER_FILE
from shoal.mini.tokens import build_tokenizer, find_stop_tokens

NAME = "small"
SHARE = 5
"""The base has this many times the parameters."""

LEARNING_RATE = 1e-3
BATCH_SIZE = 32
MIX = Mix(answer_share=0.0)
_LEAST_WORDS, _MOST_WORDS = 4096, 8192
_MEASURED_ROWS = 256  # to see what matters
_TEACHER, _TRAINING, _VOCABULARY = "teacher", "training", "vocabulary"
_TEACHER_MINUTES = 0.5  # of what both may take
_FIGURES = "figures.json"
_EPOCHS = 12
_FASTER = 3.0  # a token of the student's training than one of the teacher's, about
_OTHER_S = 60.0


class Small:
    """A fifth of Options.base. `teacher` is a servable directory of the base fine-tuned on the task; without it, it is trained first."""

    name = NAME

    def __init__(self, teacher: Path | None = None, mix: Mix = MIX, share: int = SHARE) -> None:
        self._given, self._mix, self._share = teacher, mix, share

    def unfit(self, task: Task) -> str | None:
        """What the teacher needs, the student needs."""
        return lora.Lora().unfit(task)

    def estimate(self, task: Task, options: Options) -> Estimate:
        """The teacher's time, measured, and the student's, guessed from it."""
        teacher = lora.Lora().estimate(task, _for_teacher(options))
        epochs = lora.make_plan(task, options).epochs
        student = teacher.seconds * (options.epochs or _EPOCHS) / epochs / _FASTER
        if options.most_minutes:
            student = min(student, options.most_minutes * 60 * (1 - _TEACHER_MINUTES))
        first = 0.0 if self._given else teacher.seconds
        return Estimate(first + student + _OTHER_S, False, f"the teacher: {teacher.why}; the student is guessed from it")

    def train(self, task: Task, directory: Path, options: Options, watch: Watch) -> Student:
        """Train, and make `directory` servable. Raises watch.Cancelled, loop.CannotSave, export.CannotExport, shrink.CannotShrink."""
        if (directory / _FIGURES).exists():
            return _read(directory)
        torch.set_num_threads(options.threads)
        taught = self._given or lora.Lora().train(task, directory / _TEACHER, _for_teacher(options), watch).directory
        teacher, tokenizer = pretrained.load_directory(taught)
        whole = teacher.num_parameters()
        trimmed = trim_for(task, taught, tokenizer)
        own = make_tokenizer(trimmed, taught, directory / _VOCABULARY)
        examples, _ = encode(own, task.train, lora.MOST_TOKENS)
        dev = lora.choose_dev(encode(own, task.dev, lora.MOST_TOKENS)[0], examples)

        teacher = shrink.trim(teacher, trimmed.kept).to(company.device())
        student = cut(teacher, examples, whole // self._share)
        lora.choose_attention(student, examples)
        with arithmetic.computing(teacher, arithmetic.choose_precision()):
            mark = hash_file(taught / GGUF_FILE)
            lessons = take_lessons(teacher, examples, directory / _TRAINING, watch, temperature=self._mix.temperature, mark=mark)
            loss = Distilled(teacher, examples, lessons, self._mix, own.end)
            trained = loop.train(student, examples, dev, make_plan(options), directory / _TRAINING, watch, loss)
        if company.is_first():
            self._write(student, trained, whole, trimmed, directory, options, watch)
        company.wait()
        return _read(directory)

    def _write(
        self, student: Any, trained: loop.Trained, whole: int, trimmed: Trimmed, directory: Path, options: Options, watch: Watch
    ) -> None:
        """Make `directory` servable; the figures come last."""
        export.save(student, options.base, directory, NAME, options.home, watch, threads=options.threads, changed=trimmed.changed)
        figures = {
            "dev_loss": trained.dev_loss,
            "untrained_dev_loss": trained.untrained_dev_loss,
            "parameters": float(student.num_parameters()),
            "teacher_parameters": float(whole),
            "vocabulary": float(len(trimmed.kept)),
            "layers": float(student.config.num_hidden_layers),
            "trained_tokens": float(trained.tokens),
            "train_seconds": trained.seconds,
            "train_tokens_per_s": trained.tokens_per_s,
            "steps": float(trained.steps),
            "best_step": float(trained.best_step),
        }
        (directory / _TRAINING / loop.HISTORY).replace(directory / loop.HISTORY)
        (directory / _FIGURES).write_bytes(msgspec.json.encode(figures))


def _read(directory: Path) -> Student:
    """The student that a training has finished."""
    return Student(NAME, directory, msgspec.json.decode((directory / _FIGURES).read_bytes(), type=dict[str, float]))


def trim_for(task: Task, directory: Path, tokenizer: ChatTokenizer) -> Trimmed:
    """The vocabulary that the task's rows need, out of that of the model in `directory`."""
    examples, _ = encode(tokenizer, [*task.train, *task.dev], lora.MOST_TOKENS)
    used = Counter(token for example in examples for token in (*example.prompt, *example.answer))
    return trim(read_fields(open_gguf(directory / GGUF_FILE)), used, _LEAST_WORDS, _MOST_WORDS)


def make_tokenizer(trimmed: Trimmed, teacher: Path, directory: Path) -> ChatTokenizer:
    """The trimmed tokenizer as the mini will have it, with the teacher's template; written to `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    build_tokenizer(trimmed.fields).save(str(directory / TOKENIZER_FILE))
    card = msgspec.structs.replace(read_card(teacher), stop_tokens=find_stop_tokens(trimmed.fields))
    return ChatTokenizer(directory, card)


def cut(teacher: Any, examples: Sequence[Example], most_parameters: int) -> Any:
    """The student, as it is before it learns: what matters most of a trimmed teacher, on some of the task's rows."""
    shape = shrink.fit(teacher.config, teacher.config.vocab_size, most_parameters)
    with arithmetic.computing(teacher, arithmetic.choose_precision()):
        importance = shrink.measure(teacher, examples[:_MEASURED_ROWS])
    return shrink.cut(teacher, shape, importance)


def make_plan(options: Options) -> loop.Plan:
    """How to train, where Options leave it open."""
    return loop.Plan(
        epochs=options.epochs or _EPOCHS,
        learning_rate=options.learning_rate or LEARNING_RATE,
        batch_size=options.batch_size or BATCH_SIZE,
        most_minutes=(options.most_minutes or lora.MOST_MINUTES) * (1 - _TEACHER_MINUTES),
        evaluations=1,
        seed=options.seed,
    )


def _for_teacher(options: Options) -> Options:
    """The same for the teacher, which has half of the time, and epochs and rates of its own."""
    most = (options.most_minutes or lora.MOST_MINUTES) * _TEACHER_MINUTES
    return msgspec.structs.replace(options, most_minutes=most, epochs=None, learning_rate=None, batch_size=None)
