"""Streams of chunks: whatever upstreams make of them and wherever their bytes are cut, and as the official client reads them."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from shoal.core.answer import (
    Answer,
    Began,
    Choice,
    Delta,
    Ended,
    LogprobsDelta,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Used,
    fold,
    split,
)
from shoal.core.conversation import Citation, Conversation, Image, Message, Reasoning, Refusal, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.openai_chat.requests import read
from shoal.wire.openai_chat.streams import Reader, Writer

RECEIPT = b'{"id":"req_1"}'
DONE = b"data: [DONE]\n\n"


def event(value: Any, end: bytes = b"\n\n") -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + end


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> bytes:
    """A chunk of one choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return event({"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more})


def call(**piece: Any) -> bytes:
    """A chunk with a piece of a call; `name` and `arguments` are the function's."""
    function = {name: piece.pop(name) for name in ("name", "arguments") if name in piece}
    return chunk({"tool_calls": [{**piece, "function": function}]})


def deltas(*pieces: bytes) -> list[Delta]:
    """What a reader makes of these pieces."""
    reader = Reader()
    return [delta for piece in pieces for delta in reader.feed(piece)] + reader.close()


def parts(*pieces: bytes) -> tuple[Any, ...]:
    """The parts of the one choice that they tell."""
    return fold(deltas(*pieces, chunk({}, "stop"), DONE)).choices[0].parts


def test_a_plain_stream() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    last = event({"id": "i", "choices": [], "usage": usage})
    assert deltas(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "a"}), chunk({"content": "b"}), chunk({}, "stop"), last, DONE
    ) == [
        Began("i", "m", 1),
        TextDelta("a"),
        TextDelta("b"),
        Used(Usage(3, 2)),
        Ended("stop"),
    ]


def test_an_empty_first_chunk_is_not_the_beginning() -> None:
    first = event({"id": "", "model": "", "created": 0, "object": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    assert deltas(first, chunk({"content": "a"}, "stop"), DONE)[0] == Began("i", "m", 1)


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        (
            [chunk({"reasoning_content": "t"}), chunk({"reasoning_content": "u", "content": ""}), chunk({"content": "a"})],
            (Reasoning("tu"), Text("a")),
        ),
        ([chunk({"reasoning": "t"}), chunk({"reasoning": "u"}), chunk({"content": "a"})], (Reasoning("tu"), Text("a"))),
        (
            [chunk({"reasoning_content": "t"}), chunk({"content": "a"}), chunk({"reasoning_content": "u"})],
            (Reasoning("t"), Text("a"), Reasoning("u")),
        ),
        (
            [chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}]}), chunk({"content": "a"})],
            (Reasoning("t"), Text("a")),
        ),
        (
            [
                chunk({"reasoning": "t", "reasoning_details": [{"type": "reasoning.text", "text": "t", "index": 0}]}),
                chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "s", "index": 0, "format": "anthropic-claude-v1"}]}),
                chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x", "index": 1}]}),
                chunk({"content": "a", "reasoning": None, "reasoning_details": []}),
            ],
            (Reasoning("t", "s", origin="anthropic"), Reasoning(redacted="x"), Text("a")),
        ),
        ([chunk({"refusal": "n"}), chunk({"refusal": "o"})], (Refusal("no"),)),
        ([chunk(None), chunk({"content": None}), chunk({"content": "a"})], (Text("a"),)),
        (
            [chunk({"content": "a"}), chunk({"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t"}}]})],
            (Text("a", citations=(Citation("u", "t"),)),),
        ),
        ([chunk({"content": "a"}, citations=["u"]), chunk({"content": "b"}, citations=["u"])], (Text("ab", citations=(Citation("u"),)),)),
        ([chunk({"images": [{"image_url": {"url": "https://e.com/a"}}]})], (Image("https://e.com/a"),)),
    ],
)
def test_every_way_of_saying_it_is_understood(pieces: list[bytes], told: tuple[Any, ...]) -> None:
    assert parts(*pieces) == told


