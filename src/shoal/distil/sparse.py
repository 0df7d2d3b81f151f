"""Makes a sparse student of a dense one: a router sends each token through a few of many experts, so that the model knows more at the
same work a token.

The architecture is Mixtral's (https://arxiv.org/abs/2401.04088), as transformers, vLLM and llama.cpp have it. The experts are cut from the
dense feed-forward, which is never thrown away (sparse upcycling: Komatsuzaki et al. 2023, https://arxiv.org/abs/2212.05055): each is one of
`active` shards of it, and the router begins with whole groups of shards (He et al. 2024, https://arxiv.org/abs/2410.07524), so that before
the first step the sparse model says what the dense one says, with as many parameters at work.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from shoal.distil import loop
from shoal.distil.examples import Batch, Example
from shoal.distil.loop import Loss
from shoal.distil.watch import Watch

_ROUTER = ("model.layers.{}.mlp.gate.weight", "model.layers.{}.mlp.experts.gate_up_proj", "model.layers.{}.mlp.experts.down_proj")
_NEVER = 1_000_000_000


class Experts(msgspec.Struct, frozen=True, kw_only=True):
    """How sparse: each token goes through `active` of `count` experts, which must be a multiple. `router_std` is the deviation of the
    router's first weights, `noise` that of the experts' from the dense weights, as a share of theirs. `balance` weighs the loss that keeps
    experts equally busy (Fedus et al. 2021, https://arxiv.org/abs/2101.03961)."""

    count: int = 8
    active: int = 2
    router_std: float = 0.02
    noise: float = 0.0
    balance: float = 0.01


def upcycle(dense: Any, experts: Experts, seed: int) -> Any:
    """A Mixtral in place of a transformers llama: same attention and words, the feed-forward cut into experts.

    Raises ValueError where the shapes do not allow it.
    """
    config = dense.config
    if config.intermediate_size % experts.active or experts.count % experts.active:
        raise ValueError(f"{config.intermediate_size} channels and {experts.count} experts must be multiples of {experts.active}")
    with torch.device("meta"):
        model = transformers.MixtralForCausalLM(_configure(config, experts))
    state = {name: values.detach().clone() for name, values in dense.named_parameters() if ".mlp." not in name}
    random = torch.Generator().manual_seed(seed)
    for i, layer in enumerate(dense.model.layers):
        made = _split(layer.mlp, experts, random)
        state |= {name.format(i): values for name, values in zip(_ROUTER, made, strict=True)}
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    return model.eval()


def _configure(config: Any, experts: Experts) -> Any:
    return transformers.MixtralConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size // experts.active,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        num_key_value_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        rms_norm_eps=config.rms_norm_eps,
        max_position_embeddings=config.max_position_embeddings,
        rope_parameters=config.rope_parameters,
        tie_word_embeddings=config.tie_word_embeddings,
        num_local_experts=experts.count,
        num_experts_per_tok=experts.active,
        router_aux_loss_coef=experts.balance,
        sliding_window=None,
        bos_token_id=None,
        eos_token_id=None,
    )


def _split(mlp: Any, experts: Experts, random: torch.Generator) -> tuple[Any, Any, Any]:
    """Router, gates with ups, and downs of the experts. Expert g * active + s is shard s of the dense layer; group g has one router row.

    A router gives each of the chosen a share of 1 / active, which the downs make up for.
    """
    groups, width = experts.count // experts.active, mlp.gate_proj.in_features
    router = (torch.randn((groups, width), generator=random) * experts.router_std).repeat_interleave(experts.active, 0)

    def shards(weights: Any) -> Any:
        parts = torch.stack(weights.detach().float().chunk(experts.active, 0)).repeat(groups, 1, 1)
        return parts + torch.randn(parts.shape, generator=random) * parts.std() * experts.noise

    gates, ups = shards(mlp.gate_proj.weight), shards(mlp.up_proj.weight)
    downs = shards(mlp.down_proj.weight.T).transpose(1, 2) * experts.active
    return router, torch.cat((gates, ups), 1), downs.contiguous()


