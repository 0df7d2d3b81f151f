"""Cuts a smaller model out of a trained one: fewer layers, heads, channels and words, those that matter most on a task's own texts.

What matters is measured, not guessed. A layer by how much it turns the stream (block influence: Men et al. 2024,
https://arxiv.org/abs/2403.03853), what lies within by how much it adds to the stream (activations as in Muralidharan et al. 2024,
https://arxiv.org/abs/2407.14679, times the norm of the weights that read them: Sun et al. 2023, https://arxiv.org/abs/2306.11695).
What is cut is exactly a part of what was there; it can say little before it is trained again (losses.py).
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
import transformers

from shoal.distil.examples import Example, lay_out, split

_PART_TOKENS = 4096
_MULTIPLE = 32  # of channels: what quantised blocks and vector units come in


class CannotShrink(Exception):
    """No model of the wanted size can be cut; the message says why."""


class Shape(msgspec.Struct, frozen=True):
    """How large a model is: `groups` of heads that share keys and values, `inner` channels of the feed-forward in each of `layers`.

    The width of the stream follows from the heads, as engines that read a GGUF want it: heads times their dimensions.
    """

    layers: int
    groups: int
    inner: int
    vocabulary: int


class Importance(msgspec.Struct, frozen=True):
    """What was measured. `layers` holds block influences (0: nothing changes), `stream` a value for each dimension of the stream, `groups`
    and `inner` values for those of every layer; `squares` the mean squares that each norm met, a row a norm, in the model's order."""

    layers: Any
    stream: Any
    groups: Any
    inner: Any
    squares: Any


def trim(model: Any, kept: Sequence[int]) -> Any:
    """A copy of `model` that knows the tokens `kept` alone, under new numbers. Its distributions are the whole ones, restricted to these
    tokens and renormalised."""
    config = model.config
    return _take(model, range(config.num_hidden_layers), {"vocabulary": torch.tensor(kept)}, [{} for _ in range(config.num_hidden_layers)])


def read_shape(config: Any) -> Shape:
    """The shape of a transformers model."""
    return Shape(config.num_hidden_layers, config.num_key_value_heads, config.intermediate_size, config.vocab_size)


def count_parameters(config: Any, shape: Shape) -> int:
    """Parameters of a llama like `config`'s in another shape, tied embeddings counted once."""
    width = _width(config, shape)
    keys = shape.groups * _head(config)
    queries = keys * config.num_attention_heads // config.num_key_value_heads
    layer = 2 * width * queries + 2 * width * keys + 3 * width * shape.inner + 2 * width
    words = shape.vocabulary * width * (1 if config.tie_word_embeddings else 2)
    return int(shape.layers * layer + words + width)


