"""zeropoints.py: the graph of a quantised file computes what its exact weights do."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from gguf import GGMLQuantizationType as Kind

from shoal.mini.conversion import GRAPH_FILE, read_and_save
from shoal.mini.gguf import open_gguf, read_fields, widen
from shoal.mini.zeropoints import is_kept, restore
from tiny_gguf import make_tensors, write_tiny

IDS = [[3, 70, 99, 140, 7, 260, 12, 33]]


def compute(graph: openvino.Model) -> np.ndarray:
    """Log-probabilities at every position of IDS."""
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0})
    request = compiled.create_infer_request()
    ids = np.array(IDS, dtype=np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.shape[1])[None]}
    logits = request.infer({**feed, "beam_idx": np.zeros(1, dtype=np.int32)})[0][0].astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def diverge(reference: np.ndarray, other: np.ndarray) -> float:
    """Mean KL divergence."""
    return float((np.exp(reference) * (reference - other)).sum(-1).mean())


def read(gguf: Path) -> openvino.Model:
    """OpenVINO's graph of a file."""
    target = gguf.with_suffix("")
    target.mkdir()
    read_and_save(gguf, target)
    return openvino.Core().read_model(target / GRAPH_FILE)


@pytest.fixture
def tensors() -> dict[str, np.ndarray]:
    """Weights large enough to matter, and off centre, so that zero points are anything but whole."""
    return {name: value if value.ndim == 1 else value * 6 + 0.1 for name, value in make_tensors().items()}


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q4_0, Kind.Q8_0])
def test_a_kept_graph_is_as_good_as_exact_weights(tmp_path: Path, tensors: dict[str, np.ndarray], kind: Kind) -> None:
    write_tiny(tmp_path / "tiny.gguf", tensors, kind)
    reader = open_gguf(tmp_path / "tiny.gguf")
    fields = read_fields(reader)
    widen(reader, fields, tmp_path / "wide.gguf", lambda *_: None)
    exact = compute(read(tmp_path / "wide.gguf"))
    assert is_kept(reader)
    graph = read(tmp_path / "tiny.gguf")
    before = diverge(exact, compute(graph))
    assert restore(graph, reader, fields)
    after = diverge(exact, compute(graph))
    assert after < 1e-5
    if kind == Kind.Q4_1:
        assert before > 100 * after, "without the zero points the graph must be worse, or this test shows nothing"


def test_a_graph_of_other_weights_is_not_used(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    write_tiny(tmp_path / "tiny.gguf", tensors)
    write_tiny(tmp_path / "other.gguf")
    other = open_gguf(tmp_path / "other.gguf")
    assert not restore(read(tmp_path / "tiny.gguf"), other, read_fields(other))


@pytest.mark.parametrize(("kind", "kept"), [(Kind.Q4_1, True), (Kind.Q8_0, True), (Kind.F16, False), (Kind.F32, False), (Kind.Q5_0, False)])
def test_only_few_exact_bits_are_kept(tmp_path: Path, kind: Kind, kept: bool) -> None:
    write_tiny(tmp_path / "tiny.gguf", kind=kind)
    assert is_kept(open_gguf(tmp_path / "tiny.gguf")) == kept