@pytest.mark.parametrize(
    ("pieces", "told"),
    [
        # as OpenAI streams them
        (
            [
                call(index=0, id="a", name="f", arguments=""),
                call(index=0, arguments='{"x"'),
                call(index=0, arguments=":1}"),
                call(index=1, id="b", name="g", arguments="{}"),
            ],
            (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}")),
        ),
        # in turns
        (
            [
                call(index=0, id="a", name="f"),
                call(index=1, id="b", name="g"),
                call(index=1, arguments="[]"),
                call(index=0, arguments="{}"),
            ],
            (ToolCall("a", "f", "{}"), ToolCall("b", "g", "[]")),
        ),
        # whole, without an index
        (
            [call(id="a", name="f", arguments="{}"), call(id="b", name="f", arguments="[]")],
            (ToolCall("a", "f", "{}"), ToolCall("b", "f", "[]")),
        ),
        # whole, all with the same index
        (
            [call(index=0, id="a", name="f", arguments="{}"), call(index=0, id="b", name="f", arguments="[]")],
            (ToolCall("a", "f", "{}"), ToolCall("b", "f", "[]")),
        ),
        # the id and name again with each piece
        ([call(index=0, id="a", name="f", arguments="{"), call(index=0, id="a", name="f", arguments="}")], (ToolCall("a", "f", "{}"),)),
        ([call(id="a", name="f", arguments="{"), call(id="a", name="f", arguments="}")], (ToolCall("a", "f", "{}"),)),
        # empty ids after the first
        ([call(index=0, id="a", name="f", arguments="{"), call(index=0, id="", name="", arguments="}")], (ToolCall("a", "f", "{}"),)),
        ([call(id="a", name="f", arguments="{"), call(arguments="}")], (ToolCall("a", "f", "{}"),)),
        # no ids at all
        (
            [call(index=0, name="f", arguments="{}"), call(index=1, name="f", arguments="{}")],
            (ToolCall("call_i_0_0", "f", "{}"), ToolCall("call_i_0_1", "f", "{}")),
        ),
        (
            [call(name="f", arguments="{}"), call(name="f", arguments="{}")],
            (ToolCall("call_i_0_0", "f", "{}"), ToolCall("call_i_0_1", "f", "{}")),
        ),
        # indexes that do not begin at 0
        ([call(index=3, id="a", name="f", arguments="{}")], (ToolCall("a", "f", "{}"),)),
        # no arguments
        ([call(index=0, id="a", name="f", arguments="")], (ToolCall("a", "f", "{}"),)),
        ([call(index=0, id="a", name="f", arguments=None)], (ToolCall("a", "f", "{}"),)),
        # the old way
        (
            [chunk({"function_call": {"name": "f", "arguments": ""}}), chunk({"function_call": {"arguments": "{}"}})],
            (ToolCall("call_i_0_0", "f", "{}"),),
        ),
        (
            [call(index=0, id="a", name="f", arguments="{}", extra_content={"google": {"thought_signature": "s"}})],
            (ToolCall("a", "f", "{}", "s"),),
        ),
    ],
)
def test_calls_are_put_together(pieces: list[bytes], told: tuple[Any, ...]) -> None:
    assert parts(*pieces) == told
    seen = [delta for delta in deltas(*pieces, chunk({}, "stop"), DONE) if isinstance(delta, ToolCallDelta)]
    firsts = {delta.index: delta for delta in reversed(seen)}
    assert sorted(firsts) == list(range(len(told)))
    assert all(delta.id and delta.name for delta in firsts.values())


def test_calls_are_the_reason_to_stop() -> None:
    assert deltas(call(index=0, id="a", name="f", arguments="{}"), chunk({}, "stop"), DONE)[-1] == Ended("tool_calls")
    assert deltas(call(index=0, id="a", name="f", arguments="{}"), DONE)[-1] == Ended("tool_calls")


def test_the_last_reason_counts_and_each_choice_ends_once() -> None:
    told = deltas(chunk({"content": "a"}, "length"), chunk({"content": ""}, "length"), DONE)
    assert [delta for delta in told if isinstance(delta, Ended)] == [Ended("length")]


def test_choices_keep_apart() -> None:
    def both(*words: str) -> bytes:
        return event({"id": "i", "choices": [{"index": at, "delta": {"content": word}} for at, word in enumerate(words)]})

    answer = fold(deltas(both("a", "x"), both("b", "y"), DONE))
    assert [choice.parts for choice in answer.choices] == [(Text("ab"),), (Text("xy"),)]


