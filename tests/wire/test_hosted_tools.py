"""Tools that an upstream runs itself reach the one that runs them, and no other."""

import json
from typing import Any

import pytest

from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire import dialects
from shoal.wire.anthropic import dialect as anthropic
from shoal.wire.gemini import dialect as gemini
from shoal.wire.openai_chat import dialect as openai_chat

FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
CLAUDE, GEMINI = "claude-sonnet-4-6", "gemini-2.5-flash"


def chat(*tools: Any, **members: Any) -> Conversation:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **({"tools": tools} if tools else {}), **members}
    return openai_chat.CALLER.read(json.dumps(body).encode())


def call(conversation: Conversation, dialect: str, model: str) -> HttpCall:
    return dialects.UPSTREAMS[dialect].encode(conversation, Deployment("d", "m", dialect, model, dialect=dialect))


def sent(conversation: Conversation, dialect: str, model: str) -> Any:
    return json.loads(call(conversation, dialect, model).body)


def test_anthropics_own_are_offered_beside_functions() -> None:
    said = sent(chat(SEARCH, FUNCTION, tool_choice="auto"), "anthropic", CLAUDE)
    assert [tool["name"] for tool in said["tools"]] == ["f", "web_search"]
    assert said["tools"][1] == SEARCH
    assert said["tool_choice"] == {"type": "auto"}
    assert sent(chat(SEARCH, tool_choice="required"), "anthropic", CLAUDE)["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize(
    ("tool", "beta"),
    [
        ({"type": "code_execution_20250825", "name": "code_execution"}, "code-execution-2025-08-25"),
        ({"type": "web_fetch_20250910", "name": "web_fetch"}, "web-fetch-2025-09-10"),
        (SEARCH, None),
        ({"type": "code_execution_20260120", "name": "code_execution"}, None),
    ],
)
def test_a_tool_in_beta_is_announced(tool: Any, beta: str | None) -> None:
    assert dict(call(chat(tool), "anthropic", CLAUDE).headers).get("anthropic-beta") == beta


def test_compaction_is_announced() -> None:
    edits = {"edits": [{"type": "compact_20260112"}]}
    headers = dict(call(chat(context_management=edits), "anthropic", CLAUDE).headers)
    assert headers["anthropic-beta"] == "context-management-2025-06-27,compact-2026-01-12"


def test_googles_own_are_offered_beside_functions() -> None:
    said = sent(chat({"googleSearch": {}}, FUNCTION, {"url_context": {}}), "gemini", GEMINI)
    assert said["tools"] == [
        {"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]},
        {"googleSearch": {}},
        {"url_context": {}},
    ]


def test_openais_search_is_each_makers_own() -> None:
    place = {"type": "approximate", "approximate": {"city": "Oslo", "country": "NO"}}
    asked = chat(web_search_options={"search_context_size": "high", "user_location": place})
    made = call(asked, "anthropic", CLAUDE)
    assert json.loads(made.body)["tools"] == [
        {"type": "web_search_20250305", "name": "web_search", "user_location": {"type": "approximate", "city": "Oslo", "country": "NO"}}
    ]
    assert made.dropped == ("web_search_options.search_context_size",)
    assert sent(asked, "gemini", GEMINI)["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize(
    ("dialect", "model", "tool"),
    [
        ("openai_chat", "gpt-5", SEARCH),
        ("openai_responses", "gpt-5", SEARCH),
        ("gemini", GEMINI, SEARCH),
        ("bedrock", "us.anthropic.claude-sonnet-4-6", SEARCH),
        ("cohere", "command-a-03-2025", SEARCH),
        ("anthropic", CLAUDE, {"googleSearch": {}}),
        ("anthropic", CLAUDE, {"type": "custom", "custom": {"name": "x"}}),
    ],
)
def test_who_does_not_run_it_refuses_it_by_its_place(dialect: str, model: str, tool: Any) -> None:
    with pytest.raises(Fault) as caught:
        call(chat(FUNCTION, tool), dialect, model)
    assert (caught.value.kind, caught.value.param) == ("unsupported_parameter", "tools[1]")


def test_makers_callers_name_them_too() -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "tools": [SEARCH]}
    asked = anthropic.CALLER.read(json.dumps(body).encode())
    assert sent(asked, "anthropic", CLAUDE)["tools"] == [SEARCH]
    with pytest.raises(Fault) as caught:
        call(asked, "gemini", GEMINI)
    assert caught.value.param == "tools[0]"
    google = {"contents": [{"parts": [{"text": "hi"}]}], "tools": [{"google_search": {}, "functionDeclarations": [{"name": "f"}]}]}
    asked = gemini.CALLER.read_at(json.dumps(google).encode(), "m", stream=False)
    assert sent(asked, "gemini", GEMINI)["tools"] == [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]
    with pytest.raises(Fault) as caught:
        call(asked, "anthropic", CLAUDE)
    assert caught.value.param == "tools[0].googleSearch"
