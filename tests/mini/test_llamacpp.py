"""llamacpp.py with a tiny random model of an architecture that OpenVINO does not read."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from jsonschema import validate

from shoal.mini import catalogue
from shoal.mini.card import JOB_FILE, Job
from shoal.mini.conversion import convert
from shoal.mini.engine import Full, Piece, Sampling
from shoal.mini.gguf import BadGguf
from shoal.mini.llamacpp import QUEUE, SLOTS, LlamaCppEngine
from tiny_gguf import write_tiny

ARCHITECTURE = "granite"


def make_job(directory: Path) -> None:
    """Weights as they are fetched."""
    directory.mkdir(parents=True)
    write_tiny(directory / "source.gguf", architecture=ARCHITECTURE)
    (directory / JOB_FILE).write_bytes(msgspec.json.encode(Job("tiny", "test", "source.gguf", "00")))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCppEngine]:
    home = tmp_path_factory.mktemp("home")
    directory = catalogue.find_directory(home, "tiny")
    make_job(directory)
    convert(directory, 1)
    assert catalogue.measured_speed(home, "tiny").decode_tokens_per_s > 0
    engine = catalogue.load_engine(home, "tiny", 1, pytest.fail)
    assert isinstance(engine, LlamaCppEngine)
    yield engine
    engine.close()


async def ask(engine: LlamaCppEngine, sampling: Sampling, prompt: str = "hello world") -> tuple[bytes, Piece]:
    """One answer: its bytes and its last piece."""
    tokens: list[int] = []
    last: asyncio.Future[Piece] = asyncio.get_running_loop().create_future()

    def sink(piece: Piece) -> None:
        tokens.extend(piece.tokens)
        if piece.finish is not None:
            last.set_result(piece)

    engine.submit(engine.tokenizer.encode(prompt), sampling, sink)
    piece = await asyncio.wait_for(last, 60)
    return engine.tokenizer.decode_bytes(tokens), piece


async def test_answers_end_with_length_and_report_the_cache(engine: LlamaCppEngine) -> None:
    text, last = await ask(engine, Sampling(12, 0.0))
    assert last.finish in ("length", "stop")
    assert last.cached_tokens is not None
    assert (await ask(engine, Sampling(12, 0.0)))[0] == text


async def test_a_seed_repeats_an_answer(engine: LlamaCppEngine) -> None:
    one, two, other = [await ask(engine, Sampling(24, 1.0, seed=seed)) for seed in (7, 7, 8)]
    assert one[0] == two[0] != other[0]


@pytest.mark.parametrize(
    "schema",
    [
        {
            "type": "object",
            "properties": {"a": {"type": "integer", "minimum": 3, "maximum": 40}, "b": {"enum": ["x", "y\n"]}},
            "required": ["a", "b"],
        },
        {"type": "string", "pattern": r"^[!-~]{3}[^a-z]{2}[\[\]^-](\"|\\|_)[\w-]?$"},
        {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 1, "maxItems": 3},
    ],
    ids=json.dumps,
)
async def test_answers_never_leave_their_schema(engine: LlamaCppEngine, schema: dict) -> None:
    answers = await asyncio.gather(*(ask(engine, Sampling(200, 1.5, seed=seed, json_schema=json.dumps(schema))) for seed in range(6)))
    whole = [text for text, last in answers if last.finish == "stop"]
    assert whole
    for text in whole:
        validate(json.loads(text), schema)


async def test_cancelling_frees_the_slot_and_a_full_queue_says_so(engine: LlamaCppEngine) -> None:
    ends: list[asyncio.Future[str]] = []
    runs = []
    for _ in range(SLOTS + QUEUE):
        end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        ends.append(end)
        runs.append(
            engine.submit([5, 6, 7], Sampling(400, 1.0), lambda piece, end=end: end.set_result(piece.finish) if piece.finish else None)
        )
    assert (engine.running, engine.waiting) == (SLOTS, QUEUE)
    with pytest.raises(Full) as full:
        engine.submit([5], Sampling(1), print)
    assert full.value.retry_after_s >= 1
    for run in runs:
        run.cancel()
        run.cancel()
    assert set(await asyncio.gather(*ends)) <= {"cancelled", "stop"}
    assert engine.running == 0
    assert (await ask(engine, Sampling(3, 0.0)))[1].finish in ("length", "stop")


async def test_a_prompt_that_does_not_fit_is_an_error_of_its_run(engine: LlamaCppEngine) -> None:
    last: asyncio.Future[Piece] = asyncio.get_running_loop().create_future()
    engine.submit([5] * 20_000, Sampling(4), lambda piece: last.set_result(piece))
    piece = await asyncio.wait_for(last, 30)
    assert piece.finish == "error"
    assert "context" in str(piece.error)


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_job(tmp_path / "tiny")
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(BadGguf, match=r"'granite' need llama\.cpp: pip install 'shoal\[llamacpp\]'"):
        convert(tmp_path / "tiny", 1)