def test_usage_may_come_anywhere() -> None:
    groq = chunk({}, "stop", x_groq={"id": "r", "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    assert Used(Usage(3, 2)) in deltas(chunk({"content": "a"}), groq, DONE)
    running = [chunk({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": n}) for n in (1, 2)]
    assert fold(deltas(*running, chunk({}, "stop", usage=None), DONE)).usage == Usage(3, 2)


def test_logprobs_come_with_their_text() -> None:
    choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": -1.0}], "refusal": None}}
    told = deltas(
        event({"id": "i", "choices": [choice]}), event({"id": "i", "choices": [{"index": 0, "delta": {}, "logprobs": {"text": 1}}]}), DONE
    )
    assert [type(delta) for delta in told] == [Began, TextDelta, LogprobsDelta, Ended]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"message": "m", "type": "invalid_request_error", "code": "tool_use_failed", "status_code": 400}}, "upstream_rejected"),
        ({"id": "i", "choices": [{"index": 0, "delta": {"content": ""}}], "error": {"code": 502, "message": "m"}}, "upstream_error"),
        ({"error": {"code": 429, "message": "m"}, "choices": [{"finish_reason": "error"}]}, "upstream_busy"),
        ({"object": "error", "message": "m", "type": "invalid_request_error"}, "upstream_rejected"),
        ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}, "upstream_error"),
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_an_error_within_ends_the_answer_and_loses_no_word(error: Any, kind: str, apart: bool) -> None:
    reader = Reader()
    pieces = [chunk({"content": "a"}), event(error)]
    told: list[Delta] = []
    with pytest.raises(Fault) as caught:
        for piece in pieces if apart else [b"".join(pieces)]:
            told += reader.feed(piece)
        reader.close()
    assert caught.value.kind == kind
    assert TextDelta("a") in told


@pytest.mark.parametrize("bad", [b"data: <html>\n\n", b"data: []\n\n", b'data: {"choices":3}\n\n', b'data: {"id":"\xff"}\n\n'])
def test_what_is_no_chunk_is_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        Reader().feed(bad)
    assert caught.value.kind == "upstream_garbled"


def test_an_answer_that_ends_early_is_cut() -> None:
    for pieces in ([], [chunk({"content": "a"})], [b": keep-alive\n\n"]):
        with pytest.raises(Fault) as caught:
            deltas(*pieces)
        assert caught.value.kind == "upstream_cut"


def test_a_missing_done_or_blank_line_is_forgiven() -> None:
    assert deltas(chunk({"content": "a"}, "stop"))[-1] == Ended("stop")
    assert deltas(chunk({"content": "a"}, "stop").rstrip())[-1] == Ended("stop")
    assert deltas(chunk({"content": "a"}, "stop"), b"data: [DONE]")[-1] == Ended("stop")


def test_done_without_an_answer_is_garbled_and_nothing_follows_done() -> None:
    with pytest.raises(Fault) as caught:
        deltas(DONE)
    assert caught.value.kind == "upstream_garbled"
    assert deltas(chunk({"content": "a"}, "stop"), DONE, chunk({"content": "b"}))[-1] == Ended("stop")


STREAM = b"".join(
    [
        b": OPENROUTER PROCESSING\n\n",
        event({"choices": [], "prompt_filter_results": []}),
        b"\r\n",
        chunk({"role": "assistant", "reasoning_content": "🐟 thinks"}).replace(b"\n\n", b"\r\n\r\n"),
        chunk({"content": "Zürich"}),
        call(index=0, id="a", name="f", arguments='{"é":'),
        b"event: message\n" + call(index=0, arguments="1}"),
        chunk({}, "stop"),
        event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}),
        DONE,
    ]
)


@given(st.lists(st.integers(0, len(STREAM)), max_size=30).map(sorted))
def test_cuts_change_nothing(cuts: list[int]) -> None:
    edges = [0, *cuts, len(STREAM)]
    assert deltas(*(STREAM[a:b] for a, b in itertools.pairwise(edges))) == deltas(STREAM)


# the caller's side


def conversation(**fields: Any) -> Conversation:
    """A request for a stream."""
    return read(json.dumps({"model": "asked", "messages": [{"role": "user", "content": "x"}], "stream": True, **fields}).encode())


USAGE_WANTED = {"stream_options": {"include_usage": True}}


def written(told: list[Delta], **fields: Any) -> tuple[list[dict[str, Any]], bytes]:
    """A stream's chunks as the official client checks them, and all its bytes."""
    writer = Writer(conversation(**fields))
    out = b"".join(writer.feed([delta]) for delta in told) + writer.close("0.01", RECEIPT)
    found = [json.loads(one[6:]) for one in out.split(b"\n\n") if one.startswith(b"data: {")]
    for one in found:
        ChatCompletionChunk.model_validate(one)
    return found, out


TOLD: list[Delta] = [Began("i", "m", 7), TextDelta("a"), TextDelta("b"), Ended("stop"), Used(Usage(3, 2))]


