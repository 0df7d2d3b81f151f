import math
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from shoal.distil.examples import Example, lay_out
from shoal.distil.loop import answer_logits, answer_loss
from shoal.distil.losses import Distilled, Lessons, Mix, coarsen, divergence, sample, take_lessons
from shoal.distil.watch import Silent

END = 2
EXAMPLES = [Example((5, 6, 7), (8, 9, END)), Example((5, 6), (10, END)), Example((11, 12, 13, 14), (8, END))]


def make_model(seed: int, size: int = 24) -> transformers.LlamaForCausalLM:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(vocab_size=size, **shape, initializer_range=0.3, tie_word_embeddings=True)
    return transformers.LlamaForCausalLM(config).eval()


@st.composite
def two_distributions(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    seed = draw(st.integers(0, 10_000))
    random = torch.Generator().manual_seed(seed)
    scale = draw(st.sampled_from([0.1, 1.0, 6.0]))
    made = torch.randn((2, 3, 12), generator=random, dtype=torch.float64) * scale
    return torch.log_softmax(made[0], -1), torch.log_softmax(made[1], -1)


@given(two_distributions(), st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))
def test_divergences_are_those_of_the_textbook(pair: tuple[torch.Tensor, torch.Tensor], beta: float) -> None:
    student, teacher = (part.exp() for part in pair)
    if beta in (0.0, 1.0):
        p, q = (teacher, student) if beta == 0 else (student, teacher)
        wanted = (p * (p / q).log()).sum(-1)
    else:
        mean = beta * teacher + (1 - beta) * student
        wanted = beta * (teacher * (teacher / mean).log()).sum(-1) + (1 - beta) * (student * (student / mean).log()).sum(-1)
    assert torch.allclose(divergence(*pair, beta), wanted, atol=1e-9)


@given(two_distributions(), st.integers(1, 12), st.sampled_from([0.0, 0.5, 1.0]))
def test_what_is_not_named_is_one_outcome(pair: tuple[torch.Tensor, torch.Tensor], width: int, beta: float) -> None:
    named = pair[1].topk(width).indices
    coarse = [coarsen(part, named) for part in pair]
    assert torch.allclose(coarse[0].exp().sum(-1), torch.ones(3, dtype=torch.float64), atol=2e-6)
    part, whole = divergence(*coarse, beta), divergence(*pair, beta)
    assert (part >= -1e-5).all() and (part <= whole + 1e-4).all()
    if width == 12:
        assert torch.allclose(part, whole, atol=1e-4, rtol=1e-3)


def test_lessons_are_the_teachers_words_at_every_place(tmp_path: Path) -> None:
    teacher = make_model(1)
    lessons = take_lessons(teacher, EXAMPLES, tmp_path, Silent(), temperature=2.0, width=24)
    for rows in ([0], [2, 1], [1, 0, 2]):
        named, taught = lessons.look_up(rows, "cpu")
        wanted = torch.log_softmax(answer_logits(teacher, lay_out(EXAMPLES, rows)) / 2.0, -1).gather(-1, named)
        assert torch.allclose(taught[:, :-1], wanted, atol=2e-2)  # they are kept in 16 bits


def test_lessons_are_taken_once(tmp_path: Path) -> None:
    first = take_lessons(make_model(1), EXAMPLES, tmp_path, Silent(), width=8, mark="a")
    again = take_lessons(make_model(2), EXAMPLES, tmp_path, Silent(), width=8, mark="a")
    other = take_lessons(make_model(2), EXAMPLES, tmp_path, Silent(), width=8, mark="b")
    words = [lessons.look_up([0], "cpu")[1] for lessons in (first, again, other)]
    assert torch.equal(words[0], words[1]) and not torch.equal(words[0], words[2])


