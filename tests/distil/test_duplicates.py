"""Near-duplicates: what is grouped, what is not, and that order does not matter."""

import random
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.distil.duplicates import Likeness

WORDS = ["river", "stone", "market", "window", "garden", "letter", "engine", "winter", "copper", "signal", "orchard", "harbour", "candle"]
FRAME = "You are a patient clerk at a bank. Answer with the one intent that fits the customer's words best, and nothing else.\nCustomer: "


def group(texts: list[str], least: float = 0.8) -> list[int]:
    return Likeness(texts).group(least)


def story(seed: int, words: int = 40) -> str:
    dice = random.Random(seed)
    return " ".join(dice.choice(WORDS) + str(dice.randrange(50)) for _ in range(words))


def sets(numbers: list[int]) -> set[frozenset[int]]:
    return {frozenset(at for at, number in enumerate(numbers) if number == one) for one in numbers}


def test_equal_to_a_reader_is_a_group() -> None:
    assert sets(group(["Where is my card?", "where is  my CARD", "Where is your card?"])) == {frozenset({0, 1}), frozenset({2})}


def test_a_changed_word_in_a_long_text_is_a_near_duplicate_and_another_text_is_not() -> None:
    text = story(1)
    assert sets(group([text, text.replace(text.split()[7], "elsewhere"), story(2)])) == {frozenset({0, 1}), frozenset({2})}


def test_a_frame_that_all_share_makes_nothing_alike() -> None:
    texts = [FRAME + story(seed, 8) for seed in range(60)]
    assert len(sets(group(texts))) == 60
    assert len(sets(group([*texts, FRAME + story(3, 8) + "?"]))) == 60


def test_short_texts_are_themselves() -> None:
    assert len(sets(group(["a", "b", "", "yes", "no", "yes!"]))) == 5


def test_only_equals_count_where_nothing_near_is_wanted() -> None:
    text = story(1)
    assert len(sets(group([text, text + " x", text.upper()], least=1.0))) == 2


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 39)), max_size=25), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_order(drawn: list[tuple[int, int]], dice: random.Random) -> None:
    texts = []
    for seed, place in drawn:
        words = story(seed).split()
        words[place] = "other"
        texts.append(" ".join(words))
    order = list(range(len(texts)))
    dice.shuffle(order)
    shuffled = group([texts[at] for at in order])
    assert sets(group(texts)) == {frozenset(order[at] for at in one) for one in sets(shuffled)}


def test_surrogates_and_long_texts_pass() -> None:
    long = story(5, 30_000)
    assert sets(group(["\ud800 lone", long, long + " end"])) == {frozenset({0}), frozenset({1, 2})}


def test_thousands_take_seconds() -> None:
    texts = [story(seed, 30) for seed in range(3000)]
    began = time.process_time()
    assert len(sets(group(texts))) == 3000
    assert time.process_time() - began < 30
