"""Extensions of callers, forwarded: each provider is told in its own way, or not at all, and every other byte stays."""

import json
from typing import Any

import msgspec
import pytest

from shoal.core.chat import ChatFields, read_request
from shoal.core.models import Deployment
from shoal.wire.openai_chat.dialect import FORWARD
from shoal.wire.openai_chat.manners import MANNERS

DECODER = msgspec.json.Decoder(ChatFields)
USER = {"role": "user", "content": "x"}


def send(provider: str, **asked: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What a provider gets of a request, but for the model and the least of messages, and what is lost."""
    body = {"model": "m", "messages": [USER], **asked}
    call = FORWARD.encode(read_request(json.dumps(body).encode(), DECODER), Deployment("d", "m", provider, "m"))
    sent = json.loads(call.body)
    least = {"model": "m", "messages": [USER]}
    return {name: value for name, value in sent.items() if least.get(name) != value}, call.dropped


EFFORTS = [
    ("openai", {"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
    ("openai", {"reasoning": {"max_tokens": 1000}}, {"reasoning_effort": "low"}),
    ("openai", {"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
    ("openai", {"thinking": {"type": "enabled", "budget_tokens": 9000}, "reasoning_effort": "low"}, {"reasoning_effort": "low"}),
    ("openai", {"reasoning": None}, {}),
    ("groq", {"reasoning": {"enabled": True}}, {"reasoning_effort": "medium"}),
    ("deepseek", {"reasoning": {"effort": "high"}}, {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
    ("deepseek", {"thinking": {"type": "enabled"}}, {"thinking": {"type": "enabled"}}),
    ("zai", {"thinking": {"clear_thinking": False}}, {"thinking": {"clear_thinking": False}}),
    ("moonshot", {"reasoning": {"enabled": False}}, {"thinking": {"type": "disabled"}}),
    ("dashscope", {"thinking": {"type": "enabled", "budget_tokens": 50}}, {"enable_thinking": True, "thinking_budget": 50}),
    ("openrouter", {"thinking": {"type": "enabled", "budget_tokens": 50}}, {"reasoning": {"max_tokens": 50}}),
    ("openrouter", {"reasoning": {"effort": "high", "enabled": True}}, {"reasoning": {"effort": "high", "enabled": True}}),
    ("house", {"reasoning": {"effort": "high"}}, {"reasoning": {"effort": "high"}}),  # nothing is known of it
]


@pytest.mark.parametrize(("provider", "asked", "sent"), EFFORTS)
def test_how_much_to_think(provider: str, asked: dict[str, Any], sent: dict[str, Any]) -> None:
    assert send(provider, **asked) == (sent, ())


def test_what_has_no_word_is_listed() -> None:
    cached = {"type": "ephemeral"}
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"properties": {"reasoning": {}, "top_k": {}, "cache_control": {}}}},
    }
    asked = {
        "top_k": 5,
        "tools": [tool | {"cache_control": cached}, tool],
        "messages": [{"role": "user", "content": [{"type": "text", "text": '"top_k"', "cache_control": cached}]}, USER],
    }
    sent, dropped = send("openai", **asked)
    assert sent == {"tools": [tool, tool], "messages": [{"role": "user", "content": [{"type": "text", "text": '"top_k"'}]}, USER]}
    assert dropped == ("cache_control", "top_k")
    assert send("openrouter", **asked) == (asked, ())


CALLS = [{"id": "abcdef123", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
SIGNED = [CALLS[0] | {"extra_content": {"google": {"thought_signature": "s"}}}]
DETAILS = [{"type": "reasoning.text", "text": "T", "signature": "s", "format": "anthropic-claude-v1", "index": 0}]
ANSWERED = {"role": "assistant", "content": "a", "refusal": None, "annotations": [], "reasoning_content": "T", "reasoning_details": DETAILS}
"""An answer of this gateway, as callers return it."""
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "T"}]}
TURNS = [
    ("openai", ANSWERED, {"content": "a", "refusal": None, "annotations": []}),
    ("groq", ANSWERED, {"content": "a"}),
    ("cerebras", ANSWERED, {"content": "a", "reasoning": "T"}),
    ("mistral", ANSWERED, {"content": [THOUGHT, {"type": "text", "text": "a"}]}),
    ("mistral", ANSWERED | {"content": [{"type": "text", "text": "a"}]}, {"content": [THOUGHT, {"type": "text", "text": "a"}]}),
    ("mistral", {"content": None, "reasoning": "T", "tool_calls": SIGNED}, {"content": [THOUGHT], "tool_calls": CALLS}),
    ("deepseek", {"content": "a", "reasoning": "T", "reasoning_details": DETAILS}, {"content": "a", "reasoning_content": "T"}),
    ("deepseek", {"content": None, "reasoning_content": "", "tool_calls": CALLS}, None),
    ("moonshot", {"content": "a", "reasoning_content": "T"}, None),
    ("openrouter", ANSWERED, None),
    ("house", ANSWERED, None),
    ("cerebras", {"content": "a", "reasoning": "T"}, None),
    ("groq", {"content": None, "refusal": "No."}, {"content": "No."}),
    ("openai", {"content": None, "refusal": "No."}, None),
    ("openai", {"content": "a", "tool_calls": SIGNED}, {"content": "a", "tool_calls": CALLS}),
]


@pytest.mark.parametrize(("provider", "said", "told"), TURNS)
def test_earlier_answers(provider: str, said: dict[str, Any], told: dict[str, Any] | None) -> None:
    message = {"role": "assistant", **said}
    sent, _ = send(provider, messages=[USER, message, USER])
    assert sent == {"messages": [USER, message if told is None else {"role": "assistant", **told}, USER]}


def test_ids_of_calls_have_nine_characters_where_they_must() -> None:
    call = {"id": "call_of_another", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [{"role": "assistant", "tool_calls": [call, CALLS[0]]}]
    turns += [{"role": "tool", "tool_call_id": id, "content": "1"} for id in ("call_of_another", "abcdef123")]
    sent, _ = send("mistral", messages=turns)
    calls, *answers = sent["messages"]
    ids = [one["id"] for one in calls["tool_calls"]]
    assert ids == [one["tool_call_id"] for one in answers]
    assert (len(ids[0]), ids[1]) == (9, "abcdef123")
    assert send("mistral", messages=turns[:1] * 2)[0]["messages"][0] == calls
    assert send("openai", messages=turns) == ({"messages": turns}, ())


def test_developers_are_the_system_where_they_are_not_known() -> None:
    turns = [{"role": "developer", "content": "be brief"}, USER]
    for provider in ("mistral", "deepseek", "moonshot", "zai", "dashscope"):
        assert send(provider, messages=turns)[0]["messages"] == [turns[0] | {"role": "system"}, USER]
    assert send("openai", messages=turns)[0]["messages"] == turns


def test_a_request_without_extensions_keeps_its_bytes() -> None:
    body = b'{"model":"m",  "messages":[{"role":"user","content":"\\"reasoning\\""}],"tools":[{"reasoning":1}],"x":1.0}'
    for provider in MANNERS:
        call = FORWARD.encode(read_request(body, DECODER), Deployment("d", "m", provider, "m"))
        assert call.body == body
        assert call.dropped == ()


@pytest.mark.parametrize(
    "asked",
    [
        {"reasoning": 1},
        {"messages": [{"role": "assistant", "content": 1, "reasoning_content": "T"}]},
        {"messages": [{"role": "assistant", "reasoning_content": {}}]},
        {"messages": ["reasoning_content", {"reasoning_content": 1}]},
        {"tools": [{"cache_control": 1, "a": [[]]}, 1, "cache_control"]},
    ],
)
def test_what_cannot_be_read_is_left_to_the_provider(asked: dict[str, Any]) -> None:
    sent, _ = send("mistral", **asked)
    assert sent == asked
