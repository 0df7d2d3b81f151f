"""Answers over a real socket, from a scripted engine: whole and streamed they say the same; who leaves frees their slot."""

import asyncio
import json

import pytest
from scripted import CAN, ScriptedEngine, serving, until

from shoal.mini.engine import Piece

CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "Hi"}
ADD = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD}},
    {"type": "function", "function": {"name": "now"}},
]


def _chat(**more):
    return {"model": "minnow", "messages": [USER]} | more


def _say(text):
    return lambda prompt, sampling: text


def _fold(events):
    """A stream's choices as a whole answer has them, after checking the events' form."""
    assert events[-1] == "[DONE]"
    choices = {}
    for event in events[:-1]:
        assert event["object"] == "chat.completion.chunk"
        assert {e["id"] for e in events[:-1]} == {event["id"]}
        for part in event["choices"]:
            first = part["index"] not in choices
            choice = choices.setdefault(part["index"], {"content": None, "calls": {}, "logprobs": [], "finish_reason": None})
            assert choice["finish_reason"] is None
            delta = part["delta"]
            assert (delta.pop("role", None) == "assistant") == first
            delta.pop("refusal", None)
            content = delta.pop("content", None)
            if content is not None:
                choice["content"] = (choice["content"] or "") + content
            for call in delta.pop("tool_calls", []):
                whole = choice["calls"].setdefault(call["index"], {"name": call["function"].get("name"), "arguments": ""})
                assert ("id" in call) == ("name" in call["function"]) == (whole["arguments"] == "")
                whole["arguments"] += call["function"]["arguments"]
            assert delta == {}
            choice["logprobs"] += (part["logprobs"] or {}).get("content", [])
            choice["finish_reason"] = part["finish_reason"]
    return [choices[i] for i in sorted(choices)]


def _unfold(answer):
    """A whole answer's choices, in the same shape."""
    out = []
    for choice in answer["choices"]:
        message = choice["message"]
        calls = {i: call["function"] for i, call in enumerate(message.get("tool_calls", []))}
        logprobs = (choice["logprobs"] or {}).get("content", [])
        out.append({"content": message["content"], "calls": calls, "logprobs": logprobs, "finish_reason": choice["finish_reason"]})
    return out


async def _both(tmp_path, engine, body):
    """The choices of an answer, asked for whole and as a stream, which must agree."""
    async with serving(tmp_path, engine) as client:
        status, _, answer = await client.ask(CHAT, body)
        assert status == 200, answer
        assert answer["object"] == "chat.completion"
        options = {"stream_options": {"include_usage": True}}
        events = await client.stream(CHAT, body | options)
        assert events[-2]["choices"] == []
        assert events[-2]["usage"] == answer["usage"]
        assert all(event["usage"] is None for event in events[:-2])
        whole, streamed = _unfold(answer), _fold(events)
        for a, b in zip(whole, streamed, strict=True):
            assert (a["content"] or "", a["calls"], a["logprobs"], a["finish_reason"]) == (
                b["content"] or "",
                b["calls"],
                b["logprobs"],
                b["finish_reason"],
            )
        without = await client.stream(CHAT, body)
        assert all("usage" not in event for event in without[:-1])
        return whole, answer


async def test_text_with_characters_of_several_bytes(tmp_path):
    choices, answer = await _both(tmp_path, ScriptedEngine(_say("Fisch: 🐟, né à 東京\0")), _chat())
    assert choices[0]["content"] == "Fisch: 🐟, né à 東京\0"
    assert choices[0]["finish_reason"] == "stop"
    prompt = len("xuser\nHix\nxassistant\n")
    said = len("Fisch: 🐟, né à 東京\0".encode())
    assert answer["usage"] == {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}
    assert answer["model"] == "minnow"
    assert answer["system_fingerprint"].startswith("fp_")


async def test_cached_tokens_are_told_if_the_engine_counts_them(tmp_path):
    engine = ScriptedEngine()
    engine.cached_tokens = 5
    _, answer = await _both(tmp_path, engine, _chat())
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 5}


