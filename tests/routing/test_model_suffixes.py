"""What a model's name says, and which deployments it means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.models import Deployment
from shoal.routing.names import is_named, is_of_provider, split_suffix


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5:floor", ("gpt-5", "floor")),
        ("openai/gpt-5:nitro", ("openai/gpt-5", "nitro")),
        ("a/b:free", ("a/b", "free")),
        ("llama3:8b:floor", ("llama3:8b", "floor")),
        ("llama3:latest", ("llama3:latest", None)),
        ("anthropic.claude-3-5-sonnet-20241022-v2:0", ("anthropic.claude-3-5-sonnet-20241022-v2:0", None)),
        ("gpt-5:FLOOR", ("gpt-5:FLOOR", None)),
        ("gpt-5:floor:", ("gpt-5:floor:", None)),
        (":floor", (":floor", None)),
        ("floor", ("floor", None)),
        ("openrouter/x/y:free", ("openrouter/x/y:free", None)),
    ],
)
def test_only_known_words_are_suffixes(model: str, expected: tuple[str, str | None]) -> None:
    assert split_suffix(model, {"openrouter/x/y:free"}) == expected


@given(st.text())
def test_nothing_of_a_name_is_lost(model: str) -> None:
    name, suffix = split_suffix(model)
    assert model == (f"{name}:{suffix}" if suffix else name)


def test_the_names_of_a_deployment() -> None:
    one = Deployment("east", "gpt-5", "azure", "my-gpt-5", region="eastus", quantization="FP8")
    for name in ("east", "gpt-5", "azure", "azure/gpt-5", "azure/my-gpt-5"):
        assert is_named(one, ("x", name))
    assert not is_named(one, ("my-gpt-5", "azure/x", ""))
    for name in ("azure", "Azure", "azure/EastUS", "azure/fp8", "EAST"):
        assert is_of_provider(one, name)
    assert not any(is_of_provider(one, name) for name in ("azure/westus", "gpt-5", "", "azure/"))


def test_an_exact_name_may_end_in_free() -> None:
    assert split_suffix("openrouter/google/gemini-2.0-flash-exp:free") == ("openrouter/google/gemini-2.0-flash-exp:free", None)
    assert split_suffix("google/gemini-2.0-flash-exp:free") == ("google/gemini-2.0-flash-exp", "free")
    assert split_suffix("openrouter/google/gemini-2.0-flash-exp:floor") == ("openrouter/google/gemini-2.0-flash-exp", "floor")
