"""Turns fetched weights into what the engine loads, in a process of its own: it needs much memory once, and its parent must stay small.

`python -m shoal.mini.conversion DIRECTORY THREADS` reads DIRECTORY/job.json, writes one JSON line of progress per step to stdout, and one
{"error": ...} line if the weights cannot be used.
"""

import json
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec
import openvino
import openvino_genai
from gguf import GGUFReader

from shoal.mini.card import JOB_FILE, SPEED_FILE, Card, Job, Report, Speed, write_card
from shoal.mini.gguf import BadGguf, Fields, open_gguf, read_fields, widen
from shoal.mini.openvino import GRAPH_FILE, MODEL_DIRECTORY, choose_precision, measure_decode, measure_prefill, open_pipeline
from shoal.mini.processor import spare
from shoal.mini.residual import keep_residual, mark
from shoal.mini.tokens import FILE as TOKENIZER_FILE
from shoal.mini.tokens import UnknownTokenizer, build_tokenizer, find_stop_tokens
from shoal.mini.zeropoints import is_kept, restore

GGUF_FILE = "model.gguf"
_OPENVINO_READS = frozenset({"llama", "qwen2", "qwen3"})  # architectures of GGUF files
_CALIBRATION_S = 2.0
_STREAMS = 32
_PROMPT_TOKENS = 256


def _say(stage: str, done: int, total: int) -> None:
    print(msgspec.json.encode(Report(stage, done, total)).decode(), flush=True)


def convert(directory: Path, threads: int) -> None:
    """Make DIRECTORY/{model.gguf,tokenizer.json,openvino/,model.json,speed.json}."""
    spare(threads)
    job = msgspec.json.decode((directory / JOB_FILE).read_bytes(), type=Job)
    compiled = directory / MODEL_DIRECTORY
    if job.gguf:
        _say("reading", 0, 1)
        reader = open_gguf(directory / job.gguf)
        fields = read_fields(reader)
        build_tokenizer(fields).save(str(directory / TOKENIZER_FILE))
        card = describe(job, fields)
        if card.engine == "openvino" and not (compiled / GRAPH_FILE).exists():
            save_openvino(reader, fields, directory / job.gguf, directory / GGUF_FILE, compiled)
    else:
        card = describe_openvino(job, compiled)
        shutil.copyfile(compiled / "tokenizer.json", directory / TOKENIZER_FILE)
    _say("measuring", 0, 1)
    speed = measure_llamacpp(directory, job, card, threads) if card.engine == "llamacpp" else measure(directory, threads)
    (directory / SPEED_FILE).write_bytes(msgspec.json.encode(speed))
    write_card(directory, card)
    _say("measuring", 1, 1)


def choose_engine(architecture: str, experts: int = 0) -> Literal["openvino", "llamacpp"]:
    """OpenVINO for what it reads, which is no mixture of experts; llama.cpp for the rest. Raises BadGguf if that is not installed."""
    if architecture in _OPENVINO_READS and not experts:
        return "openvino"
    if find_spec("xllamacpp") is None:
        known = ", ".join(sorted(_OPENVINO_READS))
        raise BadGguf(f"models of the kind {architecture!r} need llama.cpp: pip install 'shoal[llamacpp]' (without it: {known})")
    return "llamacpp"


