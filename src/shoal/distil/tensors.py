"""The tensors of a GGUF under the names, and in the order, that transformers gives them, and back; both ways exact.

llama.cpp stores the rows of a llama's queries and keys in the order in which it rotates them, pairs side by side; transformers rotates
halves (`LlamaModel.permute` in https://github.com/ggml-org/llama.cpp/blob/master/convert_hf_to_gguf.py).
"""

from typing import Any

import numpy as np
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map
from numpy.typing import NDArray

_ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2, "qwen3": MODEL_ARCH.QWEN3}
_PAIRS_SIDE_BY_SIDE = frozenset({"llama"})

assert all(MODEL_ARCH_NAMES[kind] == name for name, kind in _ARCHITECTURES.items())


def gguf_name(architecture: str, layers: int, name: str) -> str:
    """The name in a GGUF of the parameter that transformers calls `name`. Raises KeyError for one that it does not know."""
    stem, _, suffix = name.rpartition(".")
    found = get_tensor_name_map(_ARCHITECTURES[architecture], layers).get_name(stem)
    if found is None:
        raise KeyError(f"a GGUF of the kind {architecture!r} has no tensor for {name}")
    return f"{found}.{suffix}"


def from_gguf(architecture: str, config: Any, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """A GGUF's tensor in the order in which transformers has the parameter `name`."""
    heads = _heads_side_by_side(architecture, config, name)
    if not heads:
        return values
    return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def to_gguf(architecture: str, config: Any, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """The reverse of `from_gguf`."""
    heads = _heads_side_by_side(architecture, config, name)
    if not heads:
        return values
    return np.ascontiguousarray(values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape))


def take_apart(name: str, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A parameter as a GGUF has it: transformers keeps gates and ups of all experts in one, a GGUF apart. Most are one already."""
    stem, _, fused = name.rpartition(".experts.")
    if fused == "gate_up_proj":
        gates, ups = np.split(values, 2, axis=1)
        return {f"{stem}.experts.gate_proj.weight": gates, f"{stem}.experts.up_proj.weight": ups}
    return {f"{name}.weight" if fused == "down_proj" else name: values}


def _heads_side_by_side(architecture: str, config: Any, name: str) -> int:
    """How many heads are stored with pairs side by side; 0: the tensor has none."""
    if architecture not in _PAIRS_SIDE_BY_SIDE:
        return 0
    if ".q_proj." in name:
        return int(config.num_attention_heads)
    return int(config.num_key_value_heads) if ".k_proj." in name else 0