async def test_a_limit_cuts_and_an_incomplete_character_shows_as_such(tmp_path):
    choices, answer = await _both(tmp_path, ScriptedEngine(_say("ab🐟")), _chat(max_tokens=9, max_completion_tokens=4))
    assert (choices[0]["content"], choices[0]["finish_reason"]) == ("ab�", "length")
    assert answer["usage"]["completion_tokens"] == 4


async def test_without_a_limit_the_context_is_the_limit(tmp_path):
    engine = ScriptedEngine()
    await _both(tmp_path, engine, _chat())
    assert {run.sampling.max_tokens for run in engine.runs} == {CAN.context_tokens - len("xuser\nHix\nxassistant\n")}


async def test_stops_end_the_run_at_once(tmp_path):
    engine = ScriptedEngine(_say("one STOP two"))
    choices, answer = await _both(tmp_path, engine, _chat(stop=["STOP", "never"]))
    assert (choices[0]["content"], choices[0]["finish_reason"]) == ("one ", "stop")
    assert answer["usage"]["completion_tokens"] == len("one STOP")
    assert all(run.cancelled for run in engine.runs)


async def test_a_stop_in_the_last_piece_counts_as_a_stop(tmp_path):
    choices, _ = await _both(tmp_path, ScriptedEngine(_say("oneX")), _chat(stop="X", max_tokens=4))
    assert (choices[0]["content"], choices[0]["finish_reason"]) == ("one", "stop")


async def test_several_choices(tmp_path):
    texts = iter(["first", "the second", "", "first", "the second", "", "first", "the second", ""])
    choices, answer = await _both(tmp_path, ScriptedEngine(lambda prompt, sampling: next(texts)), _chat(n=3))
    assert [choice["content"] for choice in choices] == ["first", "the second", ""]
    assert answer["usage"]["completion_tokens"] == 15
    assert answer["usage"]["prompt_tokens"] == len("xuser\nHix\nxassistant\n")


async def test_logprobs_of_the_chosen_tokens(tmp_path):
    choices, _ = await _both(tmp_path, ScriptedEngine(_say("aé")), _chat(logprobs=True, top_logprobs=0))
    assert choices[0]["logprobs"] == [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []},
        {"token": "�", "logprob": -0.5, "bytes": [0xC3], "top_logprobs": []},
        {"token": "�", "logprob": -0.5, "bytes": [0xA9], "top_logprobs": []},
    ]


async def test_how_tokens_are_chosen(tmp_path):
    engine = ScriptedEngine()
    body = _chat(temperature=0.3, top_p=0.9, seed=7, presence_penalty=1, frequency_penalty=-1, max_tokens=5)
    await _both(tmp_path, engine, body)
    sampling = engine.runs[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed) == (0.3, 0.9, 7)
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.max_tokens) == (1, -1, 5)
    async with serving(tmp_path, engine) as client:
        await client.ask(CHAT, _chat(top_p=0))
    assert engine.runs[-1].sampling.temperature == 0


async def test_roles_and_parts_become_turns(tmp_path):
    prompts = []
    engine = ScriptedEngine(lambda prompt, sampling: prompts.append(prompt) or "ok")
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "<|im_end|>"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
    ]
    await _both(tmp_path, engine, _chat(messages=messages))
    start, end = "[[<|im_start|>]]", "[[<|im_end|>]]\n"
    assert prompts[0] == (
        f"{start}system\nBe brief.{end}{start}user\na\n<|im_end|>{end}"
        f'{start}assistant\n<tool_call>[{{"name": "add", "arguments": {{}}}}]</tool_call>{end}'
        f"{start}user\n<tool_response>\n4\n</tool_response>{end}{start}assistant\nno{end}{start}assistant\n"
    )


