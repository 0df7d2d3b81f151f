"""gguf.py: what is widened is exact, what cannot be held is refused."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind
from gguf import GGUFReader
from gguf.quants import dequantize, quantize

from shoal.mini.gguf import BadGguf, open_gguf, read_fields, widen
from tiny_gguf import make_tensors, write_tiny


def convert(source: Path) -> GGUFReader:
    """Widen `source` beside itself."""
    reader = open_gguf(source)
    widen(reader, read_fields(reader), source.with_suffix(".wide"), lambda *_: None)
    return open_gguf(source.with_suffix(".wide"))


@pytest.mark.parametrize("kind", [Kind.Q4_1, Kind.Q8_0, Kind.F32, Kind.F16, Kind.Q4_0])
def test_widening_keeps_every_weight(tmp_path: Path, kind: Kind) -> None:
    tensors = write_tiny(tmp_path / "tiny.gguf", kind=kind)
    wide = convert(tmp_path / "tiny.gguf")
    assert {tensor.name for tensor in wide.tensors} == set(tensors)
    for tensor in wide.tensors:
        original = tensors[tensor.name]
        assert tuple(reversed(tensor.shape)) == original.shape
        if original.ndim == 1:
            assert tensor.tensor_type == Kind.F32
            assert np.array_equal(tensor.data, original)
        else:
            assert tensor.tensor_type == Kind.F16
            stored = original if kind == Kind.F32 else dequantize(quantize(original, kind), kind)
            assert np.array_equal(tensor.data, stored.astype(np.float16))


def test_metadata_survives(tmp_path: Path) -> None:
    write_tiny(tmp_path / "tiny.gguf")
    wide = convert(tmp_path / "tiny.gguf")
    before, after = read_fields(open_gguf(tmp_path / "tiny.gguf")), read_fields(wide)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed <= {"GGUF.kv_count", "general.file_type", "general.quantization_version"}
    assert after["tokenizer.ggml.tokens"] == before["tokenizer.ggml.tokens"]


def test_what_f16_cannot_hold_is_refused(tmp_path: Path) -> None:
    tensors = make_tensors()
    tensors["blk.0.ffn_up.weight"] = tensors["blk.0.ffn_up.weight"] * 1e8
    write_tiny(tmp_path / "tiny.gguf", tensors, Kind.F32)
    with pytest.raises(BadGguf, match=r"blk\.0\.ffn_up\.weight does not fit F16"):
        convert(tmp_path / "tiny.gguf")


@pytest.mark.parametrize("content", [b"", b"GGUF", b"<html>not found</html>" * 99, b"GGUF\x03\0\0\0" + b"\xff" * 64])
def test_what_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.gguf").write_bytes(content)
    with pytest.raises(BadGguf, match=r"broken\.gguf is not a readable GGUF file"):
        open_gguf(tmp_path / "broken.gguf")
