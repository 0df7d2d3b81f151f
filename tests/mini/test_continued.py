"""Going on from a given beginning: what the engine is shown, what the caller gets, and what is refused by name."""

import pytest
from scripted import ScriptedEngine, serving

CHAT = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Once upon"}]
GO_ON = {"continue_final_message": True, "add_generation_prompt": False}


def _chat(**more):
    return {"model": "minnow", "messages": TURNS} | GO_ON | more


async def test_the_last_message_is_gone_on_with(tmp_path):
    shown = []
    engine = ScriptedEngine(lambda prompt, sampling: shown.append(prompt) or " a time.")
    async with serving(tmp_path, engine) as client:
        status, headers, answer = await client.ask(CHAT, _chat())
        assert (status, answer["choices"][0]["message"]["content"]) == (200, " a time.")
        assert "x-minnow-dropped" not in headers
        events = await client.stream(CHAT, _chat())
        assert "".join(e["choices"][0]["delta"].get("content") or "" for e in events[:-1] if e["choices"]) == " a time."
    assert [prompt.endswith("[[<|im_start|>]]assistant\nOnce upon") for prompt in shown] == [True, True]


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"add_generation_prompt": None}, "add_generation_prompt"),
        ({"add_generation_prompt": True}, "add_generation_prompt"),
        ({"continue_final_message": False}, "add_generation_prompt"),
        ({"messages": TURNS[:1]}, "messages"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ],
)
async def test_what_cannot_be_gone_on_with_is_refused_by_name(tmp_path, more, param):
    async with serving(tmp_path, ScriptedEngine()) as client:
        status, _, answer = await client.ask(CHAT, _chat(**more))
        assert (status, answer["error"]["param"]) == (400, param)
