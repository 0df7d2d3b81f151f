"""loop.py and examples.py: what is trained, on what, and what survives a kill."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from shoal.distil.arithmetic import computing
from shoal.distil.examples import Example, lay_out, plan_epoch, split
from shoal.distil.loop import CHECKPOINT, HISTORY, CannotSave, Plan, Trained, answer_logits, answer_loss, measure_loss, train
from shoal.distil.watch import Cancelled, Silent

PLAN = Plan(epochs=4, batch_size=4, learning_rate=1e-2, part_tokens=32, evaluations=1, precision="f32")


def make_model() -> torch.nn.Module:
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        pad_token_id=None,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def make_examples(count: int, start: int = 0) -> list[Example]:
    """The answer repeats the prompt's last token, then ends (0)."""
    return [Example(tuple(range(5 + i % 7, 8 + i % 7 + i % 3)), (7 + i % 7 + i % 3, 0)) for i in range(start, start + count)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Recorder(Silent):
    """Keeps what it is told; calls the training off after `most` steps."""

    def __init__(self, most: int = 10**6) -> None:
        self.steps: list[dict[str, float]] = []
        self.checkpoints: list[int] = []
        self.said: list[str] = []
        self.most = most

    def step(self, stage: str, done: int, total: int, **figures: float) -> None:
        self.steps.append({"done": done, "total": total, **figures})
        if done >= self.most:
            raise Cancelled

    def say(self, message: str, level: str = "info") -> None:
        self.said.append(message)

    def checkpoint(self, step: int, **figures: float) -> None:
        self.checkpoints.append(step)


def fit(directory: Path, plan: Plan = PLAN, watch: Silent | None = None) -> tuple[Trained, dict[str, torch.Tensor]]:
    model = make_model()
    trained = train(model, make_examples(20), make_examples(6, 50), plan, directory, watch or Silent())
    return trained, model.state_dict()


def test_a_model_learns_its_answers_and_tells_how(tmp_path: Path) -> None:
    watch = Recorder()
    trained, weights = fit(tmp_path, watch=watch)
    assert trained.steps == 20 and trained.dev_loss < trained.untrained_dev_loss / 2
    assert [step["done"] for step in watch.steps] == list(range(1, 21))
    assert all(step["tokens_per_s"] > 0 and step["seconds_left"] >= 0 for step in watch.steps)
    curve = json.loads((tmp_path / HISTORY).read_text())
    assert [point["step"] for point in curve] == [0, 5, 10, 15, 20] == watch.checkpoints
    assert curve[0]["dev_loss"] == trained.untrained_dev_loss
    model = make_model()
    model.load_state_dict(weights)
    assert measure_loss(model, make_examples(6, 50)) == pytest.approx(trained.dev_loss, rel=1e-5)


def test_texts_of_a_batch_do_not_see_each_other() -> None:
    model, examples = make_model(), make_examples(5)
    together = answer_logits(model, lay_out(examples, range(5)))
    alone = torch.cat([answer_logits(model, lay_out(examples, [row])) for row in range(5)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_only_answers_are_predicted() -> None:
    batch = lay_out([Example((1, 2, 3), (4, 5)), Example((6,), (7,))], [0, 1])
    assert batch.ids.tolist() == [[1, 2, 3, 4], [6, 0, 0, 0]]
    assert batch.places.tolist() == [2, 3, 4] and batch.targets.tolist() == [4, 5, 7] and batch.owners.tolist() == [0, 0, 1]
    model = make_model()
    own = [-torch.log_softmax(model(torch.tensor([[1, 2, 3, 4]])).logits[0], -1)[at, token] for at, token in ((2, 4), (3, 5))]
    assert torch.isclose(answer_loss(model, lay_out([Example((1, 2, 3), (4, 5))], [0])), sum(own), atol=1e-5)  # type: ignore[arg-type]


def test_bf16_leaves_what_is_frozen_as_it_was() -> None:
    model = make_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with computing(model, "bf16"):
        assert model.lm_head.weight.dtype == torch.bfloat16
        assert model.model.rotary_emb.inv_freq.dtype == torch.float32
        low = measure_loss(model, make_examples(4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert measure_loss(model, make_examples(4)) == pytest.approx(low, rel=0.02)


def test_training_in_bf16_changes_weights_in_f32(tmp_path: Path) -> None:
    model = make_model()
    model.requires_grad_(False)
    model.model.layers[0].self_attn.q_proj.weight.requires_grad_()
    frozen = model.model.layers[1].mlp.up_proj.weight.clone()
    before = model.model.layers[0].self_attn.q_proj.weight.clone()
    plan = Plan(epochs=1, batch_size=10, learning_rate=1e-6, precision="bf16")
    scores = iter([torch.tensor(3.0), torch.tensor(2.0), torch.tensor(1.0)])
    train(model, make_examples(20), make_examples(4, 50), plan, tmp_path, Silent(), dev_loss=lambda *_: next(scores))
    after = model.model.layers[0].self_attn.q_proj.weight
    assert torch.equal(frozen, model.model.layers[1].mlp.up_proj.weight)
    assert 0 < (after - before).abs().max() < 3e-6  # bf16 itself would have lost steps as small as these


def test_a_training_that_was_called_off_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    whole, expected = fit(tmp_path / "whole")
    with pytest.raises(Cancelled):
        fit(tmp_path / "cut", watch=Recorder(most=7))
    watch = Recorder()
    rest, weights = fit(tmp_path / "cut", watch=watch)
    assert watch.steps[0]["done"] == 8
    assert rest.dev_loss == whole.dev_loss and rest.steps == whole.steps
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


KILLED = """
import sys; from pathlib import Path
sys.path[:0] = [{tests!r}]
import shoal.distil.loop as loop
from shoal.distil.watch import Silent
loop._CHECKPOINT_S = 0.0
class Told(Silent):
    def step(self, stage, done, total, **figures):
        if done == 6:
            print("now", flush=True)
            sys.stdin.read()
from test_training_loop import PLAN, fit, torch
torch.set_num_threads(1)
fit(Path(sys.argv[1]), watch=Told())
"""


def test_a_killed_training_goes_on_to_the_same_end(tmp_path: Path) -> None:
    whole, expected = fit(tmp_path / "whole")
    script = KILLED.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", script, str(tmp_path / "cut")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "now\n"
        os.kill(child.pid, signal.SIGKILL)
    watch = Recorder()
    rest, weights = fit(tmp_path / "cut", watch=watch)
    assert watch.steps[0]["done"] == 7
    assert rest.dev_loss == whole.dev_loss
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("change", ["other data", "damaged"])
def test_a_checkpoint_of_something_else_is_not_taken_up(tmp_path: Path, change: str) -> None:
    with pytest.raises(Cancelled):
        fit(tmp_path, watch=Recorder(most=7))
    if change == "damaged":
        content = (tmp_path / CHECKPOINT).read_bytes()
        (tmp_path / CHECKPOINT).write_bytes(content[: len(content) // 2])
    watch = Recorder()
    fit(tmp_path, PLAN if change == "damaged" else Plan(epochs=1, batch_size=4, precision="f32"), watch)
    assert watch.steps[0]["done"] == 1 and "begins anew" in watch.said[0]


def test_a_full_disk_is_an_error_that_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        fit(tmp_path, watch=Recorder(most=7))
    kept = (tmp_path / CHECKPOINT).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, limits[1]))
    try:
        with pytest.raises(CannotSave, match=r"could not be written .*; the last checkpoint is kept"):
            fit(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept
    assert sorted(file.name for file in tmp_path.iterdir()) == [CHECKPOINT, HISTORY]
    watch = Recorder()
    fit(tmp_path, watch=watch)
    assert watch.steps[0]["done"] == 8


def test_training_stops_when_dev_gets_no_better_and_keeps_the_best(tmp_path: Path) -> None:
    model = make_model()
    plan = Plan(epochs=50, batch_size=20, learning_rate=3e-2, evaluations=1, patience=2, precision="f32")
    shuffled = [Example(example.prompt, (63 - example.answer[0], 0)) for example in make_examples(6, 50)]
    trained = train(model, make_examples(20), shuffled, plan, tmp_path, Silent())
    assert trained.steps == trained.best_step + 2 < 50
    assert measure_loss(model, shuffled) == pytest.approx(trained.dev_loss, rel=1e-5)


def test_time_that_is_up_ends_training(tmp_path: Path) -> None:
    trained, _ = fit(tmp_path, Plan(epochs=1000, batch_size=4, most_minutes=0.005, precision="f32", patience=10**6))
    assert 1 <= trained.steps < 5000 and trained.seconds < 5
    assert trained.history[-1].step == trained.steps


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        train(make_model(), [], make_examples(1), PLAN, tmp_path, Silent())


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), st.integers(1, 9), st.integers(0, 5), st.integers(0, 3))
def test_an_epoch_has_every_row_once(sizes: list[int], batch_size: int, seed: int, epoch: int) -> None:
    batches = plan_epoch(sizes, batch_size, seed, epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(sizes)))
    assert batches == plan_epoch(sizes, batch_size, seed, epoch)
    assert all(len(batch) <= batch_size for batch in batches)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 200))
def test_parts_hold_what_is_allowed(sizes: list[int], most: int) -> None:
    parts = list(split(sizes, range(len(sizes)), most))
    assert sorted(row for part in parts for row in part) == list(range(len(sizes)))
    assert all(len(part) == 1 or len(part) * max(sizes[row] for row in part) <= most for part in parts)
