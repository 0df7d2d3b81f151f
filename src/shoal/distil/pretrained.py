"""A prepared model of the mini in the form in which it is trained: exactly the weights that are served, and exactly the prompts.

Weights come from HOME/weights/NAME/model.gguf, which holds them in F16. Prompts are made by what makes them when a caller asks
(mini/turns.py and mini/template.py), so a student learns from the very tokens that it will see.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
import transformers
from gguf import GGUFReader
from gguf.quants import dequantize

from shoal.distil.rows import Message
from shoal.distil.tensors import from_gguf, gguf_name
from shoal.mini import dialect, turns
from shoal.mini.card import Card, read_card
from shoal.mini.catalogue import find_directory
from shoal.mini.gguf import Fields, open_gguf, read_fields
from shoal.mini.template import ChatTemplate
from shoal.mini.tokens import FILE as TOKENIZER_FILE
from shoal.mini.tokens import TokenTable

GGUF_FILE = "model.gguf"
_CONFIGS = {"llama": transformers.LlamaConfig, "qwen2": transformers.Qwen2Config, "qwen3": transformers.Qwen3Config}


class Untrainable(Exception):
    """The model cannot be trained; the message says why."""


class ChatTokenizer:
    """A model's tokenizer and chat template. `end` is the token that ends an answer, `size` the length of the vocabulary."""

    def __init__(self, directory: Path, card: Card) -> None:
        """Read what lies in the model's directory. Raises Untrainable if it has no chat template, or no token to end an answer with."""
        if not card.chat_template:
            raise Untrainable(f"{card.name} has no chat template: it is no model for chats")
        self.table = TokenTable(directory / TOKENIZER_FILE)
        self.context_tokens, self.size = card.context_tokens, self.table.size
        self._template = ChatTemplate(card.chat_template, self.table, {"bos_token": card.bos_token, "eos_token": card.eos_token})
        ends = [token for token in self.table.encode(card.eos_token) if token in card.stop_tokens] or list(card.stop_tokens)
        if not ends:
            raise Untrainable(f"{card.name} knows no token that ends an answer")
        self.end = ends[0]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens with which the mini asks for the answer to `messages`. Raises what the mini does: Fault, TooLong."""
        asked = msgspec.convert(messages, list[dialect.Message])
        made = turns.make_turns(asked, turns.ToolUse("none"), None, template_knows_tools=self._template.knows_tools)
        return self._template.encode(made, None, self.context_tokens)

    def answer(self, text: str) -> list[int]:
        """The tokens of an answer, its end included; what looks like a control token in `text` is none."""
        return [*self._template.encode_text(text), self.end]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; control tokens give none."""
        return self.table.decode_bytes(tokens).decode("utf-8", "replace")


def load(home: Path, name: str) -> tuple[Any, ChatTokenizer]:
    """A prepared model as a transformers model in float32, in evaluation mode on the CPU, and its tokenizer.

    Raises OSError if it is not prepared, Untrainable if transformers cannot hold it exactly.
    """
    return load_directory(find_directory(home, name))


def load_directory(directory: Path) -> tuple[Any, ChatTokenizer]:
    """`load` for a directory anywhere, as export.save makes it."""
    card = read_card(directory)
    if not (directory / GGUF_FILE).is_file():
        raise Untrainable(f"{card.name} was prepared from OpenVINO's form, which cannot be trained; prepare it from a GGUF")
    reader = open_gguf(directory / GGUF_FILE)
    fields = read_fields(reader)
    return read_model(reader, fields), ChatTokenizer(directory, card)


def read_model(reader: GGUFReader, fields: Fields) -> Any:
    """The transformers model that a GGUF holds, its weights dequantised exactly. Raises Untrainable."""
    architecture = str(fields["general.architecture"])
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = read_config(fields, tied="output.weight" not in tensors)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    state = {}
    for parameter, _ in model.named_parameters():  # a tied head is named once, as the embedding
        name = gguf_name(architecture, config.num_hidden_layers, parameter)
        if name not in tensors:
            raise Untrainable(f"the GGUF has no {name}")
        tensor = tensors.pop(name)
        values = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        state[parameter] = torch.from_numpy(from_gguf(architecture, config, parameter, values).copy())
    if tensors:
        raise Untrainable(f"transformers has no place for {', '.join(sorted(tensors)[:3])}")
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    # what is no parameter (the frequencies of rotary embeddings) is computed, not loaded
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    return model.eval()


def read_config(fields: Fields, *, tied: bool) -> Any:
    """The transformers configuration for a GGUF's metadata. Raises Untrainable."""
    architecture = str(fields["general.architecture"])
    if architecture not in _CONFIGS:
        raise Untrainable(f"models of the kind {architecture!r} cannot be trained here: only {', '.join(_CONFIGS)}")
    if fields.get(f"{architecture}.rope.scaling.type", "none") != "none":
        raise Untrainable("models with scaled rotary embeddings cannot be trained here")
    if fields.get(f"{architecture}.expert_count"):
        raise Untrainable("a mixture of experts cannot be trained further here")

    def number(key: str, otherwise: Any = None) -> Any:
        return fields.get(f"{architecture}.{key}", otherwise)

    hidden, heads = int(number("embedding_length")), int(number("attention.head_count"))
    return _CONFIGS[architecture](
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        hidden_size=hidden,
        intermediate_size=int(number("feed_forward_length")),
        num_hidden_layers=int(number("block_count")),
        num_attention_heads=heads,
        num_key_value_heads=int(number("attention.head_count_kv", heads)),
        head_dim=int(number("attention.key_length", hidden // heads)),
        rms_norm_eps=float(number("attention.layer_norm_rms_epsilon")),
        max_position_embeddings=int(number("context_length")),
        rope_parameters={"rope_type": "default", "rope_theta": float(number("rope.freq_base", 10_000.0))},
        tie_word_embeddings=tied,
        bos_token_id=fields.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=fields.get("tokenizer.ggml.eos_token_id"),
        pad_token_id=None,
        attention_dropout=0.0,
    )
