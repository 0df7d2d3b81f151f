"""Counting tokens: both forms of a caller's request, both platforms' calls, and the count on its way back."""

import json

import pytest

from shoal.core.conversation import Conversation, Message, Text, Tool
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.wire.gemini.counting import encode, read, tokens, write

ASKED = Conversation(model="m", messages=(Message("system", (Text("s"),)), Message("user", (Text("a"),))), tools=(Tool("f"),))
CONTENTS = [{"role": "user", "parts": [{"text": "a"}]}]


def test_both_forms_of_a_request() -> None:
    plain = read(json.dumps({"contents": CONTENTS}).encode(), "m")
    assert plain == read(json.dumps({"generateContentRequest": {"model": "models/m", "contents": CONTENTS}}).encode(), "m")
    assert plain.messages == (Message("user", (Text("a"),)),)


def test_ai_studio_counts_a_whole_request() -> None:
    call = encode(ASKED, Deployment("d", "m", "gemini", "gemini-2.5-pro"))
    assert call.path == "/models/gemini-2.5-pro:countTokens"
    inside = json.loads(call.body)["generateContentRequest"]
    assert inside == {
        "model": "models/gemini-2.5-pro",
        "contents": CONTENTS,
        "systemInstruction": {"role": "user", "parts": [{"text": "s"}]},
        "tools": [{"functionDeclarations": [{"name": "f"}]}],
    }


def test_vertex_counts_its_parts() -> None:
    body = json.loads(encode(ASKED, Deployment("d", "m", "vertex", "gemini-2.5-pro")).body)
    assert sorted(body) == ["contents", "systemInstruction", "tools"]


def test_the_count_comes_back() -> None:
    assert tokens(b'{"totalTokens": 31, "promptTokensDetails": []}') == 31
    assert json.loads(write(31, b'{"attempts":1}')) == {"totalTokens": 31, "shoal": {"attempts": 1}}
    with pytest.raises(Fault) as caught:
        tokens(b"{}")
    assert caught.value.kind == "upstream_garbled"
