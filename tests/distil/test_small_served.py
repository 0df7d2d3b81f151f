"""Students of other shapes than their base, as they are served: a smaller llama with fewer words, and a mixture of experts."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_base import BASE, make_base

from shoal.distil import export, pretrained, shrink, sparse
from shoal.distil.examples import Example
from shoal.distil.vocabulary import trim
from shoal.distil.watch import Silent
from shoal.mini import catalogue
from shoal.mini.engine import Engine, Piece, Sampling
from shoal.mini.gguf import open_gguf, read_fields
from shoal.mini.llamacpp import LlamaCppEngine
from shoal.mini.openvino import OpenVinoEngine

QUESTION = [{"role": "user", "content": "hello world"}]
NEW = 8


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    make_base(home)
    return home


def say(model: Any, prompt: list[int]) -> list[int]:
    """What transformers says, greedily."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(NEW):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


async def ask(engine: Engine, prompt: list[int]) -> list[int]:
    """What the engine says, greedily."""
    tokens: list[int] = []
    last: asyncio.Future[Piece] = asyncio.get_running_loop().create_future()

    def sink(piece: Piece) -> None:
        tokens.extend(piece.tokens)
        if piece.finish is not None:
            last.set_result(piece)

    engine.submit(prompt, Sampling(NEW, 0.0), sink)
    assert (await asyncio.wait_for(last, 60)).finish in ("length", "stop")
    return tokens


def serve(home: Path, name: str, model: Any, changed: dict[str, Any]) -> Engine:
    """Save a student beside the base and load it."""
    export.save(model, BASE, catalogue.find_directory(home, name), name, home, Silent(), threads=1, changed=changed)
    return catalogue.load_engine(home, name, 1, pytest.fail)


def agree(said: list[int], wanted: list[int], reply: Callable[[list[int]], str]) -> None:
    """The same tokens up to the end, which an engine does not tell."""
    length = next((i for i, token in enumerate(wanted) if token in (0, 2)), NEW)
    assert length > 2 and reply(said) == reply(wanted[:length])


async def test_a_smaller_student_with_fewer_words_is_served_like_any_other(home: Path) -> None:
    teacher, whole = pretrained.load(home, BASE)
    fields = read_fields(open_gguf(catalogue.find_directory(home, BASE) / pretrained.GGUF_FILE))
    trimmed = trim(fields, {whole.table.encode("hell")[0]: 1})
    assert len(trimmed.kept) == len(fields["tokenizer.ggml.tokens"]) - 5
    known = shrink.trim(teacher, trimmed.kept)
    example = Example(tuple(range(20, 60)), (70, 80, 90))
    shape = shrink.Shape(2, 1, 64, len(trimmed.kept))
    small = shrink.cut(known, shape, shrink.measure(known, [example]))
    engine = serve(home, "small", small, trimmed.changed)
    assert isinstance(engine, OpenVinoEngine)
    loaded, tokenizer = pretrained.load(home, "small")
    assert shrink.read_shape(loaded.config) == shape
    for name, values in small.named_parameters():
        assert np.allclose(loaded.get_parameter(name).detach(), values.detach(), atol=2e-3)
    prompt = tokenizer.prompt(QUESTION)
    assert tokenizer.decode(prompt) == whole.decode(whole.prompt(QUESTION)) and len(prompt) > len(whole.prompt(QUESTION))
    try:
        agree(await ask(engine, prompt), say(loaded, prompt), tokenizer.decode)
    finally:
        engine.close()


async def test_a_sparse_student_is_served_by_llama_cpp_unchanged(home: Path) -> None:
    dense, tokenizer = pretrained.load(home, BASE)
    student = sparse.upcycle(dense, sparse.Experts(count=4, active=2, noise=0.5), 1)
    prompt = tokenizer.prompt(QUESTION)
    assert say(student, prompt) != say(dense, prompt)  # the experts matter
    engine = serve(home, "sparse", student, dict(sparse.describe(student)))
    assert isinstance(engine, LlamaCppEngine)
    try:
        agree(await ask(engine, prompt), say(student, prompt), tokenizer.decode)
    finally:
        engine.close()
