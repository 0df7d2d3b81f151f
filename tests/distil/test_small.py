import json
from pathlib import Path

import pytest
from tiny_base import BASE, make_base

from shoal.distil import loop
from shoal.distil.losses import Mix
from shoal.distil.pretrained import load_directory
from shoal.distil.rows import Row
from shoal.distil.served import open_served
from shoal.distil.small import Small
from shoal.distil.student import Options, Task
from shoal.distil.watch import Cancelled, Silent

WORDS = ["hello", "world", "hell", "well", "old", "word"]
ROWS = [
    Row(({"role": "user", "content": f"{a} {b}"},), answer)
    for a in WORDS
    for b in WORDS
    for answer in [a if len(a) > len(b) else b]
    if a != b
]
TASK = Task("text", ROWS[4:], ROWS[:4], [])


class CalledOff(Silent):
    """Calls the training off at a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        if stage == "training" and done == self.at:
            raise Cancelled


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    home = tmp_path_factory.mktemp("home")
    make_base(home)
    return Options(home, BASE, threads=1, epochs=8, batch_size=8, learning_rate=3e-3)


def test_a_small_student_learns_from_its_teacher_is_taken_up_again_and_served(options: Options, tmp_path: Path) -> None:
    teacher = options.home / "weights" / BASE
    rung = Small(teacher, Mix(on_policy=0.25, beta=0.5, answer_share=0.25, most_new_tokens=4), share=2)
    with pytest.raises(Cancelled):
        rung.train(TASK, tmp_path / "cut", options, CalledOff(10))
    broken = rung.train(TASK, tmp_path / "cut", options, Silent())
    assert broken.figures["parameters"] <= broken.figures["teacher_parameters"] / 2
    assert broken.figures["dev_loss"] < broken.figures["untrained_dev_loss"] / 2
    assert rung.train(TASK, tmp_path / "cut", options, Silent()) == broken
    whole = [(point["step"], point["dev_loss"]) for point in json.loads((tmp_path / "cut" / loop.HISTORY).read_bytes())]
    assert [step for step, _ in whole] == sorted({step for step, _ in whole})
    model, tokenizer = load_directory(broken.directory)
    assert model.num_parameters() == broken.figures["parameters"]
    with open_served(broken.directory, 1, most_tokens=8) as served:
        answers = served.answer([row.messages for row in ROWS[:4]])
    assert all(tokenizer.answer(answer) for answer in answers) and len(answers) == 4


def test_no_rows_no_student(options: Options) -> None:
    assert "0 rows to train on" in str(Small().unfit(Task("text", [], [], [])))
