"""What may teach: terms of providers, licences of open weights, overrides; and that what is not known may not."""

import msgspec
import pytest

from shoal.distil.licences import Override, decide, read_licences
from shoal.providers.abilities import matches
from shoal.providers.row import read_rows

MINE = Override(("openai/gpt-4o*",), "we have this in writing from our account manager")


@pytest.mark.parametrize(
    ("provider", "model", "kind", "allowed"),
    [
        ("minnow", "minnow", "text", True),
        ("minnow", "ft:minnow:org:name:1", "text", False),
        ("openai", "gpt-4o", "label", True),
        ("openai", "openai/gpt-4o", "label", True),
        ("openai", "gpt-4o", "text", False),
        ("anthropic", "claude-sonnet-4-5", "label", False),
        ("deepseek", "deepseek-chat", "text", True),
        ("ollama", "llama3:8b", "text", False),
        ("ollama", "llama3.1:8b", "text", True),
        ("ollama", "qwen2.5:7b", "text", True),
        ("ollama", "qwen2.5:72b", "text", False),
        ("vllm", "meta-llama/Llama-3.3-70B-Instruct", "json", True),
        ("vllm", "a-model-of-nobody", "text", False),
        ("groq", "llama-3.3-70b-versatile", "label", False),  # a host whose terms are not known
        ("up", "gpt-4o", "label", False),
    ],
)
def test_terms_decide(provider: str, model: str, kind: str, allowed: bool) -> None:
    decision = decide(provider, model, kind)  # type: ignore[arg-type]
    assert decision.allowed is allowed
    assert decision.rule.startswith(("licence: ",) if allowed else ("licence refuses", "not known"))


def test_a_rule_names_the_terms_it_rests_on() -> None:
    assert "https://openai.com/policies/" in decide("openai", "gpt-4o", "label").rule


def test_an_override_is_recorded_with_its_reason_and_holds_for_what_it_names_alone() -> None:
    assert decide("openai", "gpt-4o-mini", "text", [MINE]).rule == f"override: {MINE.reason}"
    assert not decide("openai", "o3", "text", [MINE]).allowed
    assert not decide("azure", "gpt-4o", "text", [MINE]).allowed


def test_an_override_must_say_why() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"match": ["openai/*"], "reason": "because"}, Override)


def test_every_entry_can_be_read_up_and_names_a_known_provider() -> None:
    known = {*read_rows(), "minnow"}
    for provider in read_licences().providers:
        assert all(any(matches(name, [glob]) for name in known) for glob in provider.match)
        assert provider.leaves or (provider.terms.startswith("https://") and provider.says)
    assert all(family.terms.startswith("https://") and family.says for family in read_licences().families)
