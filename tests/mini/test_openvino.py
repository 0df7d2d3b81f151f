"""openvino.py with a tiny random model: every way a run can end, and answers that cannot leave their schema."""

import asyncio
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import openvino
import pytest
from jsonschema import Draft202012Validator

from shoal.mini import catalogue
from shoal.mini.card import JOB_FILE, Job
from shoal.mini.conversion import convert
from shoal.mini.engine import BadGrammar, Full, Piece, Sampling
from shoal.mini.openvino import GRAPH_FILE, MODEL_DIRECTORY, QUEUE, SLOTS, OpenVinoEngine, count_token_bytes
from shoal.mini.stepper import Stepper
from tiny_gguf import write_tiny


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with one prepared model, `tiny`."""
    home = tmp_path_factory.mktemp("home")
    directory = catalogue.find_directory(home, "tiny")
    directory.mkdir(parents=True)
    write_tiny(directory / "source.gguf")
    (directory / JOB_FILE).write_bytes(msgspec.json.encode(Job("tiny", "test", "source.gguf", "00")))
    convert(directory, 1)
    return home


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[OpenVinoEngine]:
    engine = catalogue.load_engine(home, "tiny", 1, lambda reason: pytest.fail(reason))
    assert isinstance(engine, OpenVinoEngine)
    yield engine
    engine.close()


class Sink:
    """Collects one run's pieces."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.last: asyncio.Future[Piece] = asyncio.get_running_loop().create_future()

    def __call__(self, piece: Piece) -> None:
        assert not self.last.done(), "a piece after the last"
        self.pieces.append(piece)
        if not self.first.done():
            self.first.set_result(None)
        if piece.finish is not None:
            self.last.set_result(piece)

    @property
    def tokens(self) -> list[int]:
        return [token for piece in self.pieces for token in piece.tokens]


async def ask(engine: OpenVinoEngine, sampling: Sampling, prompt: str = "hello world") -> tuple[str, Piece, Sink]:
    """One answer: its text, its last piece, and all pieces."""
    sink = Sink()
    engine.submit(engine.tokenizer.encode(prompt), sampling, sink)
    last = await asyncio.wait_for(sink.last, 60)
    return engine.tokenizer.decode_bytes(sink.tokens).decode("utf-8", "replace"), last, sink


async def test_max_tokens_end_with_length(engine: OpenVinoEngine) -> None:
    _, last, sink = await ask(engine, Sampling(5, 0.0, json_schema=None))
    assert last.finish in ("length", "stop")
    assert len(sink.tokens) <= 5


async def test_greedy_answers_repeat_and_do_not_depend_on_company(engine: OpenVinoEngine) -> None:
    alone, _, _ = await ask(engine, Sampling(12, 0.0))
    together = await asyncio.gather(*(ask(engine, Sampling(12, 0.0)) for _ in range(SLOTS + 6)))
    assert {text for text, _, _ in together} == {alone}
    assert engine.running == engine.waiting == 0


async def test_a_seed_repeats_an_answer(engine: OpenVinoEngine) -> None:
    one, _, _ = await ask(engine, Sampling(24, 1.0, seed=7))
    two, _, _ = await ask(engine, Sampling(24, 1.0, seed=7))
    other, _, _ = await ask(engine, Sampling(24, 1.0, seed=8))
    assert one == two != other


async def test_logprobs_are_those_of_the_tokens(engine: OpenVinoEngine) -> None:
    _, _, sink = await ask(engine, Sampling(6, 0.0, logprobs=True))
    for piece in sink.pieces:
        assert len(piece.logprobs) == len(piece.tokens)
        assert all(logprob <= 0 for logprob in piece.logprobs)
    assert sink.pieces[0].logprobs
    _, _, plain = await ask(engine, Sampling(6, 0.0))
    assert all(not piece.logprobs for piece in plain.pieces)


async def test_cancelling_ends_a_run_at_once_and_frees_its_slot(engine: OpenVinoEngine) -> None:
    sink = Sink()
    run = engine.submit(engine.tokenizer.encode("hello"), Sampling(400, 1.5, seed=1), sink)
    assert engine.running == 1
    await sink.first
    run.cancel()
    run.cancel()
    assert (await asyncio.wait_for(sink.last, 10)).finish == "cancelled"
    assert engine.running == 0
    _, last, _ = await ask(engine, Sampling(3, 0.0))  # a piece after the cancelled one would fail the sink
    assert last.finish in ("length", "stop")


