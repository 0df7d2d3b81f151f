"""Turns any GGUF into one whose weights the engine reads without loss.

OpenVINO's reader rounds the zero points of Q4_1 and of the K types, which costs a small model a third of its top choices (docs/lab.md).
So every quantised tensor is dequantised exactly, one at a time, and written as F16 (what F16 cannot hold is refused, never rounded away),
and from there, on processors that are faster with it, as Q8_0.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quant_shape_to_byte_shape, quantize
from numpy.typing import NDArray

Fields = dict[str, Any]
Progress = Callable[[str, int, int], None]
"""Told (what is being done, units done, units in all); units are bytes or steps."""

_HARMLESS = 2e-3  # of a tensor's root mean square: F16 keeps 11 bits, so an ordinary weight is off by 5e-4 of itself at most


class BadGguf(Exception):
    """The file is not a GGUF, or holds what cannot be turned into F16; the message says what and what to do."""


def open_gguf(path: Path) -> GGUFReader:
    """Map a GGUF file; its tensors are views of the file. Raises BadGguf."""
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise BadGguf(f"{path.name} is not a readable GGUF file ({error}); fetch it again") from error


def read_fields(reader: GGUFReader) -> Fields:
    """All metadata of a GGUF file by name, as plain Python values."""
    return {name: field.contents() for name, field in reader.fields.items()}


def rewrite(reader: GGUFReader, fields: Fields, targets: dict[Path, GGMLQuantizationType], progress: Progress) -> None:
    """Write every matrix of `reader` to each target as its kind (F16 or Q8_0), metadata kept, in one pass. Raises BadGguf.

    Q8_0 has 8 bits per weight and a scale per 32: it halves what a step must read.
    """
    writers = [(_start(reader, fields, path, kind), kind) for path, kind in targets.items()]
    done, total = 0, sum(int(tensor.n_elements) for tensor in reader.tensors)
    try:
        for tensor in reader.tensors:
            exact = _read_exact(tensor)
            for writer, kind in writers:
                writer.write_tensor_data(_convert(tensor, exact, _choose_kind(tensor, kind)), tensor_endianess=reader.endianess)
            done += int(tensor.n_elements)
            progress("converting", done, total)
    finally:
        for writer, _ in writers:
            writer.close()


def _start(reader: GGUFReader, fields: Fields, path: Path, kind: GGMLQuantizationType) -> GGUFWriter:
    """A writer whose header, metadata and table of tensors are written."""
    writer = GGUFWriter(path, str(fields.get("general.architecture", "")), endianess=reader.endianess)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, fields[name], field.types[0], sub_type=inner)
    writer.add_file_type(LlamaFileType.MOSTLY_F16 if kind == GGMLQuantizationType.F16 else LlamaFileType.MOSTLY_Q8_0)
    for tensor in reader.tensors:
        as_kind = _choose_kind(tensor, kind)
        dtype, shape = _plan(tuple(int(length) for length in reversed(tensor.shape)), as_kind)
        writer.add_tensor_info(tensor.name, shape, dtype, int(np.prod(shape)) * dtype.itemsize, as_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    return writer


def _plan(shape: tuple[int, ...], kind: GGMLQuantizationType) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """How a tensor of `shape` lies in the file: element type and shape, in bytes for quantised kinds."""
    if kind == GGMLQuantizationType.F32:
        return np.dtype(np.float32), shape
    if kind == GGMLQuantizationType.F16:
        return np.dtype(np.float16), shape
    return np.dtype(np.uint8), quant_shape_to_byte_shape(shape, kind)


def _choose_kind(tensor: Any, kind: GGMLQuantizationType) -> GGMLQuantizationType:
    """Vectors (norms, biases) are kept as F32, as the engine wants them; so are rows that the kind's blocks do not divide."""
    wide = len(tensor.shape) == 1 or int(tensor.shape[0]) % GGML_QUANT_SIZES[kind][0] != 0
    return GGMLQuantizationType.F32 if wide else kind


def _read_exact(tensor: Any) -> NDArray[np.float32]:
    """The tensor's values, in row-major shape."""
    try:
        return np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    except NotImplementedError as error:
        raise BadGguf(
            f"tensor {tensor.name} is of type {tensor.tensor_type.name}, which is not understood; choose an F16 or Q8_0 file"
        ) from error


def _convert(tensor: Any, exact: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[Any]:
    if tensor.tensor_type == kind:
        data: NDArray[Any] = tensor.data
        return data
    if kind == GGMLQuantizationType.F32:
        return exact
    if kind != GGMLQuantizationType.F16:
        return quantize(exact, kind)
    with np.errstate(over="ignore"):
        half = exact.astype(np.float16)
    _require_harmless(tensor.name, exact, half)
    return half


def _require_harmless(name: str, exact: NDArray[Any], half: NDArray[Any]) -> None:
    """F16 must hold the tensor: nothing overflows, and the root-mean-square rounding error is far below the weights themselves."""
    error = half.astype(np.float32) - exact
    scale = float(np.sqrt(np.mean(np.square(exact, dtype=np.float64)))) or 1.0
    loss = float(np.sqrt(np.mean(np.square(error, dtype=np.float64)))) / scale
    if not loss <= _HARMLESS:
        raise BadGguf(f"tensor {name} does not fit F16 (relative error {loss:.1e}); choose another quantisation of this model")
