"""Trains a tiny model with whoever else was started with it, and has the first write down what came of it: `two_processes.py DIRECTORY`."""

import sys
from pathlib import Path

import torch
import transformers

from shoal.distil import company
from shoal.distil.examples import Example
from shoal.distil.loop import Plan, Trained, train
from shoal.distil.losses import Distilled, Mix, take_lessons
from shoal.distil.watch import Silent

EXAMPLES = [Example(tuple(range(5 + i % 7, 8 + i % 7 + i % 3)), (7 + i % 7 + i % 3, 0)) for i in range(21)]
PLAN = Plan(epochs=4, batch_size=5, learning_rate=1e-2, evaluations=1, precision="f32")


def make_model(seed: int) -> transformers.LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=64, **shape, tie_word_embeddings=True)).eval()


def learn(directory: Path) -> tuple[transformers.LlamaForCausalLM, Trained]:
    """A student and its training, from a teacher's distributions; with 21 rows in batches of 5, the last step has one row for two."""
    teacher, student = make_model(1), make_model(2)
    lessons = take_lessons(teacher, EXAMPLES, directory / "lessons", Silent())
    loss = Distilled(teacher, EXAMPLES, lessons, Mix(answer_share=0.5), 0)
    return student, train(student, EXAMPLES, EXAMPLES[:7], PLAN, directory, Silent(), loss)


if __name__ == "__main__":
    torch.set_num_threads(1)
    company.join()
    student, trained = learn(Path(sys.argv[1]))
    if company.is_first():
        figures = {"count": company.count(), "dev_loss": trained.dev_loss, "steps": trained.steps}
        torch.save({"figures": figures, "weights": student.state_dict()}, Path(sys.argv[1]) / "made.pt")
    company.leave()
