import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from shoal.distil.examples import Example, lay_out
from shoal.distil.loop import answer_logits
from shoal.distil.shrink import CannotShrink, Shape, choose_layers, count_parameters, cut, fit, measure, read_shape, trim

EXAMPLES = [Example((5, 6, 7), (8, 9, 2)), Example((5, 6), (10, 2)), Example((11, 12, 13, 14), (8, 2))]


def make_model(seed: int = 1, *, tied: bool = True) -> transformers.LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 96, "num_hidden_layers": 5, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = transformers.LlamaConfig(vocab_size=24, **shape, initializer_range=0.3, tie_word_embeddings=tied)
    model = transformers.LlamaForCausalLM(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return model


def logits(model: transformers.LlamaForCausalLM, examples: list[Example] = EXAMPLES) -> torch.Tensor:
    with torch.no_grad():
        return answer_logits(model, lay_out(examples, range(len(examples))))


@pytest.mark.parametrize("tied", [True, False])
def test_a_trimmed_teacher_says_what_it_said_restricted_and_renormalised(tied: bool) -> None:
    model = make_model(tied=tied)
    kept = [0, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20]
    new = {old: i for i, old in enumerate(kept)}
    same = [Example(tuple(new[i] for i in example.prompt), tuple(new[i] for i in example.answer)) for example in EXAMPLES]
    whole = torch.softmax(logits(model), -1)[:, kept]
    assert torch.allclose(torch.softmax(logits(trim(model, kept), same), -1), whole / whole.sum(-1, keepdim=True), atol=1e-6)


@given(st.integers(1, 5), st.integers(1, 2), st.sampled_from([32, 64, 96]), st.booleans())
def test_what_is_cut_has_the_shape_that_was_wanted(layers: int, groups: int, inner: int, tied: bool) -> None:
    model = make_model(tied=tied)
    shape = Shape(layers, groups, inner, 24)
    small = cut(model, shape, IMPORTANCE)
    assert read_shape(small.config) == shape
    assert small.num_parameters() == count_parameters(model.config, shape)
    assert small.config.hidden_size == small.config.num_attention_heads * small.config.head_dim
    assert torch.isfinite(logits(small)).all()


IMPORTANCE = measure(make_model(), EXAMPLES)


def test_what_adds_nothing_can_be_cut_and_nothing_changes() -> None:
    model = make_model()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight[:, ::3] = 0  # channels that nobody reads
            layer.self_attn.o_proj.weight[:, :16] = 0  # the first group of heads
        model.model.layers[2].self_attn.o_proj.weight.zero_()  # a layer that does nothing
        model.model.layers[2].mlp.down_proj.weight.zero_()
    importance = measure(model, EXAMPLES)
    assert importance.layers[2] == pytest.approx(0, abs=1e-5) and (importance.layers[[0, 1, 3, 4]] > 0.01).all()
    assert (importance.groups[:, 0] == 0).all()
    small = cut(model, Shape(4, 2, 64, 24), importance)
    assert torch.allclose(logits(small), logits(model), atol=1e-5)


def test_norms_of_a_narrower_stream_give_what_they_gave() -> None:
    model = make_model()
    with torch.no_grad():
        model.model.embed_tokens.weight[:, ::2] *= 1e-3  # half of the stream carries next to nothing
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[::2] = 0
            layer.mlp.down_proj.weight[::2] = 0
            layer.self_attn.o_proj.weight[:, 16:] = 0  # and half of the heads
    small = cut(model, Shape(5, 1, 96, 24), measure(model, EXAMPLES))
    assert small.config.hidden_size == 16
    assert torch.allclose(logits(small), logits(model), atol=0.05)


def test_what_fills_lines_up_does_not_count() -> None:
    alone = [measure(make_model(), [example]) for example in EXAMPLES]
    sizes = torch.tensor([float(example.size - 1) for example in EXAMPLES])
    together = measure(make_model(), EXAMPLES)
    mean = sum(size * part.layers for size, part in zip(sizes, alone, strict=True)) / sizes.sum()
    assert torch.allclose(together.layers, mean, atol=1e-5)
    assert torch.allclose(together.inner.square(), sum(part.inner.square() for part in alone), rtol=1e-4)


def test_the_layers_kept_are_the_ends_and_those_of_most_influence() -> None:
    influence = torch.tensor([0.0, 0.1, 0.9, 0.2, 0.8, 0.0])
    assert [choose_layers(influence, count) for count in (1, 2, 3, 4, 6)] == [(0,), (0, 5), (0, 2, 5), (0, 2, 4, 5), (0, 1, 2, 3, 4, 5)]


@given(st.integers(7_000, 80_000), st.sampled_from([None, 1, 2, 3]), st.sampled_from([1, 2]))
def test_the_shape_fits_and_could_not_be_larger(most: int, layers: int | None, groups: int) -> None:
    config = make_model().config
    try:
        shape = fit(config, 24, most, layers, groups)
    except CannotShrink:
        assert count_parameters(config, Shape(layers or 1, groups, 32, 24)) > most
        return
    assert count_parameters(config, shape) <= most and shape.inner % 32 == 0
    wider = Shape(shape.layers, groups, shape.inner + 32, 24)
    assert shape.inner == config.intermediate_size or count_parameters(config, wider) > most


def test_a_vocabulary_must_be_trimmed_first() -> None:
    with pytest.raises(ValueError, match="trim it first"):
        cut(make_model(), Shape(2, 2, 32, 12), IMPORTANCE)