def measure_llamacpp(directory: Path, job: Job, card: Card, threads: int) -> Speed:
    """Give llama.cpp the file as it came, and measure what it makes of it."""
    from shoal.mini.llamacpp import GGUF_FILE, measure_speed

    if not (directory / GGUF_FILE).exists():
        (directory / job.gguf).replace(directory / GGUF_FILE)
    prompt = [100 + i % 100 for i in range(min(_PROMPT_TOKENS, card.context_tokens // 2))]
    return measure_speed(directory / GGUF_FILE, card.context_tokens, threads, prompt)


def describe(job: Job, fields: Fields) -> Card:
    """The card of a generative model, from its GGUF's metadata."""
    architecture = fields["general.architecture"]
    names = fields["tokenizer.ggml.tokens"]

    def token_of(key: str) -> str:
        i = fields.get(f"tokenizer.ggml.{key}_token_id")
        return "" if i is None else str(names[i])

    return Card(
        name=job.name,
        kind="chat",
        engine=choose_engine(str(architecture), int(fields.get(f"{architecture}.expert_count", 0))),
        context_tokens=int(job.context_tokens or fields[f"{architecture}.context_length"]),
        license=job.license or str(fields.get("general.license", "")),
        source=job.source,
        source_sha256=job.sha256,
        chat_template=str(fields.get("tokenizer.chat_template", "")),
        bos_token=token_of("bos"),
        eos_token=token_of("eos"),
        stop_tokens=find_stop_tokens(fields),
    )


def save_openvino(reader: GGUFReader, fields: Fields, source: Path, exact: Path, target: Path) -> None:
    """Write the widened GGUF to `exact`, and the graph in OpenVINO's own form, which loads in a fraction of the time, to `target`.

    Where arithmetic is f32, answers wait for memory, and the weights stay in the few bits of the file, if that loses nothing; where the
    processor computes in 16 bits, F16 weights are as fast alone and faster together (docs/lab.md).
    """
    unfinished = exact.with_suffix(".partial")
    widen(reader, fields, unfinished, _say)
    unfinished.replace(exact)
    _say("compiling", 0, 1)
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    precision = choose_precision()
    if precision != "f32" or not is_kept(reader) or not _save_kept(reader, fields, source, partial):
        read_and_save(exact, partial)
    if precision == "bf16":
        _save_residual(partial)
    partial.replace(target)


def _save_kept(reader: GGUFReader, fields: Fields, source: Path, target: Path) -> bool:
    """Save the graph of the file as it is, with exact zero points. False: they could not all be restored."""
    raw = target / "raw"
    raw.mkdir()
    read_and_save(source, raw)
    graph = openvino.Core().read_model(raw / GRAPH_FILE)
    restored = restore(graph, reader, fields)
    if restored:
        openvino.save_model(graph, target / GRAPH_FILE, compress_to_fp16=False)
        for file in [*raw.glob("openvino_tokenizer.*"), *raw.glob("openvino_detokenizer.*")]:
            file.replace(target / file.name)
    del graph  # it maps the files that are deleted now
    shutil.rmtree(raw)
    return restored


def _save_residual(target: Path) -> None:
    """Change the graph in `target` so that bf16 rounds its products only."""
    graph = openvino.Core().read_model(target / GRAPH_FILE)
    if keep_residual(graph):
        changed = target / "changed"
        openvino.save_model(graph, changed / GRAPH_FILE, compress_to_fp16=False)
        del graph  # it maps the file that is replaced now
        mark(changed / GRAPH_FILE)
        for file in changed.iterdir():
            file.replace(target / file.name)
        changed.rmdir()


def read_and_save(gguf: Path, target: Path) -> None:
    """Have OpenVINO read a GGUF; it saves its form beside the file, from where it is moved to `target`."""
    openvino_genai.LLMPipeline(gguf, "CPU", enable_save_ov_model=True)
    for file in gguf.parent.glob("openvino_*.*"):
        file.replace(target / file.name)


def describe_openvino(job: Job, directory: Path) -> Card:
    """The card of a model that came in OpenVINO's own form, from the files its exporter put beside it. Raises BadGguf."""
    try:
        config = json.loads((directory / "config.json").read_text("utf-8"))
        tokens = json.loads((directory / "tokenizer_config.json").read_text("utf-8"))
        stop = json.loads((directory / "generation_config.json").read_text("utf-8")).get("eos_token_id", config.get("eos_token_id"))
    except FileNotFoundError as error:
        raise BadGguf(f"the repository holds no {Path(str(error.filename)).name}, which serving it needs; choose a GGUF") from None
    if not (directory / "tokenizer.json").is_file():
        raise BadGguf("the repository holds no tokenizer.json, which serving it needs; choose a GGUF")
    template = directory / "chat_template.jinja"

    def name_of(key: str) -> str:
        token = tokens.get(key) or ""
        return str(token.get("content", "") if isinstance(token, dict) else token)

    return Card(
        name=job.name,
        kind="chat",
        engine="openvino",
        context_tokens=int(config["max_position_embeddings"]),
        source=job.source,
        chat_template=template.read_text("utf-8") if template.is_file() else str(tokens.get("chat_template") or ""),
        bos_token=name_of("bos_token"),
        eos_token=name_of("eos_token"),
        stop_tokens=tuple(stop) if isinstance(stop, list) else (int(stop),),
    )


def measure(directory: Path, threads: int) -> Speed:
    """Tokens per second of this machine, prefill and decoding at 32 streams, in about 4 s after loading."""
    pipeline = open_pipeline(directory / MODEL_DIRECTORY, threads)
    measure_prefill(pipeline, _PROMPT_TOKENS, 0.0)  # the first step also builds kernels
    prefill = measure_prefill(pipeline, _PROMPT_TOKENS, _CALIBRATION_S / 2)
    decode = measure_decode(pipeline, _STREAMS, _CALIBRATION_S)
    return Speed(round(decode, 1), round(prefill, 1), _STREAMS, threads)


def main() -> int:
    """Run as a program; 0 on success."""
    started = time.monotonic()
    try:
        convert(Path(sys.argv[1]), int(sys.argv[2]))
    except (BadGguf, UnknownTokenizer, RuntimeError, OSError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(msgspec.json.encode(Report(error=reason)).decode(), flush=True)
        return 1
    print(f"converted in {time.monotonic() - started:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