async def test_templates_that_know_tools_get_them(tmp_path):
    prompts = []
    template = (
        "{{ tools | tojson }}{% for m in messages %}{{ m.role }}:{{ m.content }}{{ m.tool_calls | tojson if m.tool_calls }};{% endfor %}"
    )
    engine = ScriptedEngine(lambda prompt, sampling: prompts.append(prompt) or "ok", template=template)
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "4"}]
    await _both(tmp_path, engine, _chat(messages=messages, tools=TOOLS[:1]))
    function = TOOLS[0]["function"]
    assert prompts[0] == (
        json.dumps([{"type": "function", "function": function}])
        + 'user:Hi;assistant:[{"type": "function", "id": "c1", "function": {"name": "add", "arguments": {"a": 1}}}];tool:4;'
    )


async def test_a_call_the_model_chose(tmp_path):
    prompts = []
    said = 'I will add. <tool_call>[{"name": "add", "arguments": {"a": 1}}, {"name": "now", "arguments": {}}]</tool_call>'
    engine = ScriptedEngine(lambda prompt, sampling: prompts.append(prompt) or said)
    choices, _ = await _both(tmp_path, engine, _chat(tools=TOOLS))
    assert choices[0]["calls"] == {0: {"name": "add", "arguments": '{"a":1}'}, 1: {"name": "now", "arguments": "{}"}}
    assert (choices[0]["content"], choices[0]["finish_reason"]) == ("I will add. ", "tool_calls")
    assert '"name":"add"' in prompts[0]
    assert engine.checked == []


async def test_one_call_at_a_time(tmp_path):
    said = '<tool_call>[{"name": "add"}, {"name": "now"}]</tool_call>'
    choices, _ = await _both(tmp_path, ScriptedEngine(_say(said)), _chat(tools=TOOLS, parallel_tool_calls=False))
    assert choices[0]["calls"] == {0: {"name": "add", "arguments": "{}"}}
    assert choices[0]["content"] is None


@pytest.mark.parametrize("choice", ["auto", None])
async def test_no_call_is_plain_text(tmp_path, choice):
    choices, _ = await _both(
        tmp_path, ScriptedEngine(_say("a <b> <tool_call>[{oops}]</tool_call>")), _chat(tools=TOOLS, tool_choice=choice)
    )
    assert (choices[0]["content"], choices[0]["finish_reason"]) == ("a <b> <tool_call>[{oops}]</tool_call>", "stop")


async def test_tools_that_must_not_be_called_are_not_shown(tmp_path):
    prompts = []
    said = '<tool_call>[{"name": "add"}]</tool_call>'
    engine = ScriptedEngine(lambda prompt, sampling: prompts.append(prompt) or said)
    choices, _ = await _both(tmp_path, engine, _chat(tools=TOOLS, tool_choice="none"))
    assert choices[0]["content"] == said
    assert "add" not in prompts[0]


async def test_a_named_function_is_called(tmp_path):
    engine = ScriptedEngine(_say('{"a": 12}'))
    named = {"type": "function", "function": {"name": "add"}}
    choices, _ = await _both(tmp_path, engine, _chat(tools=TOOLS, tool_choice=named))
    assert choices[0]["calls"] == {0: {"name": "add", "arguments": '{"a": 12}'}}
    assert (choices[0]["content"], choices[0]["finish_reason"]) == (None, "stop")
    assert json.loads(engine.runs[0].sampling.json_schema) == ADD
    assert engine.checked[0] == engine.runs[0].sampling.json_schema


async def test_some_function_must_be_called(tmp_path):
    engine = ScriptedEngine(_say('{"name": "now", "arguments": {}}'))
    choices, _ = await _both(tmp_path, engine, _chat(tools=TOOLS, tool_choice="required"))
    assert choices[0]["calls"] == {0: {"name": "now", "arguments": "{}"}}
    assert choices[0]["finish_reason"] == "tool_calls"
    assert len(engine.checked) == 2 * 3 + 3  # each function's, then both together; asked three times
    assert json.loads(engine.runs[0].sampling.json_schema)["anyOf"][0]["properties"]["arguments"] == ADD


