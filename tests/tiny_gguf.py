"""A llama of a layer or a few with random weights: small enough to convert and run in a moment, with a real byte-level vocabulary."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

HIDDEN, INNER, HEADS, HEAD = 64, 128, 2, 32
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["h e", "l l", "he ll", "hell o", "\u0120 w", "o r", "\u0120w or", "l d"]
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"


def list_tokens() -> list[str]:
    """256 bytes as characters, what the merges make of them, and the special tokens in front."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [chr(0x100 + i) for i in range(256 - len(plain))]
    return [*SPECIAL, *map(chr, plain), *others, *(merge.replace(" ", "") for merge in MERGES)]


def make_tensors(seed: int = 1, layers: int = 1) -> dict[str, np.ndarray]:
    """Weights by GGUF name."""
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(0, 0.05, shape).astype(np.float32)

    shapes = {
        "attn_q": (HEADS * HEAD, HIDDEN),
        "attn_k": (HEADS * HEAD, HIDDEN),
        "attn_v": (HEADS * HEAD, HIDDEN),
        "attn_output": (HIDDEN, HEADS * HEAD),
        "ffn_gate": (INNER, HIDDEN),
        "ffn_up": (INNER, HIDDEN),
        "ffn_down": (HIDDEN, INNER),
    }
    drawn = {f"blk.{i}.{name}.weight": draw(*shape) for i in range(layers) for name, shape in shapes.items()}
    norms = {f"blk.{i}.{name}_norm.weight": np.ones(HIDDEN, np.float32) for i in range(layers) for name in ("attn", "ffn")}
    ends = {"token_embd.weight": draw(len(list_tokens()), HIDDEN), "output_norm.weight": np.ones(HIDDEN, np.float32)}
    return {**ends, **norms, **drawn}


def write_tiny(
    path: Path,
    tensors: dict[str, np.ndarray] | None = None,
    kind: GGMLQuantizationType = GGMLQuantizationType.Q4_1,
    architecture: str = "llama",
) -> dict[str, np.ndarray]:
    """Write the model, its matrices quantised to `kind`; returns the weights before that."""
    tensors = make_tensors() if tensors is None else tensors
    writer = GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(sum(name.endswith("attn_norm.weight") for name in tensors))
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    if architecture == "granite":
        writer.add_logit_scale(1.0)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(list_tokens()))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(list_tokens())
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(list_tokens()) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_file_type(3)
    writer.add_chat_template(TEMPLATE)
    for name, value in tensors.items():
        if value.ndim == 1 or kind == GGMLQuantizationType.F32:
            writer.add_tensor(name, value)
        else:
            writer.add_tensor(name, quantize(value, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors
