"""Turns any GGUF into one whose weights the engine reads without loss.

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

Progress = Callable[[str, int, int], None]
"""Told (what is being done, units done, units in all); units are bytes or steps."""

_KEPT = (GGMLQuantizationType.F32, GGMLQuantizationType.F16)
_HARMLESS = 2e-3  # of a tensor's root mean square: F16 keeps 11 bits, so an ordinary weight is off by 5e-4 of itself at most


class BadGguf(Exception):
    """The file is not a GGUF, or holds what cannot be turned into F16; the message says what and what to do."""


def open_gguf(path: Path) -> GGUFReader:
    """Map a GGUF file; its tensors are views of the file. Raises BadGguf."""
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise BadGguf(f"{path.name} is not a readable GGUF file ({error}); fetch it again") from error


def read_fields(reader: GGUFReader) -> dict[str, Any]:
    """All metadata of a GGUF file by name, as plain Python values."""
    return {name: field.contents() for name, field in reader.fields.items()}


def widen(source: Path, target: Path, progress: Progress) -> None:
    """Write `source` to `target` with every matrix as F16, metadata kept; both are closed when it returns. Raises BadGguf."""
    reader = open_gguf(source)
    fields = read_fields(reader)
    architecture = str(fields.get("general.architecture", ""))
    writer = GGUFWriter(target, architecture, endianess=reader.endianess)
    _copy_fields(reader, writer)
    for tensor in reader.tensors:
        shape = tuple(int(length) for length in reversed(tensor.shape))
        dtype = np.dtype(np.float32 if _stays_wide(tensor) else np.float16)
        kind = GGMLQuantizationType.F32 if _stays_wide(tensor) else GGMLQuantizationType.F16
        writer.add_tensor_info(tensor.name, shape, dtype, int(np.prod(shape)) * dtype.itemsize, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    done, total = 0, sum(int(tensor.n_bytes) for tensor in reader.tensors)
    for tensor in reader.tensors:
        writer.write_tensor_data(_widened(tensor), tensor_endianess=reader.endianess)
        done += int(tensor.n_bytes)
        progress("converting", done, total)
    writer.close()


def _stays_wide(tensor: Any) -> bool:
    """Vectors (norms, biases) are kept as F32: they are tiny and the engine wants them so."""
    return len(tensor.shape) == 1


def _copy_fields(reader: GGUFReader, writer: GGUFWriter) -> None:
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(LlamaFileType.MOSTLY_F16)


def _widened(tensor: Any) -> NDArray[Any]:
    """The tensor's values as F32 or F16, in row-major shape."""
    if tensor.tensor_type in _KEPT and not (_stays_wide(tensor) and tensor.tensor_type == GGMLQuantizationType.F16):
        data: NDArray[Any] = tensor.data
        return data
    try:
        exact = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError as error:
        raise BadGguf(
            f"tensor {tensor.name} is of type {tensor.tensor_type.name}, which is not understood; choose an F16 or Q8_0 file"
        ) from error
    if _stays_wide(tensor):
        return np.asarray(exact, dtype=np.float32)
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
