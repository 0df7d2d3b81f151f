"""The model's own tokenizer, apart from the engine: text to ids as its makers did it, ids to exact bytes.

Streaming needs bytes, not text: a token may end inside a character, and what the engine's own detokeniser shows is not exact there.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

FILE = "tokenizer.json"

_CONTROL, _USER_DEFINED = 3, 4  # token types of the GGUF specification
_END_NAMES = frozenset(
    {"<|endoftext|>", "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<end_of_turn>", "<|end|>", "<eos>", "</s>", "<EOT>"}
)

# How each family cuts text before merging, by the GGUF's `tokenizer.ggml.pre`; the expressions are those of the models' tokenizer.json.
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {"llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3, "qwen2": _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")}
_DIGITS_APART = frozenset({"smollm", "codeshell", "starcoder", "refact", "command-r", "exaone"})
_PLAIN = frozenset({"gpt-2", "gpt2", "phi-2", "olmo", "jais"})


class UnknownTokenizer(Exception):
    """The file's tokenizer is of a family not known here; the message names it."""


def build_tokenizer(fields: dict[str, Any]) -> Tokenizer:
    """The tokenizer described by a GGUF file's metadata (`tokenizer.ggml.*`). Raises UnknownTokenizer."""
    model, pre = fields.get("tokenizer.ggml.model"), str(fields.get("tokenizer.ggml.pre", "gpt-2"))
    if model != "gpt2":
        raise UnknownTokenizer(f"tokenizer.ggml.model is {model!r}; only byte-level BPE ('gpt2') can be rebuilt from a GGUF")
    names: list[str] = fields["tokenizer.ggml.tokens"]
    kinds: list[int] = fields.get("tokenizer.ggml.token_type") or [1] * len(names)
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=merges, ignore_merges=pre in _SPLITS))
    tokenizer.pre_tokenizer = _build_split(pre)
    tokenizer.decoder = decoders.ByteLevel()
    added = [(name, kind) for name, kind in zip(names, kinds, strict=True) if kind in (_CONTROL, _USER_DEFINED)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name, kind in added if kind == _CONTROL])
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name, kind in added if kind == _USER_DEFINED])
    return tokenizer


def _build_split(pre: str) -> Any:
    if pre in _SPLITS:
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_SPLITS[pre]), "isolated"), level])
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if pre in _DIGITS_APART:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level])
    if pre in _PLAIN:
        return level
    raise UnknownTokenizer(f"tokenizer.ggml.pre is {pre!r}, which is not known here")


def find_stop_tokens(fields: dict[str, Any]) -> tuple[int, ...]:
    """Every token with which the model may end its answer: the ones the metadata names, and control tokens named like one."""
    found = {
        int(fields[key])
        for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
        if key in fields
    }
    kinds = fields.get("tokenizer.ggml.token_type") or []
    pairs = zip(fields.get("tokenizer.ggml.tokens", ()), kinds, strict=False)
    return tuple(sorted(found | {i for i, (name, kind) in enumerate(pairs) if kind == _CONTROL and name in _END_NAMES}))


class TokenTable:
    """engine.Tokenizer over a saved tokenizer.json of the byte-level kind."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._bytes = list_token_bytes(self._tokenizer)
        self.special_tokens: Sequence[str] = sorted(added.content for added in self._tokenizer.get_added_tokens_decoder().values())
        self.size = len(self._bytes)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`: special tokens in it are recognised, none are added."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode_bytes(self, tokens: Sequence[int]) -> bytes:
        """Exact bytes of `tokens`; special tokens, and ids the vocabulary does not use, give none."""
        table = self._bytes
        return b"".join([table[token] for token in tokens if token < len(table)])


def list_token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of every id of a byte-level BPE vocabulary, by id. A character of a token stands for one byte (GPT-2's map)."""
    added = tokenizer.get_added_tokens_decoder()
    byte_of = _map_characters()
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    table = [b""] * (max(vocabulary.values()) + 1)
    for name, i in vocabulary.items():
        if i in added:
            table[i] = b"" if added[i].special else name.encode()
        else:
            table[i] = bytes(map(byte_of.__getitem__, name))
    return table


def _map_characters() -> dict[str, int]:
    """GPT-2's map from printable characters to bytes: printable Latin-1 stands for itself, the rest follows from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + i): byte for i, byte in enumerate(others)}