async def test_cancelling_before_the_first_step(engine: OpenVinoEngine) -> None:
    sinks = [Sink() for _ in range(8)]
    runs = [engine.submit([3, 4, 5], Sampling(300, 1.0), sink) for sink in sinks]
    for run in runs:
        run.cancel()
    assert {(await sink.last).finish for sink in sinks} == {"cancelled"}


async def test_a_full_queue_says_when_to_come_back(engine: OpenVinoEngine) -> None:
    sinks = [Sink() for _ in range(SLOTS + QUEUE)]
    runs = [engine.submit([3, 4, 5], Sampling(100, 1.0), sink) for sink in sinks]
    assert engine.waiting == QUEUE
    with pytest.raises(Full) as full:
        engine.submit([3], Sampling(1), Sink())
    assert full.value.retry_after_s >= 1
    for run in runs:
        run.cancel()
    await asyncio.gather(*(sink.last for sink in sinks))
    assert engine.waiting == 0


async def test_a_prompt_as_long_as_the_context_is_served(engine: OpenVinoEngine) -> None:
    sink = Sink()
    engine.submit([5] * 500, Sampling(4, 0.0), sink)
    assert (await asyncio.wait_for(sink.last, 30)).finish in ("length", "stop")


SCHEMAS: list[dict] = [
    {"type": "object"},
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 130}},
    },
    {"enum": ["a", 1, None, 'q"\\x', "é\n", 2.5]},
    {"const": {"a": [1, 2.5, "[]^-"]}},
    {"anyOf": [{"type": "string", "maxLength": 5}, {"type": "null"}, {"type": "boolean"}]},
    {"type": "string", "pattern": r"^[!-~]{3}[^a-z]{2}[\[\]^-](\"|\\|_)[\w-]?$"},
    {"type": "string", "pattern": r"\d{4}(foo|bar)+?x{0,3}"},
    {
        "type": "object",
        "properties": {
            name.replace("-", "_"): {"type": "string", "format": name}
            for name in ("date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
        },
    },
    {
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "items": {"type": "array", "items": {"type": "number", "minimum": -1, "maximum": 1}, "maxItems": 2},
    },
    {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1, "maxProperties": 4},
    {"type": "object", "properties": {"p": {"type": "number", "exclusiveMinimum": 0, "maximum": 3, "multipleOf": 0.01}}, "required": ["p"]},
    {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind", "lives"]},
            {"type": "object", "properties": {"kind": {"const": "dog"}, "good": {"type": "boolean"}}, "required": ["kind"]},
        ]
    },
    {
        "allOf": [
            {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "null"}}, "required": ["b"]},
        ]
    },
    {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "integer"}], "items": False, "minItems": 1},
    {"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 90},
    {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"v": {"type": "boolean"}, "kids": {"type": "array", "maxItems": 2, "items": {"$ref": "#/$defs/node"}}},
                "required": ["v", "kids"],
                "additionalProperties": False,
            }
        },
    },
    {"type": "object", "patternProperties": {"^[a-c]{1,3}$": {"type": "integer"}}, "additionalProperties": False, "maxProperties": 3},
    {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
        "minProperties": 2,
        "required": ["c"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
async def test_answers_never_leave_their_schema(engine: OpenVinoEngine, schema: dict) -> None:
    """A random model at a high temperature takes every path that the grammar leaves open."""
    text = json.dumps(schema)
    engine.check(text)
    answers = await asyncio.gather(*(ask(engine, Sampling(400, 1.5, seed=seed, json_schema=text)) for seed in range(8)))
    whole = [answer for answer, last, _ in answers if last.finish == "stop"]
    assert all(last.finish in ("stop", "length") for _, last, _ in answers)
    validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    for answer in whole:
        value = json.loads(answer, parse_float=Decimal) if "multipleOf" in text else json.loads(answer)
        exact = json.loads(text, parse_float=Decimal) if "multipleOf" in text else schema
        assert not list(Draft202012Validator(exact).iter_errors(value) if "multipleOf" in text else validator.iter_errors(value)), answer
        assert "\n" not in answer
    if "properties" in schema or "enum" in schema:
        assert whole, "no answer came to an end"


async def test_a_string_beyond_its_length_ends_with_length(engine: OpenVinoEngine) -> None:
    schema = json.dumps({"type": "array", "items": {"type": "string", "maxLength": 70}, "minItems": 1})
    answers = await asyncio.gather(*(ask(engine, Sampling(300, 1.5, seed=seed, json_schema=schema)) for seed in range(6)))
    for text, last, _ in answers:
        assert last.finish == "length" or all(len(part) <= 70 for part in json.loads(text))


def test_a_bad_schema_is_refused_before_admission(engine: OpenVinoEngine) -> None:
    with pytest.raises(BadGrammar, match="`not` cannot be enforced"):
        engine.check('{"not": {"type": "string"}}')


async def test_a_broken_step_ends_every_run_with_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken, said = threading.Event(), []

    def on_broken(reason: str) -> None:
        said.append(reason)
        broken.set()

    engine = catalogue.load_engine(home, "tiny", 1, on_broken)
    assert isinstance(engine, OpenVinoEngine)
    sinks = [Sink(), Sink()]
    for sink in sinks:
        engine.submit([3, 4, 5], Sampling(400, 1.0), sink)
    monkeypatch.setattr("shoal.mini.openvino.write_grammar", lambda _: "root ::= [z-a]")  # the library throws in its step
    engine.submit([3], Sampling(5, 0.0, json_schema="{}"), late := Sink())
    assert (await asyncio.wait_for(late.last, 30)).finish == "error"
    assert {(await asyncio.wait_for(sink.last, 30)).finish for sink in sinks} == {"error"}
    assert await asyncio.to_thread(broken.wait, 10)
    assert len(said) == 1
    engine.submit([3], Sampling(5), after := Sink())
    assert (await asyncio.wait_for(after.last, 10)).finish == "error"
    engine.close()


def test_prepared_models_are_listed(home: Path) -> None:
    assert [card.name for card in catalogue.list_models(home)] == ["tiny"]
    assert catalogue.prepared(home, "tiny")
    assert catalogue.measured_speed(home, "tiny").decode_tokens_per_s > 0


async def test_two_engines_take_turns_and_one_can_go(home: Path) -> None:
    stepper = Stepper()
    one, two = (catalogue.load_engine(home, "tiny", 1, pytest.fail, stepper=stepper, cache_bytes=4 << 20) for _ in range(2))
    assert isinstance(one, OpenVinoEngine) and isinstance(two, OpenVinoEngine)
    try:
        alone, _, _ = await ask(one, Sampling(12, 0.0))
        both = await asyncio.gather(*(ask(engine, Sampling(12, 0.0)) for engine in (one, two) * 8))
        assert {text for text, _, _ in both} == {alone}
        sinks = [Sink() for _ in range(4)]
        for sink in sinks:
            two.submit([1, 2, 3], Sampling(200, 0.0), sink)
        await asyncio.wait_for(sinks[0].first, 60)
        await asyncio.to_thread(one.close)
        late = Sink()
        one.submit([1, 2, 3], Sampling(4, 0.0), late)
        assert (await asyncio.wait_for(late.last, 60)).error == "the model was unloaded"
        assert all([(await asyncio.wait_for(sink.last, 60)).finish in ("stop", "length") for sink in sinks])
    finally:
        await asyncio.to_thread(two.close)
        stepper.close()


def test_a_cache_is_measured_by_the_graph(home: Path) -> None:
    directory = catalogue.find_directory(home, "tiny") / MODEL_DIRECTORY
    state = openvino.Core().read_model(directory / GRAPH_FILE)
    kept = [node.output(0).partial_shape for node in state.get_ops() if node.get_type_name() == "ReadValue"]
    numbers = sum(shape[1].get_length() * shape[3].get_length() for shape in kept)
    assert kept and count_token_bytes(directory) in (2 * numbers, 4 * numbers)
