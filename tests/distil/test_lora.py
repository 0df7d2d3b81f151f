"""pretrained.py, export.py, lora.py and served.py on a tiny llama: what is trained is what is served, and the other way round."""

import json
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from shoal.distil import export, loop
from shoal.distil.examples import encode
from shoal.distil.lora import Lora, adapt
from shoal.distil.pretrained import ChatTokenizer, Untrainable, load, read_config, read_model
from shoal.distil.rows import Row
from shoal.distil.served import open_served
from shoal.distil.student import Options, Student, Task
from shoal.distil.watch import Cancelled, Silent
from shoal.mini.card import Job, read_card
from shoal.mini.catalogue import convert
from shoal.mini.gguf import open_gguf, read_fields
from tiny_gguf import TEMPLATE, make_tensors, write_tiny

ROWS = [
    Row(({"role": "user", "content": word * (1 + i % 3)},), answer)
    for i in range(20)
    for word, answer in (("he", "hello"), ("wo", "hello"))
]
TASK = Task("text", ROWS, ROWS[:4], ROWS[:4])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with a tiny model, prepared as any other."""
    home = tmp_path_factory.mktemp("home")
    directory = home / "weights" / "tiny"
    directory.mkdir(parents=True)
    tensors = make_tensors()
    tensors["blk.0.attn_q.weight"] = tensors["blk.0.attn_q.weight"] * 10  # attention that is not flat, so that an order that is wrong shows
    tensors["token_embd.weight"] = tensors["token_embd.weight"] * 5  # it can be sure of a token
    write_tiny(directory / "source.gguf", tensors, Kind.F16)
    convert(directory, Job("tiny", "a test", "source.gguf", "0" * 64, "apache-2.0"), lambda *_: None, 1)
    return home


@pytest.fixture(scope="module")
def student(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Student:
    directory = tmp_path_factory.mktemp("student")
    options = Options(home=home, base="tiny", threads=1, epochs=10, learning_rate=1e-2, batch_size=8)
    return Lora().train(TASK, directory, options, Silent())


def serve_logits(directory: Path, ids: list[int]) -> np.ndarray:
    """What the served graph says, computed in f32."""
    properties = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    graph = openvino.Core().compile_model(directory / "openvino" / "openvino_model.xml", "CPU", properties)
    tokens = np.array([ids])
    feed = {"input_ids": tokens, "attention_mask": np.ones_like(tokens), "position_ids": np.arange(len(ids))[None]}
    logits: np.ndarray = graph.create_infer_request().infer({**feed, "beam_idx": np.zeros(1, dtype=np.int32)})[0][0]
    return logits


def test_what_is_trained_is_what_is_served(home: Path) -> None:
    model, tokenizer = load(home, "tiny")
    ids = [*tokenizer.prompt([{"role": "user", "content": "hello world, hello"}]), *tokenizer.answer("world")]
    with torch.no_grad():
        trained = model(torch.tensor([ids])).logits[0].numpy()
        query = model.model.layers[0].self_attn.q_proj.weight
        query.copy_(query.reshape(2, 2, 16, 64).swapaxes(1, 2).reshape(64, 64))  # as the file has it
        wrong = model(torch.tensor([ids])).logits[0].numpy()
    served = serve_logits(home / "weights" / "tiny", ids)
    assert np.abs(trained - served).max() < 0.02 < 0.2 < np.abs(wrong - served).max()


def test_a_prompt_is_what_the_mini_renders_and_an_answer_ends(home: Path) -> None:
    _, tokenizer = load(home, "tiny")
    rendered = "<|im_start|>user\nhe<|im_end|>\n<|im_start|>assistant"
    assert tokenizer.prompt([{"role": "user", "content": "he"}]) == tokenizer.table.encode(rendered)
    answer = tokenizer.answer("hello <|im_end|>")
    assert answer[-1] == tokenizer.end == 2 and answer.count(2) == 1
    assert tokenizer.decode(answer) == "hello <|im_end|>"


def test_rows_nobody_could_ask_or_that_are_too_long_are_left_out(home: Path) -> None:
    tokenizer = ChatTokenizer(home / "weights" / "tiny", read_card(home / "weights" / "tiny"))
    rows = [
        ROWS[0],
        Row(({"role": "user", "content": "x" * 900},), "y"),
        Row(({"role": "king", "content": "x"},), "y"),
        Row(ROWS[0].messages),
    ]
    examples, left_out = encode(tokenizer, rows, 100)
    assert len(examples) == 1 and left_out == 3


def test_exporting_keeps_every_weight(home: Path, tmp_path: Path) -> None:
    base = home / "weights" / "tiny" / "model.gguf"
    model, _ = load(home, "tiny")
    export.write_gguf(model, base, tmp_path / "again.gguf", {"general.name": "again"})
    before, after = open_gguf(base), open_gguf(tmp_path / "again.gguf")
    assert {tensor.name for tensor in before.tensors} == {tensor.name for tensor in after.tensors}
    same = {tensor.name: tensor.data for tensor in before.tensors}
    assert all(np.array_equal(tensor.data, same[tensor.name]) for tensor in after.tensors)
    fields = read_fields(after)
    changed = {name for name, value in read_fields(before).items() if fields.get(name) != value}
    assert fields["general.name"] == "again" and changed <= {"general.name", "GGUF.kv_count", "GGUF.tensor_count"}


def test_weights_that_f16_cannot_hold_are_refused(home: Path, tmp_path: Path) -> None:
    model, _ = load(home, "tiny")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e6
    with pytest.raises(export.CannotExport, match=r"up_proj\.weight holds values that F16 cannot"):
        export.write_gguf(model, home / "weights" / "tiny" / "model.gguf", tmp_path / "x.gguf", {})


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"general.architecture": "granite"}, "models of the kind 'granite'"),
        ({"llama.rope.scaling.type": "yarn"}, "scaled rotary embeddings"),
        ({"llama.expert_count": 4}, "mixture of experts"),
    ],
)
def test_what_cannot_be_held_exactly_is_refused(home: Path, changed: dict[str, object], why: str) -> None:
    fields = read_fields(open_gguf(home / "weights" / "tiny" / "model.gguf"))
    with pytest.raises(Untrainable, match=why):
        read_config({**fields, **changed}, tied=True)


def test_a_student_answers_through_the_engine_what_it_was_taught(student: Student, home: Path) -> None:
    assert student.figures["dev_loss"] < 0.1 < student.figures["untrained_dev_loss"]
    with open_served(student.directory, 1, most_tokens=8) as served:
        assert served.answer([row.messages for row in ROWS[:4]]) == [row.answer for row in ROWS[:4]]
        assert served.spent.questions == 4 and served.spent.answer_tokens >= 4 and served.spent.seconds > 0
    card = read_card(student.directory)
    assert card.base == "tiny" and card.made_at > 0 and card.chat_template == TEMPLATE
    assert sorted(file.name for file in student.directory.iterdir()) == [
        "figures.json", "history.json", "model.gguf", "model.json", "openvino", "speed.json", "tokenizer.json",
    ]  # fmt: skip
    assert json.loads((student.directory / "history.json").read_text())[-1]["step"] == student.figures["steps"]


def test_a_student_that_is_finished_is_not_trained_again(student: Student, home: Path) -> None:
    before = (student.directory / "model.gguf").stat().st_mtime_ns
    again = Lora().train(TASK, student.directory, Options(home=home, base="tiny", threads=1), Silent())
    assert again == student and (student.directory / "model.gguf").stat().st_mtime_ns == before


def test_only_adapters_are_trained_and_merging_keeps_what_they_say(home: Path) -> None:
    model, tokenizer = load(home, "tiny")
    adapted = adapt(model, seed=1, rank=2)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name for name in trained) and len(trained) == 2 * 7
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    ids = torch.tensor([tokenizer.prompt(ROWS[0].messages)])
    with torch.no_grad():
        before = model(ids).logits
        after = adapted.merge_and_unload()(ids).logits
    assert torch.allclose(before, after, atol=1e-4)


def test_a_training_called_off_leaves_a_checkpoint_and_goes_on(home: Path, tmp_path: Path) -> None:
    class CalledOff(Silent):
        def step(self, stage: str, done: int, total: int, **figures: float) -> None:
            if stage == "training" and done == 2:
                raise Cancelled

    options = Options(home=home, base="tiny", threads=1, epochs=1, batch_size=8)
    with pytest.raises(Cancelled):
        Lora().train(TASK, tmp_path, options, CalledOff())
    assert (tmp_path / "training" / loop.CHECKPOINT).exists() and not (tmp_path / "model.json").exists()


def test_a_training_whose_export_failed_is_not_trained_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Silent):
        steps = 0

        def step(self, stage: str, done: int, total: int, **figures: float) -> None:
            self.steps += stage == "training"

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    watch, options = Counting(), Options(home=home, base="tiny", threads=1, epochs=1, batch_size=8)
    with monkeypatch.context() as patch:
        patch.setattr(export, "save", fail)
        with pytest.raises(OSError, match="No space"):
            Lora().train(TASK, tmp_path, options, watch)
    assert watch.steps == 5
    again = Lora().train(TASK, tmp_path, options, watch)
    assert watch.steps == 5 == again.figures["steps"] and read_card(tmp_path).base == "tiny"
    assert not (tmp_path / "training").exists()


def test_an_estimate_is_measured_and_tells_why(home: Path) -> None:
    estimate = Lora().estimate(TASK, Options(home=home, base="tiny", threads=1))
    assert estimate.measured and estimate.seconds > 0 and "40 rows, 6 epochs" in estimate.why
    assert Lora().unfit(TASK) is None
    assert "at least 30" in str(Lora().unfit(Task("text", ROWS[:9], ROWS[:1], [])))


def test_the_tensors_of_a_model_are_those_of_the_file(home: Path) -> None:
    reader = open_gguf(home / "weights" / "tiny" / "model.gguf")
    fields = read_fields(reader)
    model = read_model(reader, fields)
    assert model.config.tie_word_embeddings and model.config.rope_parameters["rope_theta"] == 10000.0
    up = next(tensor.data for tensor in reader.tensors if tensor.name == "blk.0.ffn_up.weight")
    assert np.array_equal(model.model.layers[0].mlp.up_proj.weight.numpy(force=True), up.astype(np.float32))