def fit(config: Any, vocabulary: int, most: int, layers: int | None = None, groups: int | None = None) -> Shape:
    """The largest shape of at most `most` parameters: as many whole layers as fit and one more, all narrowed until they do.

    Depth is what costs time when tokens come one by one, so layers go before width. Raises CannotShrink.
    """
    whole = Shape(config.num_hidden_layers, groups or config.num_key_value_heads, config.intermediate_size, vocabulary)
    without, with_one = (count_parameters(config, msgspec.structs.replace(whole, layers=count)) for count in (0, 1))
    whole_ones = math.ceil((most - without) / (with_one - without))
    for count in [layers] if layers else range(min(whole.layers, max(1, whole_ones)), 0, -1):
        shape = msgspec.structs.replace(whole, layers=count)
        while shape.inner > _MULTIPLE and count_parameters(config, shape) > most:
            shape = msgspec.structs.replace(shape, inner=(shape.inner - 1) // _MULTIPLE * _MULTIPLE)
        if count_parameters(config, shape) <= most:
            return shape
    raise CannotShrink(f"{most:,} parameters do not hold {vocabulary:,} tokens and {layers or 1} layers")


@torch.no_grad()
def measure(model: Any, examples: Sequence[Example]) -> Importance:
    """Run `examples` through a llama and see what matters; some hundred are enough."""
    config = model.config
    sums = _Sums()
    hooks = [*sums.watch_layers(model.model.layers), *sums.watch_norms(_list_norms(model))]
    try:
        for rows in split([example.size for example in examples], range(len(examples)), _PART_TOKENS):
            sums.use(lay_out(examples, rows, model.device), [examples[row].size - 1 for row in rows])
            model.base_model(input_ids=sums.ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    layers, tokens = range(config.num_hidden_layers), sums.tokens
    adds = [sums.of(("heads", i)).sqrt() * _read_by(model.model.layers[i].self_attn.o_proj) for i in layers]
    return Importance(
        layers=1 - torch.stack([sums.of(("turn", i)) for i in layers]) / tokens,
        stream=torch.stack([sums.of(("normed", i)) for i in range(2 * len(layers) + 1)]).sum(0) / tokens,
        groups=torch.stack([values.view(config.num_key_value_heads, -1).sum(-1) for values in adds]),
        inner=torch.stack([sums.of(("inner", i)).sqrt() * _read_by(model.model.layers[i].mlp.down_proj) for i in layers]),
        squares=torch.stack([sums.of(("met", i)) for i in range(2 * len(layers) + 1)]) / tokens,
    )


def cut(model: Any, shape: Shape, importance: Importance, layers: Sequence[int] | None = None) -> Any:
    """A new model of `shape` with the most important parts of `model`, whose vocabulary must have been trimmed already.

    `layers` says which layers to keep; without it they are chosen by their influence.
    """
    config = model.config
    if shape.vocabulary != config.vocab_size:
        raise ValueError(f"the vocabulary has {config.vocab_size} tokens, not {shape.vocabulary}: trim it first")
    chosen = choose_layers(importance.layers, shape.layers) if layers is None else tuple(layers)
    width, head = _width(config, shape), _head(config)
    stream = _most(importance.stream, width)
    parts = []
    for i in chosen:
        groups = _most(importance.groups[i], shape.groups)
        queries = head * config.num_attention_heads // config.num_key_value_heads
        parts.append(
            {
                "inner": _most(importance.inner[i], shape.inner),
                "queries": (groups[:, None] * queries + torch.arange(queries)).flatten(),
                "keys": (groups[:, None] * head + torch.arange(head)).flatten(),
            }
        )
    small = _take(model, chosen, {"stream": stream}, parts)
    if width < config.hidden_size:
        _rescale(small, importance, stream, chosen)
    return small


def choose_layers(influence: Any, count: int) -> tuple[int, ...]:
    """The `count` layers of most influence, in order. The first and the last are always among them: what reads the words and what says
    them cannot be learnt anew from few texts."""
    last = len(influence) - 1
    ends = [0, last][:count]
    middle = sorted(range(1, last), key=lambda i: -float(influence[i]))
    return tuple(sorted(ends + middle[: count - len(ends)]))


# ---- how it is done

_AXES: dict[str, tuple[str, ...]] = {
    "embed_tokens.weight": ("vocabulary", "stream"),
    "lm_head.weight": ("vocabulary", "stream"),
    "q_proj.weight": ("queries", "stream"),
    "q_proj.bias": ("queries",),
    "k_proj.weight": ("keys", "stream"),
    "k_proj.bias": ("keys",),
    "v_proj.weight": ("keys", "stream"),
    "v_proj.bias": ("keys",),
    "o_proj.weight": ("stream", "queries"),
    "gate_proj.weight": ("inner", "stream"),
    "up_proj.weight": ("inner", "stream"),
    "down_proj.weight": ("stream", "inner"),
    "input_layernorm.weight": ("stream",),
    "post_attention_layernorm.weight": ("stream",),
    "norm.weight": ("stream",),
    "q_norm.weight": (),
    "k_norm.weight": (),
}
"""What the dimensions of each parameter count, by the end of its name."""


def _take(model: Any, layers: Sequence[int], everywhere: dict[str, Any], within: Sequence[dict[str, Any]]) -> Any:
    """A new model of the given layers, with the given indices along each axis: those of `everywhere`, and of each layer's `within`."""
    parameters = dict(model.named_parameters())
    state = {}
    for name, values in parameters.items():
        parts = name.split(".")
        place = int(parts[2]) if parts[1] == "layers" else None
        if place is not None and place not in layers:
            continue
        new = name
        indices = everywhere
        if place is not None:
            at = list(layers).index(place)
            new, indices = name.replace(f".{place}.", f".{at}.", 1), everywhere | within[at]
        taken = values.detach()
        for dimension, axis in enumerate(_AXES[".".join(parts[-2:])]):
            if axis in indices:
                taken = taken.index_select(dimension, indices[axis].to(taken.device))
        state[new] = taken.clone()
    small = _make_like(model, len(layers), state)
    small.load_state_dict(state, strict=False, assign=True)
    small.tie_weights()
    small.model.rotary_emb = type(small.model.rotary_emb)(small.config)
    return small.eval().requires_grad_(True)


def _make_like(model: Any, layers: int, state: dict[str, Any]) -> Any:
    """An empty model with as many layers, of the shapes in `state`."""
    config = copy.deepcopy(model.config)
    head = config.head_dim = _head(model.config)
    config.num_hidden_layers = layers
    config.vocab_size, config.hidden_size = state["model.embed_tokens.weight"].shape
    config.num_attention_heads = len(state["model.layers.0.self_attn.q_proj.weight"]) // head
    config.num_key_value_heads = len(state["model.layers.0.self_attn.k_proj.weight"]) // head
    config.intermediate_size = len(state["model.layers.0.mlp.gate_proj.weight"])
    config.bos_token_id = config.eos_token_id = None  # the tokenizer's business, under new numbers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    with torch.device("meta"):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


class _Sums:
    """Adds up what hooks see, over the real tokens of all batches."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], Any] = {}
        self.tokens = 0
        self.ids: Any = None
        self._real: Any = None

    def use(self, batch: Any, sizes: Sequence[int]) -> None:
        """Look at this batch next; what fills a line up behind its size does not count."""
        self.ids = batch.ids
        self._real = torch.arange(batch.ids.shape[1], device=batch.ids.device) < torch.tensor(sizes, device=batch.ids.device)[:, None]
        self.tokens += sum(sizes)

    def of(self, key: tuple[str, int]) -> Any:
        """A sum."""
        return self._sums[key]

    def _add(self, key: tuple[str, int], values: Any) -> None:
        total = values[self._real].sum(0)
        self._sums[key] = self._sums[key] + total if key in self._sums else total

    def watch_layers(self, layers: Sequence[Any]) -> list[Any]:
        """How layers turn the stream, and what their heads and channels hand on."""
        hooks = []
        for i, layer in enumerate(layers):
            hooks.append(layer.register_forward_hook(self._turn(i)))
            hooks.append(layer.self_attn.o_proj.register_forward_pre_hook(self._squares(("heads", i))))
            hooks.append(layer.mlp.down_proj.register_forward_pre_hook(self._squares(("inner", i))))
        return hooks

    def watch_norms(self, norms: Sequence[Any]) -> list[Any]:
        """What norms meet, and what they make of it."""
        return [norm.register_forward_hook(self._norm(i)) for i, norm in enumerate(norms)]

    def _turn(self, i: int) -> Callable[..., None]:
        def see(module: Any, inputs: Any, output: Any) -> None:
            after = output[0] if isinstance(output, tuple) else output
            self._add(("turn", i), torch.nn.functional.cosine_similarity(inputs[0].float(), after.float(), dim=-1))

        return see

    def _squares(self, key: tuple[str, int]) -> Callable[..., None]:
        def see(module: Any, inputs: Any) -> None:
            self._add(key, inputs[0].float().square())

        return see

    def _norm(self, i: int) -> Callable[..., None]:
        def see(module: Any, inputs: Any, output: Any) -> None:
            self._add(("met", i), inputs[0].float().square())
            self._add(("normed", i), output.float().abs())

        return see


def _list_norms(model: Any) -> list[Any]:
    norms = [norm for layer in model.model.layers for norm in (layer.input_layernorm, layer.post_attention_layernorm)]
    return [*norms, model.model.norm]


def _read_by(projection: Any) -> Any:
    """How strongly each input of a projection is read."""
    return projection.weight.detach().float().norm(dim=0)


def _rescale(small: Any, importance: Importance, stream: Any, layers: Sequence[int]) -> None:
    """Norms divide by the mean square of what is left of the stream; have them give what they gave."""
    rows = [row for i in layers for row in (2 * i, 2 * i + 1)] + [len(importance.squares) - 1]
    for norm, row in zip(_list_norms(small), rows, strict=True):
        squares = importance.squares[row]
        norm.weight.data *= (squares[stream].mean() / squares.mean()).sqrt()


def _most(values: Any, count: int) -> Any:
    """The places of the `count` largest values, in order."""
    return values.topk(count).indices.sort().values


def _head(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _width(config: Any, shape: Shape) -> int:
    if shape.groups == config.num_key_value_heads:
        return int(config.hidden_size)
    return int(shape.groups * _head(config) * config.num_attention_heads // config.num_key_value_heads)
