"""embedding.py: a small random encoder, against the same arithmetic in numpy."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest

from shoal.mini import embedding
from shoal.mini.card import read_card
from shoal.mini.embedding import OpenVinoEmbedder, build_graph, read_graph, read_safetensors

HIDDEN, INNER, HEADS, WORDS, PLACES = 32, 64, 4, 30, 64
CONFIG = {
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "num_hidden_layers": 2,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": PLACES,
}
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, **{f"w{i}": 4 + i for i in range(WORDS - 4)}}
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ],
        "pair": [],
        "special_tokens": {name: {"id": name, "ids": [VOCABULARY[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")},
    },
    "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
    "padding": {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    },
    "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
}
Weights = dict[str, np.ndarray]


def make_weights() -> Weights:
    """Random weights by their names in a checkpoint."""
    random = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (WORDS, HIDDEN),
        "embeddings.position_embeddings.weight": (PLACES, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for i in range(2):
        at = f"encoder.layer.{i}."
        for name, shape in {
            **{f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")},
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (INNER, HIDDEN),
            "output.dense": (HIDDEN, INNER),
        }.items():
            shapes |= {f"{at}{name}.weight": shape, f"{at}{name}.bias": shape[:1]}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{name}.weight": (HIDDEN,), f"{at}{name}.bias": (HIDDEN,)}
    return {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def write_safetensors(path: Path, weights: Weights) -> None:
    """The format in a few lines: header length, header, data."""
    header, at = {}, 0
    for name, value in weights.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in weights.values()))


def compute(weights: Weights, ids: list[int]) -> np.ndarray:
    """The encoder of one text, one head at a time, in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}

    def normalise(state: np.ndarray, name: str) -> np.ndarray:
        centred = state - state.mean(-1, keepdims=True)
        return centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def project(state: np.ndarray, name: str) -> np.ndarray:
        return state @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    state = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    state = normalise(state + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(2):
        at, size = f"encoder.layer.{i}.", HIDDEN // HEADS
        q, k, v = (project(state, f"{at}attention.self.{part}") for part in ("query", "key", "value"))
        mixed = np.zeros_like(state)
        for head in range(HEADS):
            cut = slice(head * size, (head + 1) * size)
            score = q[:, cut] @ k[:, cut].T / math.sqrt(size)
            weight = np.exp(score - score.max(-1, keepdims=True))
            mixed[:, cut] = weight / weight.sum(-1, keepdims=True) @ v[:, cut]
        state = normalise(state + project(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        wide = project(state, f"{at}intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        state = normalise(state + project(wide, f"{at}output.dense"), f"{at}output.LayerNorm")
    mean = state.mean(0)
    return mean / np.linalg.norm(mean)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("embedding")
    write_safetensors(directory / "model.safetensors", make_weights())
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["embedding", str(directory), "small", "test", "00"])
        assert embedding.main() == 0
    return directory


@pytest.fixture(scope="module")
def embedder(directory: Path) -> OpenVinoEmbedder:
    return OpenVinoEmbedder(directory, read_card(directory), 1)


def test_vectors_are_those_of_the_model(embedder: OpenVinoEmbedder) -> None:
    texts = [[2, *range(4, 4 + n), 3] for n in (1, 7, 2, 20, 0, 5)]
    got = np.array(embedder.embed(texts))
    assert got.shape == (6, HIDDEN)
    for vector, ids in zip(got, texts, strict=True):
        assert np.abs(vector - compute(make_weights(), ids)).max() < 1e-5


def test_order_and_company_do_not_matter(embedder: OpenVinoEmbedder) -> None:
    texts = [[2, *([4 + i % 20] * (1 + i % 40)), 3] for i in range(600)]
    together = np.array(embedder.embed(texts))
    for i in (0, 13, 599):
        assert np.abs(np.array(embedder.embed([texts[i]])[0]) - together[i]).max() < 1e-5
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_vectors(embedder: OpenVinoEmbedder) -> None:
    assert embedder.embed([]) == []


def test_texts_are_neither_cut_nor_padded(embedder: OpenVinoEmbedder) -> None:
    assert embedder.encode("w0 w1 w2 w3 w4 w5") == [2, 4, 5, 6, 7, 8, 9, 3]
    assert embedder.encode("") == [2, 3]
    assert (embedder.dimensions, embedder.context_tokens, embedder.size) == (HIDDEN, PLACES, WORDS)


def test_what_the_graph_was_made_from_is_gone(directory: Path) -> None:
    assert not (directory / "model.safetensors").exists()


def test_the_graph_gives_its_weights_back_bit_by_bit(directory: Path) -> None:
    weights, read = make_weights(), read_graph(directory)
    kinds = "embeddings.token_type_embeddings.weight"
    assert read.keys() == weights.keys()
    assert all(np.array_equal(read[name], weights[name][:1] if name == kinds else weights[name]) for name in weights)


def test_without_pooling_the_mean_of_the_states_is_the_vector(directory: Path, embedder: OpenVinoEmbedder, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    openvino.save_model(build_graph(read_graph(directory), CONFIG, pooled=False), tmp_path / embedding.GRAPH_FILE, compress_to_fp16=False)
    texts = [[2, *range(4, 4 + n), 3] for n in (1, 7, 2)]
    states = OpenVinoEmbedder(tmp_path, read_card(directory), 1).read(texts)
    for ids, state, vector in zip(texts, states, embedder.embed(texts), strict=True):
        assert state.shape == (len(ids), HIDDEN)
        mean = state.mean(axis=0)
        assert np.abs(mean / np.linalg.norm(mean) - vector).max() < 1e-5


def test_safetensors_are_read_exactly(tmp_path: Path) -> None:
    weights = make_weights()
    write_safetensors(tmp_path / "model.safetensors", weights)
    read = read_safetensors(tmp_path / "model.safetensors")
    assert read.keys() == weights.keys()
    assert all(np.array_equal(read[name], weights[name]) for name in weights)