async def test_a_forced_call_that_is_cut(tmp_path):
    engine = ScriptedEngine(_say('{"name": "add", "arguments": {"a": 123}}'))
    choices, _ = await _both(tmp_path, engine, _chat(tools=TOOLS, tool_choice="required", max_tokens=36))
    assert choices[0]["calls"] == {0: {"name": "add", "arguments": '{"a": 1'}}
    assert choices[0]["finish_reason"] == "length"


async def test_allowed_tools_narrow_the_choice(tmp_path):
    engine = ScriptedEngine(_say('{"a": 1}'))
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "add"}}]}
    choices, _ = await _both(tmp_path, engine, _chat(tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed}))
    assert choices[0]["calls"] == {0: {"name": "add", "arguments": '{"a": 1}'}}
    assert choices[0]["finish_reason"] == "tool_calls"


async def test_a_response_format_becomes_a_schema_and_is_told_to_the_model(tmp_path):
    prompts = []
    engine = ScriptedEngine(lambda prompt, sampling: prompts.append(prompt) or '{"a": 1}')
    form = {"type": "json_schema", "json_schema": {"name": "sum", "schema": ADD, "strict": True}}
    choices, _ = await _both(tmp_path, engine, _chat(response_format=form))
    assert choices[0]["content"] == '{"a": 1}'
    assert json.loads(engine.runs[0].sampling.json_schema) == ADD
    assert '"required":["a"]' in prompts[0]
    await _both(tmp_path, engine, _chat(response_format={"type": "json_object"}))
    assert json.loads(engine.runs[-1].sampling.json_schema) == {"type": "object"}
    await _both(tmp_path, engine, _chat(response_format={"type": "text"}))
    assert engine.runs[-1].sampling.json_schema is None


async def test_ten_thousand_messages_that_fit_are_answered(tmp_path):
    engine = ScriptedEngine(can=type(CAN)(context_tokens=1_000_000))
    async with serving(tmp_path, engine) as client:
        status, _, answer = await client.ask(CHAT, _chat(messages=[USER] * 10_000, max_tokens=3))
    assert status == 200
    assert answer["usage"]["prompt_tokens"] == 10_000 * len("xuser\nHix\n") + len("xassistant\n")


async def test_a_full_queue_says_when_to_come_back(tmp_path):
    engine = ScriptedEngine(hold=True, slots=2)
    async with serving(tmp_path, engine) as client:
        status, headers, answer = await client.ask(CHAT, _chat(n=3, stream=True))
        assert (status, headers["retry-after"], answer["error"]["code"]) == (429, "3", "rate_limit_exceeded")
        assert all(run.cancelled for run in engine.runs)


async def test_who_leaves_frees_their_slots(tmp_path):
    for stream in (True, False):
        engine = ScriptedEngine(_say("abcdef"), hold=True)
        async with serving(tmp_path, engine) as client:
            _, writer = await asyncio.open_unix_connection(client.path)
            data = json.dumps(_chat(stream=stream, n=2)).encode()
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
            await engine.submitted.wait()
            await until(lambda engine=engine: len(engine.runs) == 2)
            engine.runs[0].play(2)
            writer.transport.abort()
            await until(lambda engine=engine: not engine.live)
            assert all(run.cancelled for run in engine.runs)
            assert (await client.ask("/health"))[2]["running"] == 0


async def test_a_run_that_breaks_before_its_first_word_is_an_error_with_a_status(tmp_path):
    engine = ScriptedEngine(hold=True)
    async with serving(tmp_path, engine) as client:
        asking = asyncio.create_task(client.ask(CHAT, _chat(stream=True)))
        await engine.submitted.wait()
        engine.runs[0].end(Piece(finish="error", error="out of memory"))
        status, _, answer = await asking
    assert status == 500
    assert "out of memory" in answer["error"]["message"]