def test_a_caller_who_wants_usage_gets_it_with_cost_and_receipt() -> None:
    found, out = written(TOLD, **USAGE_WANTED)
    assert [one["choices"] for one in found] == [
        [{"index": 0, "delta": {"role": "assistant", "content": "a"}, "logprobs": None, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "b"}, "logprobs": None, "finish_reason": None}],
        [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}],
        [],
    ]
    assert [one["usage"] for one in found] == [None] * 3 + [{"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.01}]
    assert found[-1]["shoal"] == {"id": "req_1"}
    assert list(found[-1])[-1] == "shoal"
    assert out.endswith(DONE)
    assert b": shoal" not in out


def test_a_caller_who_wants_none_gets_the_receipt_as_a_comment() -> None:
    for fields in ({}, {"stream_options": {"include_usage": False}}):
        found, out = written(TOLD, **fields)
        assert out.endswith(b': shoal {"id":"req_1"}\n\n' + DONE)
        assert all("usage" not in one for one in found)


def test_without_any_usage_the_receipt_still_comes() -> None:
    _, out = written(TOLD[:-1], **USAGE_WANTED)
    assert out.endswith(b': shoal {"id":"req_1"}\n\n' + DONE)


def test_all_chunks_have_the_same_head() -> None:
    found, _ = written(TOLD, **USAGE_WANTED)
    assert {(one["id"], one["object"], one["created"], one["model"]) for one in found} == {("i", "chat.completion.chunk", 7, "m")}


def test_a_call_has_its_id_once() -> None:
    found, _ = written([Began("i"), ToolCallDelta(0, "c", "f", "", "s"), ToolCallDelta(0, arguments="{}"), Ended("tool_calls")])
    calls = [one["choices"][0]["delta"]["tool_calls"][0] for one in found[:2]]
    assert calls == [
        {
            "index": 0,
            "id": "c",
            "type": "function",
            "function": {"name": "f", "arguments": ""},
            "extra_content": {"google": {"thought_signature": "s"}},
        },
        {"index": 0, "function": {"arguments": "{}"}},
    ]


def test_thought_comes_as_words_and_as_details() -> None:
    found, _ = written([ReasoningDelta("t", origin="anthropic"), ReasoningDelta(signature="s", origin="anthropic")])
    assert [one["choices"][0]["delta"] for one in found] == [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "t",
            "reasoning_details": [{"type": "reasoning.text", "text": "t", "format": "anthropic-claude-v1", "index": 0}],
        },
        {"reasoning_details": [{"type": "reasoning.text", "text": "", "signature": "s", "index": 0}]},
    ]


def test_thoughts_are_numbered_from_0_whatever_their_blocks() -> None:
    found, _ = written([ReasoningDelta("a", block=-1, id="x", origin="bedrock"), ReasoningDelta("b", block=7, id="y")])
    details = [one["choices"][0]["delta"]["reasoning_details"][0] for one in found]
    assert [(one["index"], one["id"], one["format"]) for one in details] == [(0, "x", "amazon-bedrock-v1"), (1, "y", "unknown")]


WORDS = st.text(min_size=1, max_size=6)
MAYBE = st.none() | WORDS
PARTS = st.one_of(
    st.builds(Text, WORDS, citations=st.lists(st.builds(Citation, WORDS, WORDS, MAYBE, st.just(0), st.just(1)), max_size=2).map(tuple)),
    st.builds(Reasoning, WORDS, MAYBE, MAYBE, st.sampled_from([None, "anthropic", "gemini"]), MAYBE),
    st.builds(ToolCall, WORDS, WORDS, st.just('{"a":1}'), MAYBE),
)


def distinct(parts: list[Any]) -> tuple[Any, ...]:
    """No two texts side by side, and no two calls of the same id, as in any answer that was folded."""
    out: list[Any] = []
    for place, part in enumerate(parts):
        if isinstance(part, Text) and out and isinstance(out[-1], Text):
            continue
        out.append(ToolCall(f"c{place}", part.name, part.arguments, part.signature) if isinstance(part, ToolCall) else part)
    return tuple(out)


@given(st.lists(PARTS, min_size=1, max_size=6).map(distinct), st.integers(1, 9))
def test_what_is_written_is_read_again(parts: tuple[Any, ...], size: int) -> None:
    answer = Answer(id="i", model="m", created=1, choices=(Choice(parts, "tool_calls"),), usage=Usage(1, 2, 0, 0, 1))
    writer = Writer(conversation(**USAGE_WANTED))
    told = list(split(answer))
    out = b"".join(writer.feed(told[at : at + size]) for at in range(0, len(told), size)) + writer.close(None, RECEIPT)
    assert fold(deltas(out)) == answer


def test_a_conversation_of_another_dialect_is_no_stranger() -> None:
    asked = Conversation(model="m", messages=(Message("user", (Text("x"),)),), stream=True)
    assert Writer(asked).close(None, b"null") == b": shoal null\n\n" + DONE
