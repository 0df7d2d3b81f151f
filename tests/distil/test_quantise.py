"""quantise.py on a tiny llama: what is compressed is served, its loss is measured, and too much of it refused."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize

from shoal.distil import quantise
from shoal.distil.examples import encode
from shoal.distil.pretrained import ChatTokenizer
from shoal.distil.quantise import LIMITS, Limits, Loss, compress, diverge, refuse, write_gguf
from shoal.distil.rows import Row
from shoal.distil.served import open_served
from shoal.distil.student import Options, Student, Task
from shoal.distil.watch import Silent
from shoal.mini.card import Job, read_card
from shoal.mini.catalogue import convert
from shoal.mini.gguf import open_gguf, read_fields
from tiny_gguf import make_tensors, write_tiny

ROWS = [Row(({"role": "user", "content": "hello " * (1 + i)},), "world") for i in range(6)]
TASK = Task("text", ROWS, ROWS[:3], [])


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    directory = tmp_path_factory.mktemp("student")
    write_tiny(directory / "source.gguf", make_tensors(), Kind.F16)
    convert(directory, Job("tiny", "a test", "source.gguf", "0" * 64, "apache-2.0"), lambda *_: None, 1)
    return Student("lora", directory, {"dev_loss": 1.0})


def test_eight_bits_are_served_and_their_loss_is_told(student: Student, tmp_path: Path) -> None:
    options = Options(home=tmp_path, threads=1)
    smaller, loss = quantise.quantise(student, TASK, tmp_path / "small", "int8", options, Silent())
    assert smaller is not None and smaller.rung == "lora int8" and smaller.figures["dev_loss"] == 1.0
    assert 0 < loss.divergence < 0.01 and loss.equal_first_choices > 0.8 and loss.share == 1.0 and not loss.refused
    assert loss.megabytes <= loss.megabytes_before and loss.decode_tokens_per_s > 0
    with open_served(smaller.directory, 1, most_tokens=3) as served:
        assert len(served.answer([row.messages for row in ROWS])) == 6
    assert not (smaller.directory / "model.gguf").exists()
    again, same = quantise.quantise(student, TASK, tmp_path / "small", "int8", options, Silent())
    assert again == smaller and same == loss


def test_what_loses_too_much_is_refused_with_the_numbers_and_not_servable(
    student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LIMITS, "int8", Limits(0.99, 1e-12))
    smaller, loss = quantise.quantise(student, TASK, tmp_path / "small", "int8", Options(home=tmp_path, threads=1), Silent())
    assert smaller is None and "KL divergence of 0.000" in loss.refused
    assert [file.name for file in (tmp_path / "small").iterdir() if file.name in ("model.json", "openvino")] == []
    assert quantise.quantise(student, TASK, tmp_path / "small", "int8", Options(home=tmp_path), Silent()) == (None, loss)


def test_four_bits_lose_more_than_eight(student: Student, tmp_path: Path) -> None:
    tokenizer = ChatTokenizer(student.directory, read_card(student.directory))
    examples, _ = encode(tokenizer, ROWS, 100)
    lost = []
    for bits in ("int8", "int4"):
        graph = tmp_path / bits / "openvino" / "openvino_model.xml"
        compress(student.directory / "openvino" / "openvino_model.xml", graph, bits, examples)  # type: ignore[arg-type]
        lost.append(diverge(student.directory, tmp_path / bits, examples, 1)[0])
    assert 0 < lost[0] < lost[1]


def test_the_limits_are_of_score_and_of_divergence() -> None:
    loss = Loss("int4", 0.5, 0.48, 0.0003, 0.05, 0.9, 270.0, 80.0, 100.0, 1000.0)
    assert refuse(loss, LIMITS["int4"]) == "int4 keeps 96.0% of the score (0.5000 before, 0.4800 after); at least 97% must be left"
    assert refuse(loss, Limits(0.95, 0.2)) == ""
    assert "KL divergence of 0.0500" in refuse(loss, Limits(0.95, 0.01))
    nothing = Loss("int4", 0.0, 0.0, 0.0, float("nan"), 0.9, 270.0, 80.0, 100.0, 1000.0)
    assert nothing.share == 1.0 and refuse(nothing, LIMITS["int4"])


@pytest.mark.parametrize(("kind", "error"), [("Q8_0", 0.01), ("Q4_1", 0.1)])
def test_a_file_for_others_has_the_same_weights_in_few_bits(student: Student, tmp_path: Path, kind: str, error: float) -> None:
    source = student.directory / "model.gguf"
    write_gguf(source, tmp_path / "small.gguf", kind)  # type: ignore[arg-type]
    exact = {tensor.name: tensor for tensor in open_gguf(source).tensors}
    small = open_gguf(tmp_path / "small.gguf")
    assert {tensor.name for tensor in small.tensors} == set(exact)
    for tensor in small.tensors:
        if len(tensor.shape) > 1:
            assert tensor.tensor_type == (Kind.Q8_0 if tensor.name == "token_embd.weight" else Kind[kind])
            values = exact[tensor.name].data.astype(np.float32)
            lost = dequantize(tensor.data, tensor.tensor_type) - values
            assert np.sqrt(np.mean(lost**2) / np.mean(values**2)) < error
    before, after = read_fields(open_gguf(source)), read_fields(small)
    assert after["tokenizer.ggml.tokens"] == before["tokenizer.ggml.tokens"] and after["general.quantization_version"] == 2