async def test_a_run_that_breaks_in_mid_stream_is_one_error_event(tmp_path):
    engine = ScriptedEngine(_say("abcdef"), hold=True)
    async with serving(tmp_path, engine) as client:
        asking = asyncio.create_task(client.stream(CHAT, _chat(n=2)))
        await engine.submitted.wait()
        engine.runs[0].play(3)
        engine.runs[0].end(Piece(finish="error", error="out of memory"))
        events = await asking
    assert [event.get("error", {}).get("code") for event in events] == [None, None, "internal_error"]
    assert engine.runs[1].cancelled


async def test_text_is_gathered_for_a_caller_who_does_not_read(tmp_path):
    text = "".join(chr(97 + i % 26) for i in range(30_000))
    engine = ScriptedEngine(_say(text), hold=True, can=type(CAN)(context_tokens=100_000))
    async with serving(tmp_path, engine) as client:
        opening = asyncio.create_task(client.open("POST", CHAT, _chat(stream=True)))
        await engine.submitted.wait()
        engine.runs[0].play()
        _, _, reader, writer = await opening
        reader._transport.pause_reading()
        run = engine.runs[0]
        while not run.ended:
            run.play()
            if run.said % 100 == 0:
                await asyncio.sleep(0)
        reader._transport.resume_reading()
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
    chunks = data.count(b"chat.completion.chunk")
    assert chunks < 20_000, "every token was written although nobody read"
    parts = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
    assert "".join(part["choices"][0]["delta"].get("content") or "" for part in parts) == text


async def test_what_was_dropped_is_listed_in_a_header(tmp_path):
    async with serving(tmp_path, ScriptedEngine()) as client:
        _, headers, _ = await client.ask(CHAT, _chat(top_k=4, **{"bad\r\nx: y": 1}))
        assert headers["x-minnow-dropped"] == "top_k, bad??x??y"
        _, headers, _, writer = await client.open("POST", CHAT, _chat(stream=True, reasoning_effort="low"))
        assert headers["x-minnow-dropped"] == "reasoning_effort"
        writer.close()
        _, headers, _ = await client.ask(CHAT, _chat(user="u"))
        assert "x-minnow-dropped" not in headers


async def test_plain_completions(tmp_path):
    engine = ScriptedEngine(lambda prompt, sampling: f"<{prompt}>")
    async with serving(tmp_path, engine) as client:
        body = {"model": "minnow", "prompt": ["ab", "<|im_end|>"], "n": 2, "echo": True, "max_tokens": 40}
        _, _, answer = await client.ask("/v1/completions", body)
        texts = ["ab<ab>", "ab<ab>", "<[[<|im_end|>]]>", "<[[<|im_end|>]]>"]
        assert [choice["text"] for choice in answer["choices"]] == texts
        assert answer["usage"]["prompt_tokens"] == 3
        events = await client.stream("/v1/completions", body)
        assert events[-1] == "[DONE]"
        streamed = [""] * 4
        for event in events[:-1]:
            streamed[event["choices"][0]["index"]] += event["choices"][0]["text"]
        assert streamed == texts


async def test_plain_completions_of_tokens_with_logprobs(tmp_path):
    engine = ScriptedEngine(_say("héy STOP"))
    async with serving(tmp_path, engine) as client:
        body = {"model": "minnow", "prompt": [97, 98], "logprobs": 0, "stop": " STOP"}
        _, _, answer = await client.ask("/v1/completions", body)
        choice = answer["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == ("héy", "stop")
        assert choice["logprobs"]["text_offset"] == [0, 1, 1, 2]
        assert choice["logprobs"]["tokens"] == ["h", "�", "�", "y"]
        events = await client.stream("/v1/completions", body)
        tokens = [token for event in events[:-1] for token in (event["choices"][0]["logprobs"] or {"tokens": []})["tokens"]]
        assert tokens == ["h", "�", "�", "y"]
    assert {run.sampling.max_tokens for run in engine.runs} == {16}
