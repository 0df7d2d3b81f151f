import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from shoal.distil.vocabulary import trim
from shoal.mini.tokens import build_tokenizer, find_stop_tokens, list_token_bytes

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SAID = "the theatre is there, then they went with the weather to wetter places; a tether, a feather, 42 others and the rest of them"


def learn(pre: str) -> dict[str, Any]:
    """Metadata of a real byte-pair tokenizer, learnt from one sentence."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=360, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([SAID] * 3, trainer)
    names = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    return {
        "general.architecture": "llama",
        "llama.vocab_size": len(names),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": names,
        "tokenizer.ggml.token_type": [3 if name in SPECIAL else 1 for name in names],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": names.index("e"),
    }


FIELDS = {pre: learn(pre) for pre in ("smollm", "llama-bpe")}
WORDS = st.lists(st.sampled_from([*SAID.split(), "ether", "wether", "é", "<|im_end|>", "\n", "7"]), max_size=8).map(" ".join)


def count(fields: dict[str, Any], texts: list[str]) -> Counter[int]:
    """How often each token comes up in `texts`."""
    tokenizer = build_tokenizer(fields)
    return Counter(i for text in texts for i in tokenizer.encode(text, add_special_tokens=False).ids)


@pytest.mark.parametrize("pre", FIELDS)
@given(seen=st.lists(WORDS, max_size=4), unseen=WORDS, sizes=st.tuples(st.integers(0, 360), st.none() | st.integers(260, 360)))
def test_texts_whose_pieces_are_kept_are_cut_into_the_same_pieces(
    pre: str, seen: list[str], unseen: str, sizes: tuple[int, int | None]
) -> None:
    fields = FIELDS[pre]
    trimmed = trim(fields, count(fields, seen), *sizes)
    before, after = build_tokenizer(fields), build_tokenizer(trimmed.fields)
    if sizes[1] is not None:
        assert len(trimmed.kept) <= max(*sizes, len(SPECIAL) + 256)
    for text in [*seen, unseen]:
        whole = before.encode(text, add_special_tokens=False).ids
        if (text in seen and sizes[1] is None) or set(whole) <= set(trimmed.kept):
            assert [trimmed.kept[new] for new in after.encode(text, add_special_tokens=False).ids] == whole


@pytest.mark.parametrize("pre", FIELDS)
@given(seen=WORDS, other=st.text(max_size=20))
def test_any_other_text_can_still_be_said(pre: str, seen: str, other: str) -> None:
    tokenizer = build_tokenizer(trim(FIELDS[pre], count(FIELDS[pre], [seen])).fields)
    table = list_token_bytes(tokenizer)
    plain = other.replace("<|", "")
    assert b"".join(table[i] for i in tokenizer.encode(plain, add_special_tokens=False).ids) == plain.encode()


def test_what_is_rare_goes_first_and_what_was_learnt_first_fills_up() -> None:
    fields = FIELDS["smollm"]
    names = fields["tokenizer.ggml.tokens"]
    bare = len(trim(fields, {}).kept)
    assert bare == 256 + len(SPECIAL)
    often = {names[i] for i in trim(fields, count(fields, ["the,the,the weather"]), most=bare + 2).kept}
    assert {"th", "the"} <= often and len(often) == bare + 2
    filled = trim(fields, {}, least=bare + 5)
    assert {names[i] for i in filled.kept[bare:]} == {merge.replace(" ", "") for merge in fields["tokenizer.ggml.merges"][:5]}


def test_numbers_of_special_tokens_follow() -> None:
    names = FIELDS["smollm"]["tokenizer.ggml.tokens"]
    trimmed = trim(FIELDS["smollm"] | {"tokenizer.ggml.scores": [float(i) for i in range(len(names))]}, {names.index("the"): 1})
    fields = trimmed.fields
    names = fields["tokenizer.ggml.tokens"]
    assert names[fields["tokenizer.ggml.eos_token_id"]] == "<|im_end|>" and names[fields["tokenizer.ggml.padding_token_id"]] == "e"
    assert {names[i] for i in find_stop_tokens(fields)} == {"<|endoftext|>", "<|im_end|>"}
    assert fields["llama.vocab_size"] == len(names) == len(fields["tokenizer.ggml.token_type"])
    assert fields["tokenizer.ggml.scores"] == [float(i) for i in trimmed.kept]
