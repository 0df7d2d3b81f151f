"""Turns fetched weights into what the engine loads, in a process of its own: it needs much memory once, and its parent must stay small.

`python -m shoal.mini.conversion DIRECTORY THREADS` reads DIRECTORY/job.json, writes one JSON line of progress per step to stdout, and one
{"error": ...} line if the weights cannot be used.
"""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from shoal.mini.card import JOB_FILE, SPEED_FILE, Card, Job, Report, Speed, write_card
from shoal.mini.gguf import BadGguf, open_gguf, read_fields, widen
from shoal.mini.tokens import FILE as TOKENIZER_FILE
from shoal.mini.tokens import UnknownTokenizer, build_tokenizer, find_stop_tokens

GGUF_FILE = "model.gguf"
_CALIBRATION_S = 2.0
_STREAMS = 32
_PROMPT_TOKENS = 256


def _say(stage: str, done: int, total: int) -> None:
    print(msgspec.json.encode(Report(stage, done, total)).decode(), flush=True)


def convert(directory: Path, threads: int) -> None:
    """Make DIRECTORY/{model.gguf,tokenizer.json,openvino/,model.json,speed.json}; steps already done are not repeated."""
    job = msgspec.json.decode((directory / JOB_FILE).read_bytes(), type=Job)
    fields = read_fields(open_gguf(directory / job.gguf))
    _say("converting", 0, 0)
    build_tokenizer(fields).save(str(directory / TOKENIZER_FILE))
    target = directory / GGUF_FILE
    if not target.exists():
        partial = directory / f"{GGUF_FILE}.partial"
        widen(directory / job.gguf, partial, _say)
        partial.replace(target)
    _say("compiling", 0, 1)
    save_openvino(target, directory / "openvino")
    write_card(directory, describe(job, fields))
    _say("measuring", 0, 1)
    speed = measure(directory, threads)
    (directory / SPEED_FILE).write_bytes(msgspec.json.encode(speed))
    _say("measuring", 1, 1)


def describe(job: Job, fields: dict[str, Any]) -> Card:
    """The card of a generative model, from its GGUF's metadata."""
    architecture = fields["general.architecture"]
    names = fields["tokenizer.ggml.tokens"]

    def token_of(key: str) -> str:
        i = fields.get(f"tokenizer.ggml.{key}_token_id")
        return "" if i is None else str(names[i])

    return Card(
        name=job.name,
        kind="chat",
        engine="openvino",
        context_tokens=int(job.context_tokens or fields[f"{architecture}.context_length"]),
        license=job.license or str(fields.get("general.license", "")),
        source=job.source,
        source_sha256=job.sha256,
        chat_template=str(fields.get("tokenizer.chat_template", "")),
        bos_token=token_of("bos"),
        eos_token=token_of("eos"),
        stop_tokens=find_stop_tokens(fields),
    )


def save_openvino(gguf: Path, target: Path) -> None:
    """Have OpenVINO read the GGUF once and save its own form into `target`, which later loads in a fraction of the time."""
    import openvino_genai

    if (target / "openvino_model.xml").exists():
        return
    openvino_genai.LLMPipeline(gguf, "CPU", enable_save_ov_model=True)
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for file in gguf.parent.glob("openvino_*"):
        file.replace(partial / file.name)
    partial.replace(target)


def measure(directory: Path, threads: int) -> Speed:
    """Tokens per second of this machine, prefill and decoding at 32 streams, in about 4 s after loading."""
    from shoal.mini.openvino import MODEL_DIRECTORY, measure_decode, measure_prefill, open_pipeline

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
