"""tokens.py: ids as the model's makers make them, bytes exact."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.mini.gguf import open_gguf, read_fields
from shoal.mini.tokens import TokenTable, UnknownTokenizer, build_tokenizer, find_stop_tokens
from tiny_gguf import SPECIAL, list_tokens, write_tiny


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("tokens") / "tiny.gguf"
    write_tiny(path)
    return read_fields(open_gguf(path))


@pytest.fixture(scope="module")
def table(fields: dict, tmp_path_factory: pytest.TempPathFactory) -> TokenTable:
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    build_tokenizer(fields).save(str(path))
    return TokenTable(path)


@given(st.text())
def test_any_text_comes_back(table: TokenTable, text: str) -> None:
    ids = table.encode(text)
    if not any(name in text for name in SPECIAL):
        assert table.decode_bytes(ids) == text.encode()


def test_merges_are_used(table: TokenTable) -> None:
    names = list_tokens()
    assert [names[i] for i in table.encode("hello world")] == ["hello", "Ġwor", "ld"]


def test_digits_stand_apart(table: TokenTable) -> None:
    assert len(table.encode("1234")) == 4


def test_special_tokens_are_recognised_and_give_no_bytes(table: TokenTable) -> None:
    ids = table.encode("<|im_start|>hello<|im_end|>")
    assert ids[0] == 1
    assert ids[-1] == 2
    assert table.decode_bytes(ids) == b"hello"
    assert list(table.special_tokens) == sorted(SPECIAL)
    assert table.size == len(list_tokens())


def test_a_token_may_end_inside_a_character(table: TokenTable) -> None:
    ids = table.encode("é")
    assert [table.decode_bytes([i]) for i in ids] == [b"\xc3", b"\xa9"]


def test_ids_outside_the_vocabulary_give_no_bytes(table: TokenTable) -> None:
    assert table.decode_bytes([10**6]) == b""


def test_stop_tokens_are_the_named_ones_and_their_like(fields: dict) -> None:
    assert find_stop_tokens(fields) == (0, 2)


def test_an_unknown_family_is_named(fields: dict) -> None:
    with pytest.raises(UnknownTokenizer, match="'martian'"):
        build_tokenizer({**fields, "tokenizer.ggml.pre": "martian"})
    with pytest.raises(UnknownTokenizer, match="'llama'"):
        build_tokenizer({**fields, "tokenizer.ggml.model": "llama"})


def test_saved_table_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="No such file"):
        TokenTable(tmp_path / "tokenizer.json")
