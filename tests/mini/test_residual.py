"""residual.py: a graph keeps its meaning, and where bf16 is computed its stream and norms stay in f32."""

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openvino
import pytest
from gguf import GGMLQuantizationType
from test_zeropoints import compute, diverge, read

from shoal.mini.residual import OUTPUT, keep_residual, mark
from tiny_gguf import make_tensors, write_tiny

BF16 = {"INFERENCE_PRECISION_HINT": "bf16", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


@pytest.fixture
def graph(tmp_path: Path) -> openvino.Model:
    """A decoder's; its norms have weights, for the reader leaves out those that are all 1."""
    random = np.random.default_rng(2)
    drawn = {name: random.uniform(0.5, 2, 64).astype(np.float32) for name in make_tensors() if "norm" in name}
    write_tiny(tmp_path / "tiny.gguf", make_tensors() | drawn, GGMLQuantizationType.F16)
    return read(tmp_path / "tiny.gguf")


def save(graph: openvino.Model, directory: Path) -> Path:
    """The graph as conversion.py saves it, marked."""
    openvino.save_model(graph, directory / "graph.xml", compress_to_fp16=False)
    mark(directory / "graph.xml")
    return directory / "graph.xml"


def test_the_graph_computes_the_same_in_f32(graph: openvino.Model, tmp_path: Path) -> None:
    before = compute(graph)
    assert keep_residual(graph) == 2
    assert [output.get_any_name() for output in graph.outputs] == ["logits", OUTPUT]
    assert diverge(before, compute(openvino.Core().read_model(save(graph, tmp_path)))) == pytest.approx(0, abs=1e-9)


def test_sums_and_the_product_of_attention_are_marked(graph: openvino.Model, tmp_path: Path) -> None:
    keep_residual(graph)
    layers = ElementTree.parse(save(graph, tmp_path)).findall("./layers/layer")
    marked = {layer.get("name") for layer in layers if layer.find("./rt_info/attribute[@name='DisablePrecisionConversion']") is not None}
    assert {name for name in marked if name and name.startswith("kept.")} == {"kept.sum.0", "kept.sum.1", "kept.product.0"}


def test_a_graph_that_is_no_decoder_is_left_alone() -> None:
    given = openvino.opset13.parameter([2, 3], np.float32)
    graph = openvino.Model([openvino.opset13.add(given, given)], [given], "plain")
    assert keep_residual(graph) == 0
    assert len(graph.outputs) == 1


@pytest.mark.skipif("BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="needs bf16")
def test_in_bf16_the_stream_and_the_norms_stay_in_f32(graph: openvino.Model, tmp_path: Path) -> None:
    keep_residual(graph)
    compiled = openvino.compile_model(str(save(graph, tmp_path)), "CPU", BF16)
    found: Counter[tuple[str, str]] = Counter()
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        found[info["layerType"].astype(str), info["outputPrecisions"].astype(str)] += 1
    assert found["RMS", "f32"] == 3
    assert found["RMS", "bf16"] == 0
    assert found["FullyConnected", "bf16"] >= 3, "the products themselves must be computed in bf16"
