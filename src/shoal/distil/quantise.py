"""The same student in 8 or 4 bits a weight, what that loses measured, and refused where it loses too much.

What is served is OpenVINO's graph with weights compressed by NNCF; activations stay as they are, since 8 bits do not hold their outliers
(docs/lab.md), and the residual stream stays in f32 (mini/residual.py). `write_gguf` makes a file for llama.cpp and its like. Both libraries
write Q8_0 and the plain 4-bit kinds; neither can write Q4_K_M, which is llama.cpp's own program's.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import nncf
import numpy as np
import openvino
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType
from gguf.quants import quantize
from numpy.typing import NDArray

from shoal.distil.examples import Example, encode
from shoal.distil.export import copy_metadata
from shoal.distil.pretrained import ChatTokenizer
from shoal.distil.served import open_served
from shoal.distil.student import Options, Student, Task
from shoal.distil.watch import Watch
from shoal.evals import graders
from shoal.mini.card import FILE, SPEED_FILE, read_card
from shoal.mini.conversion import measure
from shoal.mini.gguf import open_gguf, read_fields
from shoal.mini.openvino import GRAPH_FILE, MODEL_DIRECTORY, choose_precision
from shoal.mini.tokens import FILE as TOKENIZER_FILE

Bits = Literal["int8", "int4"]
GgufKind = Literal["Q8_0", "Q4_0", "Q4_1"]

_FIGURES = "figures.json"
_LOSS = "quantised.json"
_GROUP = 32  # weights that share a scale and a zero point in int4: fewer cost space, more cost truth
_SCORED_ROWS = 128
_COMPARED_ROWS = 32
_CALIBRATION_ROWS = 32
_MOST_TOKENS = 1024


class Limits(msgspec.Struct, frozen=True):
    """What may be lost: the least share of the score that must be left, and the mean KL divergence a token from f32."""

    least_share: float
    most_divergence: float


LIMITS: dict[Bits, Limits] = {"int8": Limits(0.99, 0.02), "int4": Limits(0.97, 0.2)}


class Loss(msgspec.Struct, frozen=True):
    """What compressing did. Scores are of dev, through the engine that serves, `score_before` of the same student uncompressed; `refused`
    says why it is not to be used, with the numbers, or is ""."""

    bits: Bits
    score_before: float
    score: float
    divergence_before: float
    divergence: float
    equal_first_choices: float
    megabytes_before: float
    megabytes: float
    decode_tokens_per_s: float
    prefill_tokens_per_s: float
    refused: str = ""

    @property
    def share(self) -> float:
        """The share of the score that is left."""
        return self.score / self.score_before if self.score_before else 1.0


def quantise(student: Student, task: Task, directory: Path, bits: Bits, options: Options, watch: Watch) -> tuple[Student | None, Loss]:
    """The student in `directory` with weights of 8 or 4 bits, or None where it is refused, and what was lost.

    Needs some minutes; done once, it is read from `directory`. Raises ValueError for a student that OpenVINO does not run.
    """
    if (directory / _LOSS).exists():
        loss = msgspec.json.decode((directory / _LOSS).read_bytes(), type=Loss)
        return None if loss.refused else _as_student(student, directory, loss), loss
    if read_card(student.directory).engine != "openvino":
        raise ValueError(f"{student.directory.name} is not run by OpenVINO, whose graphs are what can be compressed here")
    tokenizer = ChatTokenizer(student.directory, read_card(student.directory))
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _copy_around(student.directory, partial)
    watch.step(f"quantising to {bits}", 0, 4)
    calibration, _ = encode(tokenizer, task.train[:_CALIBRATION_ROWS], _MOST_TOKENS)
    compress(student.directory / MODEL_DIRECTORY / GRAPH_FILE, partial / MODEL_DIRECTORY / GRAPH_FILE, bits, calibration)
    watch.step(f"quantising to {bits}", 1, 4)
    (partial / SPEED_FILE).write_bytes(msgspec.json.encode(measure(partial, options.threads)))
    watch.step(f"quantising to {bits}", 2, 4)
    loss = compare(student.directory, partial, task, tokenizer, bits, options.threads)
    watch.step(f"quantising to {bits}", 4, 4)
    (partial / _LOSS).write_bytes(msgspec.json.format(msgspec.json.encode(loss)))
    shutil.rmtree(directory, ignore_errors=True)
    if loss.refused:
        watch.say(loss.refused, "warn")
        shutil.rmtree(partial / MODEL_DIRECTORY)  # nobody shall serve it by mistake
        (partial / FILE).unlink()
    partial.replace(directory)
    return None if loss.refused else _as_student(student, directory, loss), loss


def compress(source: Path, target: Path, bits: Bits, calibration: Sequence[Example]) -> None:
    """Write the graph `source` with weights in few bits to `target`. Products are per channel in int8, in groups in int4, where the scales
    are fitted to what `calibration` makes the products see; the vocabulary stays in int8."""
    graph = openvino.Core().read_model(source)
    mode = nncf.CompressWeightsMode.INT8_ASYM
    more: dict[str, Any] = {}
    if bits == "int4":
        mode = nncf.CompressWeightsMode.INT4_ASYM
        more = {"group_size": _GROUP, "ratio": 1.0}
        if calibration:
            dataset = nncf.Dataset([_feed((*example.prompt, *example.answer)) for example in calibration])
            more |= {"dataset": dataset, "scale_estimation": True, "subset_size": len(calibration)}
    with _quiet():
        graph = nncf.compress_weights(graph, mode=mode, **more)
    target.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(graph, target, compress_to_fp16=False)


def compare(before: Path, after: Path, task: Task, tokenizer: ChatTokenizer, bits: Bits, threads: int) -> Loss:
    """Measure what the servable directory `after` lost beside `before`, on dev."""
    rows = task.dev[:_SCORED_ROWS]
    scores = [_score(place, task, threads) for place in (before, after)]
    examples, _ = encode(tokenizer, rows[:_COMPARED_ROWS], _MOST_TOKENS)
    divergence_before, _ = diverge(before, before, examples, threads)
    divergence, equal = diverge(before, after, examples, threads)
    speed = read_speed_of(after)
    loss = Loss(
        bits=bits,
        score_before=scores[0],
        score=scores[1],
        divergence_before=divergence_before,
        divergence=divergence,
        equal_first_choices=equal,
        megabytes_before=_megabytes(before),
        megabytes=_megabytes(after),
        decode_tokens_per_s=speed[0],
        prefill_tokens_per_s=speed[1],
    )
    return msgspec.structs.replace(loss, refused=refuse(loss, LIMITS[bits]))


def refuse(loss: Loss, limits: Limits) -> str:
    """Why a compressed student is not to be used, or ""."""
    if loss.share < limits.least_share:
        least = f"at least {limits.least_share:.0%} must be left"
        return f"{loss.bits} keeps {loss.share:.1%} of the score ({loss.score_before:.4f} before, {loss.score:.4f} after); {least}"
    if not loss.divergence <= limits.most_divergence:
        return f"{loss.bits} moves the student by a KL divergence of {loss.divergence:.4f} a token; at most {limits.most_divergence} may be"
    return ""


def diverge(exact: Path, other: Path, examples: Sequence[Example], threads: int) -> tuple[float, float]:
    """The mean KL divergence (natural) a token of the answers, of what `other` says as it is served from what `exact` says in f32, and the
    share of equal first choices."""
    graphs = [_compile(exact, "f32", threads), _compile(other, choose_precision(), threads)]
    divergences, equal = [], []
    for example in examples:
        true, said = (_log_probabilities(graph, example) for graph in graphs)
        divergences.append((np.exp(true) * (true - said)).sum(-1))
        equal.append(true.argmax(-1) == said.argmax(-1))
    return float(np.concatenate(divergences).mean()), float(np.concatenate(equal).mean())


def write_gguf(source: Path, target: Path, kind: GgufKind) -> None:
    """Write an F16 GGUF with its matrices in 8 or 4 bits, for llama.cpp and what is built on it. The vocabulary, which a small model is
    mostly made of and depends on most, has 8 bits in any case."""
    reader = open_gguf(source)
    fields = read_fields(reader)
    partial = target.with_suffix(".partial")
    writer = GGUFWriter(partial, str(fields["general.architecture"]))
    with contextlib.closing(writer):
        copy_metadata(writer, reader, fields, {})
        writer.add_quantization_version(2)
        writer.add_file_type(LlamaFileType[f"MOSTLY_{kind}"])
        for tensor in reader.tensors:
            _add_tensor(writer, tensor, GGMLQuantizationType[kind])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    partial.replace(target)


def _add_tensor(writer: GGUFWriter, tensor: Any, kind: GGMLQuantizationType) -> None:
    values = np.asarray(tensor.data)
    if len(tensor.shape) == 1:
        writer.add_tensor(tensor.name, values)
        return
    if tensor.name in ("token_embd.weight", "output.weight"):
        kind = GGMLQuantizationType.Q8_0
    writer.add_tensor(tensor.name, quantize(values.astype(np.float32), kind), raw_dtype=kind)


def read_speed_of(directory: Path) -> tuple[float, float]:
    """Tokens a second that a prepared directory writes and reads."""
    speed = msgspec.json.decode((directory / SPEED_FILE).read_bytes())
    return float(speed["decode_tokens_per_s"]), float(speed["prefill_tokens_per_s"])


def _as_student(student: Student, directory: Path, loss: Loss) -> Student:
    figures = student.figures | {"score_kept": loss.share, "divergence": loss.divergence, "megabytes": loss.megabytes}
    return Student(f"{student.rung} {loss.bits}", directory, figures)


def _copy_around(source: Path, target: Path) -> None:
    """All that serving needs but the graph and the weights."""
    (target / MODEL_DIRECTORY).mkdir(parents=True)
    for name in (TOKENIZER_FILE, FILE):
        shutil.copyfile(source / name, target / name)
    for name in (_FIGURES, "history.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    for file in (source / MODEL_DIRECTORY).iterdir():
        if not file.name.startswith(Path(GRAPH_FILE).stem):
            shutil.copyfile(file, target / MODEL_DIRECTORY / file.name)


def _score(directory: Path, task: Task, threads: int) -> float:
    rows = task.dev[:_SCORED_ROWS]
    with open_served(directory, threads) as served:
        said = served.answer([row.messages for row in rows])
    return sum(graders.grade(task.kind, answer, row.answer) for answer, row in zip(said, rows, strict=True)) / len(rows)


def _compile(directory: Path, precision: str, threads: int) -> Any:
    properties = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    return openvino.Core().compile_model(directory / MODEL_DIRECTORY / GRAPH_FILE, "CPU", properties).create_infer_request()


def _log_probabilities(request: Any, example: Example) -> NDArray[np.float64]:
    request.reset_state()
    logits = request.infer(_feed((*example.prompt, *example.answer)[:-1]))[0][0][len(example.prompt) - 1 :].astype(np.float64)
    result: NDArray[np.float64] = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    return result


def _feed(tokens: Sequence[int]) -> dict[str, NDArray[Any]]:
    ids = np.array([tokens], dtype=np.int64)
    places = np.arange(ids.shape[1])[None]
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": places, "beam_idx": np.zeros(1, dtype=np.int32)}


def _megabytes(directory: Path) -> float:
    return round((directory / MODEL_DIRECTORY / GRAPH_FILE).with_suffix(".bin").stat().st_size / 1e6, 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's tables and bars off the terminal."""
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(None):
        yield
