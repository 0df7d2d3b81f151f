"""The sentence model: text to a unit vector, as engine.Embedder, with the trained weights unrounded and no PyTorch.

`python -m shoal.mini.embedding DIRECTORY NAME SOURCE SHA256` builds OpenVINO's graph of a BERT encoder from the safetensors file:
Devlin et al. 2018 as transformers' BertModel computes it, then the mean over tokens and the L2 norm, as in Sentence-BERT
(Reimers and Gurevych 2019). docs/lab.md holds the comparison with transformers.
"""

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset13 as ops
from tokenizers import Tokenizer

from shoal.mini.card import Card, Report, write_card
from shoal.mini.processor import spare
from shoal.mini.tokens import FILE as TOKENIZER_FILE

GRAPH_FILE = "embedding.xml"
CONFIG_FILE = "config.json"
_WEIGHTS_FILE = "model.safetensors"
_KINDS = "embeddings.token_type_embeddings.weight"
_BATCH_TOKENS = 4096  # per call of the graph, padding included: enough to keep the cores busy, small enough to stay in the cache
_LENGTH_STEP = 8  # lengths are padded to a multiple, so that the graph meets few shapes

Weights = dict[str, NDArray[np.float32]]


class OpenVinoEmbedder:
    """A loaded sentence model."""

    def __init__(self, directory: Path, card: Card, threads: int) -> None:
        """Load the graph (blocking). Its calls use `threads` threads."""
        self._tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.dimensions, self.context_tokens = card.dimensions, card.context_tokens
        self.size: int = self._tokenizer.get_vocab_size()
        spare(threads)
        properties = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        self._request = openvino.Core().compile_model(directory / GRAPH_FILE, "CPU", properties).create_infer_request()
        self._lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """Token ids with the model's special tokens, not truncated."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def pieces(self, text: str) -> list[str]:
        """A text cut into its tokens; blanks between two of them belong to the second."""
        ends = [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets if end]
        cuts = sorted({*ends[:-1], len(text)})
        return [text[begin:end] for begin, end in zip([0, *cuts], cuts, strict=False) if end > begin]

    def cut(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids without special tokens, and where in the text each begins and ends."""
        cut = self._tokenizer.encode(text, add_special_tokens=False)
        return cut.ids, cut.offsets

    def embed(self, texts: Sequence[Sequence[int]]) -> list[list[float]]:
        """One unit-length vector of `dimensions` floats per tokenised text. Blocks; callers in several threads take turns."""
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for batch, output in self._infer(texts):
            vectors[batch] = output
        answer: list[list[float]] = vectors.tolist()
        return answer

    def read(self, texts: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """Of a graph without pooling: (tokens, dimensions) per tokenised text. Blocks; callers in several threads take turns."""
        states: list[NDArray[np.float32]] = [np.empty((0, self.dimensions), np.float32)] * len(texts)
        for batch, output in self._infer(texts):
            for row, i in enumerate(batch):
                states[i] = output[row, : len(texts[i])]
        return states

    def _infer(self, texts: Sequence[Sequence[int]]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """The graph's output by batches of places in `texts`."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        while order:
            batch = _take_batch(order, texts)
            length = -(-max(1, len(texts[batch[-1]])) // _LENGTH_STEP) * _LENGTH_STEP
            ids = np.zeros((len(batch), length), dtype=np.int64)
            mask = np.zeros((len(batch), length), dtype=np.float32)
            for row, i in enumerate(batch):
                ids[row, : len(texts[i])] = texts[i]
                mask[row, : len(texts[i])] = 1
            with self._lock:
                self._request.infer([ids, mask])
                output = self._request.get_output_tensor().data.copy()
            yield batch, output


def _take_batch(order: list[int], texts: Sequence[Sequence[int]]) -> list[int]:
    """Take the next texts, longest last, off `order`: as many as fit the token budget, at least one."""
    count = 1
    while count < len(order) and (count + 1) * (len(texts[order[count]]) + _LENGTH_STEP) <= _BATCH_TOKENS:
        count += 1
    batch = order[:count]
    del order[:count]
    return batch


def read_safetensors(path: Path) -> Weights:
    """All float32 tensors of a safetensors file: 8 bytes of header length, a JSON header, then the data (format 0.4)."""
    data = np.memmap(path, mode="r", dtype=np.uint8)
    header_bytes = int.from_bytes(data[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + header_bytes].tobytes())
    body = data[8 + header_bytes :]
    weights = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            weights[name.removeprefix("bert.")] = body[begin:end].view(np.float32).reshape(entry["shape"])
    return weights


def read_graph(directory: Path) -> Weights:
    """The weights that the graph in `directory` was built from, bit by bit, by their names in a checkpoint; of the kinds of tokens the
    first alone. Raises ValueError where the graph is not one of build_graph's."""
    config = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
    found = [node.get_data() for node in openvino.Core().read_model(directory / GRAPH_FILE).get_ordered_ops() if _is_weight(node)]
    names = list_weights(int(config["num_hidden_layers"]))
    if len(found) != len(names):
        raise ValueError(f"{directory / GRAPH_FILE} holds {len(found)} weights where {len(names)} are expected")
    weights = {name: np.array(value, dtype=np.float32) for name, value in zip(names, found, strict=True)}
    weights[_KINDS] = weights[_KINDS][None]
    return weights


def list_weights(layers: int) -> list[str]:
    """The names of the weights in the order in which a graph has them."""
    parts = [*(f"attention.self.{part}" for part in ("query", "key", "value")), "attention.output.dense", "attention.output.LayerNorm"]
    parts += ["intermediate.dense", "output.dense", "output.LayerNorm"]
    stems = ["embeddings.LayerNorm", *(f"encoder.layer.{i}.{part}" for i in range(layers) for part in parts)]
    first = ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight", _KINDS]
    return [*first, *(f"{stem}.{half}" for stem in stems for half in ("weight", "bias"))]


def _is_weight(node: Any) -> bool:
    """Other constants are whole numbers or single ones."""
    return bool(node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.f32 and len(node.get_output_shape(0)))


def build_graph(weights: Weights, config: dict[str, Any], *, pooled: bool = True) -> openvino.Model:
    """A BERT encoder with mean pooling and L2 norm. Inputs: ids (batch, length) int64, mask (batch, length) f32; output (batch, hidden),
    or the states of all tokens, (batch, length, hidden), where it is not `pooled`."""
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    mask = ops.parameter([-1, -1], np.float32, name="mask")
    epsilon, heads = float(config["layer_norm_eps"]), int(config["num_attention_heads"])
    state = _embed_tokens(ids, weights, epsilon)
    barrier = ops.multiply(ops.subtract(_expand(mask, [1, 2]), np.float32(1)), np.float32(1e9))  # 0 for a token, -1e9 for padding
    for i in range(int(config["num_hidden_layers"])):
        state = _build_layer(state, barrier, weights, f"encoder.layer.{i}.", heads, epsilon)
    if not pooled:
        return openvino.Model([state], [ids, mask], "states")
    weight = _expand(mask, [2])
    total = ops.reduce_sum(ops.multiply(state, weight), np.array([1]), keep_dims=False)
    mean = ops.divide(total, ops.reduce_sum(weight, np.array([1]), keep_dims=False))
    return openvino.Model([ops.normalize_l2(mean, np.array([1]), 1e-24, "max")], [ids, mask], "sentence")


def _embed_tokens(ids: Any, weights: Weights, epsilon: float) -> Any:
    length = ops.gather(ops.shape_of(ids), np.array(1), np.array(0))
    positions = ops.range(np.int64(0), length, np.int64(1), output_type="i64")
    words = ops.gather(_constant(weights["embeddings.word_embeddings.weight"]), ids, np.array(0))
    places = ops.gather(_constant(weights["embeddings.position_embeddings.weight"]), positions, np.array(0))
    kind = weights[_KINDS][0]
    return _normalise(ops.add(ops.add(words, places), _constant(kind)), weights, "embeddings.LayerNorm", epsilon)


def _build_layer(state: Any, barrier: Any, weights: Weights, at: str, heads: int, epsilon: float) -> Any:
    size = weights[f"{at}attention.self.query.weight"].shape[0] // heads

    def split(name: str) -> Any:
        cut = ops.reshape(_project(state, weights, f"{at}attention.self.{name}"), np.array([0, 0, heads, size]), special_zero=True)
        return ops.transpose(cut, np.array([0, 2, 1, 3]))

    mixed = ops.scaled_dot_product_attention(split("query"), split("key"), split("value"), barrier)
    joined = ops.reshape(ops.transpose(mixed, np.array([0, 2, 1, 3])), np.array([0, 0, heads * size]), special_zero=True)
    attended = ops.add(_project(joined, weights, f"{at}attention.output.dense"), state)
    state = _normalise(attended, weights, f"{at}attention.output.LayerNorm", epsilon)
    wide = ops.gelu(_project(state, weights, f"{at}intermediate.dense"), "erf")
    return _normalise(ops.add(_project(wide, weights, f"{at}output.dense"), state), weights, f"{at}output.LayerNorm", epsilon)


def _project(state: Any, weights: Weights, name: str) -> Any:
    product = ops.matmul(state, _constant(weights[f"{name}.weight"]), False, True)
    return ops.add(product, _constant(weights[f"{name}.bias"]))


def _normalise(state: Any, weights: Weights, name: str, epsilon: float) -> Any:
    even = ops.mvn(state, np.array([-1]), True, epsilon, "inside_sqrt")
    return ops.add(ops.multiply(even, _constant(weights[f"{name}.weight"])), _constant(weights[f"{name}.bias"]))


def _expand(value: Any, axes: list[int]) -> Any:
    return ops.unsqueeze(value, np.array(axes))


def _constant(value: NDArray[Any]) -> Any:
    return ops.constant(np.ascontiguousarray(value))


def main() -> int:
    """Run as a program: make the graph and the card, delete what they were made from; 0 on success."""
    directory, name, source, sha256 = Path(sys.argv[1]), *sys.argv[2:5]
    print(msgspec.json.encode(Report("compiling", 0, 1)).decode(), flush=True)
    config = json.loads((directory / CONFIG_FILE).read_text("utf-8"))
    graph = build_graph(read_safetensors(directory / _WEIGHTS_FILE), config)
    openvino.save_model(graph, directory / GRAPH_FILE, compress_to_fp16=False)
    write_card(
        directory,
        Card(
            name=name,
            kind="embedding",
            engine="embedding",
            context_tokens=int(config["max_position_embeddings"]),
            license="Apache-2.0",
            source=source,
            source_sha256=sha256,
            dimensions=int(config["hidden_size"]),
        ),
    )
    (directory / _WEIGHTS_FILE).unlink()
    print(msgspec.json.encode(Report("compiling", 1, 1)).decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
