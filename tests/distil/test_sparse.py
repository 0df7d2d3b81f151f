import math
from pathlib import Path

import msgspec
import pytest
import torch
import transformers

from shoal.distil import loop
from shoal.distil.examples import Example, lay_out
from shoal.distil.sparse import Balanced, Experts, compare, count_active, upcycle
from shoal.distil.watch import Silent

EXAMPLES = [Example((5, 6, 7), (8, 9, 2)), Example((5, 6), (10, 2)), Example((11, 12, 13, 14), (8, 2))] * 2
BATCH = lay_out(EXAMPLES, range(6))


def make_dense(seed: int = 1) -> transformers.LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(vocab_size=24, **shape, initializer_range=0.2, tie_word_embeddings=True)
    return transformers.LlamaForCausalLM(config).eval()


def logits(model: object) -> torch.Tensor:
    with torch.no_grad():
        return loop.answer_logits(model, BATCH)


@pytest.mark.parametrize("experts", [Experts(count=4, active=2), Experts(count=8, active=4), Experts(count=3, active=1)])
def test_before_the_first_step_it_says_what_the_dense_one_says(experts: Experts) -> None:
    dense = make_dense()
    sparse = upcycle(dense, experts, seed=1)
    assert torch.allclose(logits(sparse), logits(dense), atol=1e-5)
    router = experts.count * 32 * 2
    assert count_active(sparse) == dense.num_parameters() + router
    assert sparse.num_parameters() == dense.num_parameters() + router + (experts.count // experts.active - 1) * 2 * 3 * 32 * 64


def test_seeds_and_noise_make_others() -> None:
    dense = make_dense()
    routers = [upcycle(dense, Experts(), seed).model.layers[0].mlp.gate.weight for seed in (1, 1, 2)]
    assert torch.equal(routers[0], routers[1]) and not torch.equal(routers[0], routers[2])
    noisy = upcycle(dense, Experts(noise=0.05), 1).model.layers[1].mlp.experts.down_proj
    assert not torch.equal(noisy[0], noisy[2]) and torch.allclose(noisy[0], noisy[2], atol=0.5)


def test_shapes_must_divide() -> None:
    with pytest.raises(ValueError, match="64 channels and 8 experts must be multiples of 3"):
        upcycle(make_dense(), Experts(active=3), 1)


def test_transformers_loads_it_as_a_mixtral(tmp_path: Path) -> None:
    sparse = upcycle(make_dense(), Experts(count=4, noise=0.1), 1)
    sparse.save_pretrained(tmp_path)
    found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert type(found) is transformers.MixtralForCausalLM
    assert torch.allclose(logits(found), logits(sparse), atol=1e-6)


def test_the_routers_loss_is_the_switch_transformers_and_counts_real_tokens_alone() -> None:
    experts = Experts(count=4, active=2, balance=0.5)
    sparse = upcycle(make_dense(), experts, 1)
    busy, shares, tokens = torch.zeros(2, 4), torch.zeros(2, 4), 0
    for example in EXAMPLES:
        ids = torch.tensor([[*example.prompt, *example.answer][:-1]])
        with torch.no_grad():
            told = sparse(ids, output_router_logits=True)
        for i, routed in enumerate(told.router_logits):
            shares[i] += torch.softmax(routed, -1).sum(0)
            busy[i] += torch.nn.functional.one_hot(routed.topk(2).indices, 4).sum((0, 1))
        tokens += ids.numel()
    wanted = 4 * float((busy.sum(0) / (2 * tokens) * shares.sum(0) / (2 * tokens)).sum())
    found = Balanced(lambda model, batch: loop.answer_logits(model, batch).sum() * 0, experts)(sparse, BATCH)
    assert float(found.detach()) == pytest.approx(0.5 * wanted * len(BATCH.targets), rel=1e-4)


def test_the_router_learns_and_experts_stay_busy(tmp_path: Path) -> None:
    experts = Experts(count=4, active=2)
    sparse = upcycle(make_dense(), experts, 1)
    before = sparse.model.layers[0].mlp.gate.weight.detach().clone()
    plan = loop.Plan(epochs=30, learning_rate=3e-3, batch_size=6, evaluations=1, patience=99, precision="f32")
    trained = loop.train(sparse, EXAMPLES, EXAMPLES, plan, tmp_path, Silent(), Balanced(loop.answer_loss, experts))
    assert trained.dev_loss < trained.untrained_dev_loss / 2
    assert not torch.equal(sparse.model.layers[0].mlp.gate.weight, before)


def test_a_comparison_gives_both_the_same_beginning_steps_and_data(tmp_path: Path) -> None:
    dense = make_dense()
    plan = loop.Plan(epochs=3, learning_rate=3e-3, batch_size=2, evaluations=1, patience=99, precision="f32")
    said = logits(dense)
    rows = compare(dense, EXAMPLES, EXAMPLES[:3], EXAMPLES[3:], plan, Experts(count=4), (1, 2), tmp_path, Silent())
    assert [row.seed for row in rows] == [1, 2] and {row.steps for row in rows} == {9}
    assert torch.equal(logits(dense), said)
    assert all(math.isfinite(row.dense_loss) and row.dense_loss != row.sparse_loss for row in rows)
    assert rows == compare(dense, EXAMPLES, EXAMPLES[:3], EXAMPLES[3:], plan, Experts(count=4), (1, 2), tmp_path, Silent())
    alone = make_dense()
    loop.train(alone, EXAMPLES, EXAMPLES[:3], msgspec.structs.replace(plan, seed=2), tmp_path / "alone", Silent())
    assert loop.measure_loss(alone, EXAMPLES[3:]) == pytest.approx(rows[1].dense_loss)
