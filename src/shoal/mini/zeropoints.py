"""Gives 4-bit weights back the zero points that OpenVINO's GGUF reader rounds, so that the graph holds exactly what the file holds.

A Q4_1 block is 32 weights of 4 bits, a scale d and a minimum m: w = d q + m. OpenVINO computes (q - z) d and stores z = -m / d as a
whole number, which costs a small model a third of its top choices; its kernels take a fractional z just as fast. docs/lab.md has numbers.
"""

from typing import Any, NamedTuple

import numpy as np
import openvino
from gguf import GGMLQuantizationType, GGUFReader
from numpy.typing import NDArray
from openvino import opset13 as ops

from shoal.mini.gguf import Fields

_Kind = GGMLQuantizationType
_KEPT = frozenset({_Kind.F32, _Kind.F16, _Kind.Q8_0, _Kind.Q4_0, _Kind.Q4_1})
_BLOCK_BYTES = 20  # of Q4_1: d and m as F16, then 16 bytes of nibbles


class _Blocks(NamedTuple):
    """Scales and zero points of a tensor's blocks, in the order of the graph."""

    scales: NDArray[np.float16]
    zero_points: NDArray[np.float32]


def is_kept(reader: GGUFReader) -> bool:
    """Whether OpenVINO keeps every tensor of the file in few bits, exactly or up to zero points that `restore` gives back."""
    kinds = {tensor.tensor_type for tensor in reader.tensors if len(tensor.shape) > 1}
    return kinds <= _KEPT and bool(kinds & {_Kind.Q8_0, _Kind.Q4_0, _Kind.Q4_1})


def restore(graph: openvino.Model, reader: GGUFReader, fields: Fields) -> bool:
    """Put exact zero points into `graph`, which OpenVINO made of `reader`. False: not every Q4_1 tensor was found, do not use the graph."""
    known, wanted = {}, 0
    for tensor in reader.tensors:
        if tensor.tensor_type == _Kind.Q4_1:
            wanted += 1
            for blocks in _read_orders(tensor, fields):
                known[blocks.scales.tobytes()] = blocks
    found = sum(_restore_one(node, known) for node in graph.get_ordered_ops() if node.get_type_name() == "Subtract")
    graph.validate_nodes_and_infer_types()
    return found == wanted


def _read_orders(tensor: Any, fields: Fields) -> list[_Blocks]:
    """A tensor's blocks as they lie in the file, and with the rows of each head reordered, as the reader does for rotary embeddings."""
    rows = int(tensor.shape[1])
    raw = np.ascontiguousarray(tensor.data).reshape(-1, _BLOCK_BYTES)
    pair = raw[:, :4].copy().view(np.float16).reshape(rows, -1, 2)
    scales, minima = pair[..., 0], pair[..., 1].astype(np.float64)
    exact = np.divide(-minima, scales.astype(np.float64), out=np.zeros_like(minima), where=scales != 0).astype(np.float32)
    orders = [_Blocks(scales, exact)]
    architecture = fields.get("general.architecture")
    for key in ("head_count", "head_count_kv"):
        heads = fields.get(f"{architecture}.attention.{key}")
        if isinstance(heads, int) and heads > 0 and rows % (2 * heads) == 0:
            order = np.arange(rows).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)
            orders.append(_Blocks(scales[order], exact[order]))
    return orders


def _restore_one(subtract: Any, known: dict[bytes, _Blocks]) -> bool:
    """Rebuild one tensor's decompression in f32: convert, subtract the exact zero point, multiply, reshape. False: it is none of ours."""
    weights = _source(_source(subtract, 0), 0)
    multiply = _reader(subtract)
    if weights is None or multiply is None or weights.get_type_name() != "Constant" or weights.get_element_type() != openvino.Type.u4:
        return False
    reshape = _reader(multiply)
    end = _reader(reshape)
    scale = _source(multiply, 1)
    if end is None or scale is None or end.get_type_name() != "Convert" or reshape.get_type_name() != "Reshape":
        return False
    scales = np.asarray(scale.get_data(), dtype=np.float16)
    blocks = known.get(scales.tobytes())
    if blocks is None:
        return False
    shifted = ops.subtract(ops.convert(weights, "f32"), ops.constant(blocks.zero_points.reshape(scales.shape)))
    scaled = ops.multiply(shifted, ops.constant(scales.astype(np.float32)))
    whole = ops.reshape(scaled, reshape.input(1).get_source_output(), False)
    for target in list(end.output(0).get_target_inputs()):
        target.replace_source_output(whole.output(0))
    return True


def _source(node: Any, i: int) -> Any:
    """The node behind an input, or None."""
    return node.input(i).get_source_output().get_node() if node is not None and node.get_input_size() > i else None


def _reader(node: Any) -> Any:
    """The one node that reads a node's output, or None."""
    targets = list(node.output(0).get_target_inputs()) if node is not None else []
    return targets[0].get_node() if len(targets) == 1 else None