def count_active(model: Any) -> int:
    """Parameters at work for one token of a Mixtral: all but the experts that are not chosen."""
    share = 1 - model.config.num_experts_per_tok / model.config.num_local_experts
    return sum(round(values.numel() * (1 - share * (".experts." in name))) for name, values in model.named_parameters())


def describe(model: Any) -> Mapping[str, int]:
    """What a Mixtral's GGUF says beside what a llama's says; llama.cpp knows it as a llama with experts."""
    return {"llama.expert_count": model.config.num_local_experts, "llama.expert_used_count": model.config.num_experts_per_tok}


class Balanced:
    """A loss with the router's added: what loop.train takes. It keeps the experts equally busy over the tokens of a batch."""

    def __init__(self, loss: Loss, experts: Experts) -> None:
        self._loss, self._experts = loss, experts

    def __call__(self, model: Any, batch: Batch) -> Any:
        """The loss, and the router's as often as there are places, so that its weight does not depend on how a batch is parted."""
        routed: list[Any] = []
        hooks = [
            layer.mlp.gate.register_forward_hook(lambda module, inputs, output: routed.append(output[0])) for layer in model.model.layers
        ]
        try:
            loss = self._loss(model, batch)
        finally:
            for hook in hooks:
                hook.remove()
        layers = routed[-model.config.num_hidden_layers :]
        balance = load_balancing_loss_func(tuple(layers), self._experts.count, self._experts.active, _find_real(batch, layers[0]))
        return loss + self._experts.balance * balance * len(batch.targets)


def _find_real(batch: Batch, routed: Any) -> Any:
    """1 for the tokens of a batch, 0 for what fills it up; None where the router saw other texts (the student's own)."""
    lines, width = batch.ids.shape
    if len(routed) != lines * width:
        return None
    ends = torch.zeros(lines, dtype=torch.long, device=batch.ids.device)
    ends.scatter_reduce_(0, batch.owners, batch.places % width, "amax")
    return (torch.arange(width, device=batch.ids.device) <= ends[:, None]).long()


class Comparison(msgspec.Struct, frozen=True):
    """One seed's: the held-out loss of both after the same steps on the same data, in nats a token of the answers."""

    seed: int
    dense_loss: float
    sparse_loss: float
    dense_parameters: int
    active_parameters: int
    sparse_parameters: int
    steps: int


def compare(
    dense: Any,
    examples: Sequence[Example],
    dev: Sequence[Example],
    test: Sequence[Example],
    plan: loop.Plan,
    experts: Experts,
    seeds: Sequence[int],
    directory: Path,
    watch: Watch,
    loss: Loss = loop.answer_loss,
) -> list[Comparison]:
    """Train `dense`, and a sparse model made of it, each for all steps of `plan` from the same beginning, for each seed.

    Both are scored on `test` at their best step on `dev`. Every training is resumable; those that are done are read from their checkpoints.
    """
    beginning = {name: values.detach().clone() for name, values in dense.named_parameters()}
    found = []
    for seed in seeds:
        seeded = msgspec.structs.replace(plan, seed=seed, patience=_NEVER)
        _put(dense, beginning)
        sparse = upcycle(dense, experts, seed)
        trained = loop.train(dense, examples, dev, seeded, directory / f"dense-{seed}", watch, loss)
        loop.train(sparse, examples, dev, seeded, directory / f"sparse-{seed}", watch, Balanced(loss, experts))
        found.append(
            Comparison(
                seed=seed,
                dense_loss=loop.measure_loss(dense, test),
                sparse_loss=loop.measure_loss(sparse, test),
                dense_parameters=dense.num_parameters(),
                active_parameters=count_active(sparse),
                sparse_parameters=sparse.num_parameters(),
                steps=trained.steps,
            )
        )
    _put(dense, beginning)
    return found


@torch.no_grad()
def _put(model: Any, values: Mapping[str, Any]) -> None:
    for name, parameter in model.named_parameters():
        parameter.copy_(values[name])
