"""Turns any GGUF into one whose weights every engine reads without loss.

OpenVINO's reader rounds the zero points of Q4_1 and of the K types, which costs a small model a third of its top choices (docs/lab.md).
So every quantised tensor is dequantised exactly, one at a time, and written as F16; what F16 cannot hold is refused, never rounded away.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize
from numpy.typing import NDArray

Fields = dict[str, Any]
Progress = Callable[[str, int, int], None]
"""Told (what is being done, units done, units in all); units are bytes or steps."""

_F32, _F16 = GGMLQuantizationType.F32, GGMLQuantizationType.F16
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


def widen(reader: GGUFReader, fields: Fields, target: Path, progress: Progress) -> None:
    """Write `reader` to `target` with every matrix as F16, metadata kept. Raises BadGguf."""
    writer = GGUFWriter(target, str(fields.get("general.architecture", "")), endianess=reader.endianess)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, fields[name], field.types[0], sub_type=inner)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    for tensor in reader.tensors:
        shape = tuple(int(length) for length in reversed(tensor.shape))
        dtype, kind = (np.dtype(np.float32), _F32) if len(shape) == 1 else (np.dtype(np.float16), _F16)
        writer.add_tensor_info(tensor.name, shape, dtype, int(np.prod(shape)) * dtype.itemsize, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    done, total = 0, sum(int(tensor.n_elements) for tensor in reader.tensors)
    try:
        for tensor in reader.tensors:
            writer.write_tensor_data(_widened(tensor), tensor_endianess=reader.endianess)
            done += int(tensor.n_elements)
            progress("converting", done, total)
    finally:
        writer.close()


def _widened(tensor: Any) -> NDArray[Any]:
    """The tensor's values in row-major shape: a vector (norms, biases) as F32, as the engine wants it, a matrix as F16."""
    vector = len(tensor.shape) == 1
    if tensor.tensor_type == (_F32 if vector else _F16):
        data: NDArray[Any] = tensor.data
        return data
    try:
        exact = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
    except NotImplementedError as error:
        raise BadGguf(
            f"tensor {tensor.name} is of type {tensor.tensor_type.name}, which is not understood; choose an F16 or Q8_0 file"
        ) from error
    if vector:
        return exact
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