@pytest.mark.parametrize("mix", [Mix(), Mix(beta=1.0), Mix(beta=0.5, temperature=2.0), Mix(answer_share=0.3), Mix(answer_share=1.0)])
def test_the_loss_of_a_batch_against_plain_torch(mix: Mix, tmp_path: Path) -> None:
    teacher, student = make_model(1), make_model(2)
    lessons = take_lessons(teacher, EXAMPLES, tmp_path, Silent(), temperature=mix.temperature, width=24)
    batch = lay_out(EXAMPLES, [2, 0, 1])
    loss = Distilled(teacher, EXAMPLES, lessons, mix, END)(student, batch)
    wanted = torch.zeros(())
    for example in EXAMPLES:
        ids = torch.tensor([[*example.prompt, *example.answer]])
        said, taught = (model(ids).logits[0, len(example.prompt) - 1 : -1] for model in (student, teacher))
        distance = divergence(torch.log_softmax(said / mix.temperature, -1), torch.log_softmax(taught / mix.temperature, -1), mix.beta)
        answer = torch.nn.functional.cross_entropy(said, torch.tensor(example.answer), reduction="sum")
        wanted = wanted + mix.answer_share * answer + (1 - mix.answer_share) * mix.temperature**2 * distance.sum()
    assert torch.allclose(loss, wanted, rtol=2e-2)
    if mix.answer_share == 1.0:
        assert torch.allclose(loss, answer_loss(student, batch), rtol=1e-5)


def test_a_student_like_its_teacher_has_nothing_to_learn(tmp_path: Path) -> None:
    teacher = make_model(1)
    lessons = take_lessons(teacher, EXAMPLES, tmp_path, Silent(), width=24)
    for mix in (Mix(), Mix(beta=0.5), Mix(on_policy=1.0)):
        loss = Distilled(teacher, EXAMPLES, lessons, mix, END)(teacher, lay_out(EXAMPLES, [0, 1, 2]))
        assert abs(float(loss.detach())) < 1e-2


def test_on_policy_the_teacher_scores_what_the_student_says(tmp_path: Path) -> None:
    teacher, student = make_model(1), make_model(2)
    lessons = take_lessons(teacher, EXAMPLES, tmp_path, Silent())
    batch = lay_out(EXAMPLES, [0, 1])
    torch.manual_seed(7)
    loss = Distilled(teacher, EXAMPLES, lessons, Mix(on_policy=1.0, beta=1.0, most_new_tokens=4), END)(student, batch)
    torch.manual_seed(7)
    torch.rand(())
    made = sample(student, [example.prompt for example in EXAMPLES[:2]], END, 4)
    said, taught = (torch.log_softmax(answer_logits(model, lay_out(made, [0, 1])), -1) for model in (student, teacher))
    assert torch.allclose(loss, divergence(said, taught, 1.0).mean() * len(batch.targets))
    loss.backward()
    assert student.get_input_embeddings().weight.grad is not None and teacher.get_input_embeddings().weight.grad is None


def test_samples_are_drawn_as_the_model_thinks() -> None:
    model = make_model(3)
    torch.manual_seed(1)
    made = sample(model, [(5, 6, 7), (9,)] * 400, END, 3)
    assert all(END not in example.answer[:-1] and 1 <= len(example.answer) <= 3 for example in made)
    for prompt in {example.prompt for example in made}:
        with torch.no_grad():
            wanted = torch.softmax(model(torch.tensor([prompt])).logits[0, -1], -1).numpy()
        drawn = np.bincount([example.answer[0] for example in made if example.prompt == prompt], minlength=24) / 400
        assert np.abs(drawn - wanted).max() < 5 * math.sqrt(0.25 / 400)
        second = [example.answer[:2] for example in made if example.prompt == prompt and len(example.answer) > 1]
        likeliest = max(set(second), key=second.count)[0]
        with torch.no_grad():
            following = torch.softmax(model(torch.tensor([[*prompt, likeliest]])).logits[0, -1], -1).numpy()
        after = [answer[1] for answer in second if answer[0] == likeliest]
        assert np.abs(np.bincount(after, minlength=24) / len(after) - following).max() < 5 * math.sqrt(0.25 / len(after))


def test_lessons_belong_to_their_examples(tmp_path: Path) -> None:
    lessons: Lessons = take_lessons(make_model(1), EXAMPLES[:2], tmp_path, Silent())
    with pytest.raises(ValueError, match="2 lessons for 3 examples"):
        Distilled(make_model(1), EXAMPLES, lessons, Mix(), END)
