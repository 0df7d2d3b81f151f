"""A home with a tiny base in it, as far as training reads one: weights, tokenizer and card."""

from pathlib import Path

from gguf import GGMLQuantizationType

from shoal.distil.pretrained import GGUF_FILE
from shoal.mini.card import Job, write_card
from shoal.mini.catalogue import find_directory
from shoal.mini.conversion import describe
from shoal.mini.gguf import open_gguf, read_fields
from shoal.mini.tokens import FILE as TOKENIZER_FILE
from shoal.mini.tokens import build_tokenizer
from tiny_gguf import make_tensors, write_tiny

BASE = "tiny"
_LOUDER = 8  # than the tiny model's weights are: it should have something to say


def make_base(home: Path, layers: int = 3) -> Path:
    """Put the base into `home`; gives its directory."""
    directory = find_directory(home, BASE)
    directory.mkdir(parents=True)
    tensors = {name: values * (_LOUDER if values.ndim > 1 else 1) for name, values in make_tensors(layers=layers).items()}
    write_tiny(directory / GGUF_FILE, tensors, GGMLQuantizationType.F16)
    fields = read_fields(open_gguf(directory / GGUF_FILE))
    build_tokenizer(fields).save(str(directory / TOKENIZER_FILE))
    write_card(directory, describe(Job(BASE, "test", "", ""), fields))
    return directory
