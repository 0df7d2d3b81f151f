"""ConverseStream's events to deltas."""

import json
import struct
import zlib
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.answer import Delta, Ended, MediaDelta, TextDelta, fold
from shoal.core.conversation import Conversation, Image, Reasoning, Text, Tool, ToolCall
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.bedrock.dialect import UPSTREAM

CLAUDE = Conversation(model="bedrock/anthropic.claude-sonnet-4", messages=(), stream=True)
DEPLOYMENT = Deployment("d", "m", "bedrock", "amazon.nova-lite-v1:0")
NOVA = Conversation(model="nova", messages=(), stream=True)


def frame(payload: bytes, **headers: str) -> bytes:
    """One frame; header names as arguments: event_type is `:event-type`."""
    block = b"".join(
        bytes([len(name) + 1]) + b":" + name.replace("_", "-").encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(block) + len(payload), len(block))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + payload
    return body + struct.pack(">I", zlib.crc32(body))


def event(type: str, body: Any) -> bytes:
    """One event, with the padding `p` that Bedrock adds."""
    return frame(json.dumps(body | {"p": "abcdef"}).encode(), event_type=type, content_type="application/json", message_type="event")


def piece(block: int, delta: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": block, "delta": delta})


def stop(block: int) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": block})


def use(block: int, id: str, name: str, **more: str) -> bytes:
    return event("contentBlockStart", {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": id, "name": name, **more}}})


START = event("messageStart", {"role": "assistant"})
END = event("messageStop", {"stopReason": "end_turn"})
USED = event(
    "metadata",
    {"usage": {"inputTokens": 3, "outputTokens": 9, "totalTokens": 12, "cacheReadInputTokens": 100}, "metrics": {"latencyMs": 5}},
)


def read(*stream: bytes, conversation: Conversation = CLAUDE) -> list[Delta]:
    reader = UPSTREAM.stream(conversation)
    return [*reader.feed(b"".join(stream)), *reader.close()]


STREAM = b"".join(
    (
        START,
        piece(0, {"reasoningContent": {"text": "hm"}}),
        piece(0, {"reasoningContent": {"text": "m"}}),
        piece(0, {"reasoningContent": {"signature": "SIG"}}),
        stop(0),
        piece(1, {"reasoningContent": {"redactedContent": b64encode(b"secret==").decode()}}),
        stop(1),
        piece(2, {"text": "Hé"}),
        piece(2, {"text": "llo"}),
        stop(2),
        use(3, "t1", "look"),
        piece(3, {"toolUse": {"input": '{"a"'}}),
        piece(3, {"toolUse": {"input": ":1}"}}),
        stop(3),
        use(4, "t2", "now"),
        stop(4),
        event("messageStop", {"stopReason": "tool_use"}),
        USED,
    )
)


def test_a_stream_of_everything() -> None:
    answer = fold(read(STREAM))
    assert answer.choices[0].parts == (
        Reasoning("hmm", "SIG", origin="anthropic"),
        Reasoning(redacted="secret==", origin="anthropic"),
        Text("Héllo"),
        ToolCall("t1", "look", '{"a":1}'),
        ToolCall("t2", "now", "{}"),
    )
    assert answer.choices[0].finish == "tool_calls"
    assert answer.usage == Usage(input=103, output=9, cache_read=100)


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_cut_gives_the_same_deltas(cuts: list[int]) -> None:
    reader, deltas = UPSTREAM.stream(CLAUDE), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(STREAM)], strict=True):
        deltas += reader.feed(STREAM[start:end])
    assert [*deltas, *reader.close()] == read(STREAM)


@given(st.integers(0, len(STREAM) - 1))
def test_a_stream_cut_anywhere_before_its_end_is_incomplete(length: int) -> None:
    if length >= len(STREAM) - len(USED):
        length = len(STREAM) - len(USED) - 1
    reader = UPSTREAM.stream(CLAUDE)
    reader.feed(STREAM[:length])
    with pytest.raises(Fault) as caught:
        reader.close()
    assert caught.value.kind == "upstream_cut"


def test_an_answer_without_its_usage_is_complete_and_says_nothing_of_it() -> None:
    assert fold(read(START, piece(0, {"text": "x"}), stop(0), END)).usage == Usage()


def test_reasoning_of_others_is_bedrocks_own() -> None:
    deltas = read(
        START,
        piece(0, {"reasoningContent": {"text": "x"}}),
        piece(1, {"reasoningContent": {"redactedContent": "AAE="}}),
        stop(1),
        END,
        conversation=NOVA,
    )
    assert fold(deltas).choices[0].parts == (Reasoning("x", origin="bedrock"), Reasoning(redacted="AAE=", origin="bedrock"))


def test_bedrocks_own_tools_are_not_calls_for_the_caller() -> None:
    deltas = read(
        START, use(0, "s1", "nova_code_interpreter", type="server_tool_use"), piece(0, {"toolUse": {"input": "{}"}}), stop(0),
        event("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolResult": {"toolUseId": "s1", "type": "x"}}}),
        piece(1, {"toolResult": [{"json": {"stdOut": "4"}}]}), stop(1),
        piece(2, {"text": "4"}), stop(2), use(3, "t1", "mine"), stop(3), use(4, "t2", "claudes", type="tool_use"), stop(4),
        event("messageStop", {"stopReason": "tool_use"}),
    )  # fmt: skip
    assert fold(deltas).choices[0].parts == (Text("4"), ToolCall("t1", "mine", "{}"), ToolCall("t2", "claudes", "{}"))


