"""From a trained model to a directory that the mini serves as it serves the minnow: an F16 GGUF, turned by the mini's own conversion.

The file has the metadata of the base's GGUF, its tokenizer and chat template among them, but for what the student's configuration says
otherwise, and the student's tensors.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from numpy.typing import NDArray

from shoal.distil.pretrained import GGUF_FILE
from shoal.distil.tensors import gguf_name, take_apart, to_gguf
from shoal.distil.watch import Watch
from shoal.mini.card import Card, Job, read_card, write_card
from shoal.mini.catalogue import convert, find_directory
from shoal.mini.gguf import Fields, open_gguf, read_fields
from shoal.mini.pull import PullFailed, hash_file

_SOURCE = "student.gguf"


class CannotExport(Exception):
    """The trained model cannot be served; the message says why."""


def save(
    model: Any,
    base: str,
    directory: Path,
    name: str,
    home: Path,
    watch: Watch,
    *,
    threads: int = 2,
    changed: Mapping[str, Any] | None = None,
) -> Card:
    """Make `directory` servable under `name`: card, tokenizer, weights, the speed of this machine. `model` is a transformers model of the
    base's architecture; `changed` are metadata of the GGUF to write other than the base's (a tokenizer's tokens and merges, ...).

    Raises CannotExport, and OSError when the disk is full.
    """
    base_directory = find_directory(home, base)
    base_card = read_card(base_directory)
    directory.mkdir(parents=True, exist_ok=True)
    write_gguf(model, base_directory / GGUF_FILE, directory / _SOURCE, changed or {})
    sha256 = hash_file(directory / _SOURCE)
    job = Job(name, f"distilled from {base}", _SOURCE, sha256, base_card.license, base_card.context_tokens)
    try:
        convert(directory, job, lambda stage, done, total: watch.step(f"exporting: {stage}", done, total), threads)
    except PullFailed as error:
        raise CannotExport(str(error)) from error
    card = msgspec.structs.replace(read_card(directory), base=base, made_at=int(time.time()))
    write_card(directory, card)
    return card


def write_gguf(model: Any, base: Path, target: Path, changed: Mapping[str, Any]) -> None:
    """Write the model as an F16 GGUF with the metadata of `base`. Raises CannotExport if F16 cannot hold it."""
    reader = open_gguf(base)
    fields = read_fields(reader)
    architecture = str(fields["general.architecture"])
    tensors = read_tensors(model, architecture)
    partial = target.with_suffix(".partial")
    writer = GGUFWriter(partial, architecture)
    try:
        writer.add_file_type(LlamaFileType.MOSTLY_F16)
        copy_metadata(writer, reader, fields, {**describe(model.config, architecture, fields), **changed})
        for name, values in tensors.items():
            kind = GGMLQuantizationType.F32 if values.dtype == np.float32 else GGMLQuantizationType.F16
            writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for values in tensors.values():
            writer.write_tensor_data(values)
    finally:
        writer.close()
    partial.replace(target)


def read_tensors(model: Any, architecture: str) -> dict[str, NDArray[Any]]:
    """A transformers model's weights by the names of a GGUF: vectors as F32, matrices as F16. Raises CannotExport."""
    tensors = {}
    parameters = ((name, parameter.detach().float().cpu().numpy()) for name, parameter in model.named_parameters())
    for name, part in (pair for parameter in parameters for pair in take_apart(*parameter).items()):
        exact = to_gguf(architecture, model.config, name, part)
        if exact.ndim > 1:
            with np.errstate(over="ignore"):
                values: NDArray[Any] = exact.astype(np.float16)
        else:
            values = exact
        if not np.isfinite(values).all():
            raise CannotExport(f"{name} holds values that F16 cannot; train with a lower learning rate")
        tensors[gguf_name(architecture, model.config.num_hidden_layers, name)] = values
    return tensors


def describe(config: Any, architecture: str, fields: Fields) -> dict[str, Any]:
    """The metadata that a transformers configuration says, by the names of a GGUF, as far as the base has them."""
    said = {
        "block_count": config.num_hidden_layers,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "rope.dimension_count": config.head_dim,
        "vocab_size": config.vocab_size,
    }
    return {key: value for stem, value in said.items() if (key := f"{architecture}.{stem}") in fields}


def copy_metadata(writer: GGUFWriter, reader: GGUFReader, fields: Fields, changed: Mapping[str, Any]) -> None:
    """Write what a GGUF says of itself, but for the kind of its weights, with some of it `changed`."""
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type", "general.quantization_version"):
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(name, changed.get(name, fields[name]), field.types[0], sub_type=inner)
    for name in changed.keys() - fields.keys():
        writer.add_uint32(name, changed[name])
