"""Keeps a graph's residual stream in f32 where the processor computes in bf16: the matrix products stay in bf16, what they add up does not.

Rounding the stream to bf16 after each of its additions costs more near ties than all other rounding together (docs/lab.md). OpenVINO's
CPU plugin gives a whole graph one precision and makes two exceptions, which are used here: an operation with the attribute below, unless
it is fused into another, and whatever lies between an output of the graph and the products before it. A plugin that knows
neither, or computes in f32, reads the same graph and loses nothing.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openvino
from openvino import opset13 as ops

OUTPUT = "kept"
_PREFIX = "kept."
_ATTRIBUTE = {"name": "DisablePrecisionConversion", "version": "0", "value": "dynamic:f16"}
_UNREACHED = 1e30  # no activation comes near it


def keep_residual(graph: openvino.Model) -> int:
    """Change a decoder's graph, and name what `mark` must mark; the number of additions found, 0: the graph was left as it is.

    The graph gets one more output, OUTPUT, after its own: the shapes of what the norms give, which cost nothing and keep the norms in f32.
    """
    nodes = graph.get_ordered_ops()
    added = [(node, product) for node in nodes if (product := _find_product(node)) is not None]
    norms = [norm for node in nodes if (norm := _find_norm(node)) is not None]
    if not added or not norms:
        return 0
    for number, (addition, product) in enumerate(added):
        addition.set_friendly_name(f"{_PREFIX}sum.{number}")
        if _source(product, 0).get_type_name() != "Multiply":  # an MLP is fused into one operation, which is worth more
            _widen(product, addition, number)
    shapes = ops.concat([ops.shape_of(norm.output(0), "i32").output(0) for norm in norms], 0)
    shapes.output(0).set_names({OUTPUT})
    graph.add_results([ops.result(shapes)])
    graph.validate_nodes_and_infer_types()
    return len(added)


def mark(file: Path) -> int:
    """Give the attribute to what `keep_residual` named, in a saved graph; how many there were. Python cannot set it on the graph itself."""
    tree = ElementTree.parse(file)  # noqa: S314 - OpenVINO wrote it a moment ago
    layers = [layer for layer in tree.iterfind("./layers/layer") if layer.get("name", "").startswith(_PREFIX)]
    for layer in layers:
        info = layer.find("rt_info")
        if info is None:
            info = ElementTree.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, info)
        ElementTree.SubElement(info, "attribute", _ATTRIBUTE)
    tree.write(file, encoding="utf-8", xml_declaration=True)
    return len(layers)


def _find_product(node: Any) -> Any:
    """The product with weights that `node` adds to the stream; None if it is no such addition."""
    if node.get_type_name() != "Add":
        return None
    stream, product = _source(node, 0), _source(node, 1)
    weighted = product.get_type_name() == "MatMul" and _source(product, 1).get_type_name() in ("Convert", "Constant")
    return product if weighted and stream.get_type_name() not in ("Convert", "Constant", "MatMul") else None


def _find_norm(node: Any) -> Any:
    """What a norm of the stream gives, if `node` is where its mean is taken: 1 / sqrt(mean + epsilon), times the stream, times weights."""
    if node.get_type_name() != "ReduceMean" or node.output(0).get_partial_shape().rank.get_length() != 3:
        return None
    for kind in ("Add", "Sqrt", "Divide", "Multiply", "Multiply"):
        readers = [target.get_node() for target in node.output(0).get_target_inputs()]
        if len(readers) != 1 or readers[0].get_type_name() != kind:
            return None
        node = readers[0]
    return node


def _widen(product: Any, addition: Any, number: int) -> None:
    """Have a product hand over f32: a clamp that changes nothing is computed with it, and it is the clamp that says in which precision."""
    clamp = ops.clamp(product.output(0), -_UNREACHED, _UNREACHED)
    clamp.set_friendly_name(f"{_PREFIX}product.{number}")
    addition.input(1).replace_source_output(clamp.output(0))


def _source(node: Any, i: int) -> Any:
    return node.input(i).get_source_output().get_node()