def test_a_picture_comes_whole() -> None:
    pieces = [piece(0, {"image": {"source": {"bytes": b64encode(data).decode()}}}) for data in (b"abc", b"de")]
    begun = event("contentBlockStart", {"contentBlockIndex": 0, "start": {"image": {"format": "png"}}})
    assert MediaDelta(Image(data=b64encode(b"abcde").decode(), media_type="image/png")) in read(START, begun, *pieces, stop(0), END)


def test_citations_name_their_source() -> None:
    source = {
        "title": "T",
        "source": "doc",
        "sourceContent": [{"text": "words"}],
        "location": {"web": {"url": "https://a.example/", "domain": "a.example"}},
    }
    before, cited = [piece(0, {"text": "so: "}), stop(0)], [piece(1, {"citation": source}), piece(1, {"text": "x"})]
    for stream in ((*before, *cited, stop(1)), (*before, *reversed(cited), stop(1)), (*before, *cited)):
        (part,) = fold(read(START, *stream, END)).choices[0].parts
        assert isinstance(part, Text)
        assert [(one.start, one.end) for one in part.citations] == [(4, 5)]
    (citation,) = part.citations
    assert (citation.url, citation.title, citation.cited) == ("https://a.example/", "T", "words")
    assert json.loads(bytes(citation.raw or b"")) == source


def test_a_renamed_tool_gets_its_name_back() -> None:
    conversation = Conversation(model="x", messages=(), tools=(Tool("files.read"),))
    call = json.loads(UPSTREAM.encode(conversation, DEPLOYMENT).body)["toolConfig"]["tools"][0]["toolSpec"]["name"]
    assert "." not in call
    (part,) = fold(read(START, use(0, "t", call), stop(0), END, conversation=conversation)).choices[0].parts
    assert part == ToolCall("t", "files.read", "{}")


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("throttlingException", "upstream_busy"),
        ("modelStreamErrorException", "upstream_error"),
        ("internalServerException", "upstream_error"),
        ("serviceUnavailableException", "upstream_error"),
        ("validationException", "upstream_rejected"),
        ("modelTimeoutException", "upstream_timeout"),
        ("somethingNewException", "upstream_error"),
    ],
)
def test_an_exception_is_a_fault_after_what_was_said(type: str, kind: str) -> None:
    said = START + piece(0, {"text": "x"})
    exception = frame(b'{"message":"no"}', message_type="exception", exception_type=type, content_type="application/json")
    reader = UPSTREAM.stream(CLAUDE)
    assert TextDelta("x") in reader.feed(said + exception)
    with pytest.raises(Fault) as caught:
        reader.close()
    assert caught.value.kind == kind


def test_an_error_frame_is_a_fault_at_once() -> None:
    with pytest.raises(Fault) as caught:
        UPSTREAM.stream(CLAUDE).feed(
            frame(b"", message_type="error", error_code="InternalFailure", error_message="An internal server error occurred")
        )
    assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize(
    "bad", [b"\x00" * 16, frame(b"[", message_type="event", event_type="metadata"), event("contentBlockDelta", {"delta": {"text": 5}})]
)
def test_what_cannot_be_read_is_garbled(bad: bytes) -> None:
    with pytest.raises(Fault) as caught:
        read(bad)
    assert caught.value.kind == "upstream_garbled"


@pytest.mark.parametrize("reason", ["malformed_tool_use", "malformed_model_output"])
def test_what_bedrock_could_not_read_is_an_error(reason: str) -> None:
    with pytest.raises(Fault) as caught:
        read(START, event("messageStop", {"stopReason": reason}))
    assert caught.value.kind == "upstream_error"


def test_the_stop_sequence_is_told() -> None:
    deltas = read(START, event("messageStop", {"stopReason": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": "END"}}))
    assert deltas[-1] == Ended("stop", stop_sequence="END")
    fields = {"delta": {"stop_sequence": "END"}}
    assert read(START, event("messageStop", {"stopReason": "stop_sequence", "additionalModelResponseFields": fields}))[-1] == deltas[-1]


def test_events_of_a_later_day_are_passed_over() -> None:
    assert fold(read(START, event("somethingNew", {"x": 1}), piece(0, {"somethingNew": {}}), END)).choices[0].parts == ()
