"""Streams of every dialect, read and passed on: no cut of the bytes changes what is told, and what is whole stays whole."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faulty import DIALECTS, FIRST, events_of, places
from polyglot import SCENES, Said, frame
from shoal.core.answer import Answer, Began, Delta, Used, fold
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.ports import AnswerReader, Passage
from shoal.core.usage import Usage
from shoal.gateway.endpoints import find
from shoal.wire.dialects import FORWARDS, UPSTREAMS
from upstream import event

FORWARDED = {
    "openai_chat": (b"/v1/chat/completions", b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'),
    "openai_responses": (b"/v1/responses", b'{"model":"m","stream":true,"input":"hi"}'),
    "anthropic": (b"/v1/messages", b'{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'),
    "gemini": (b"/v1beta/models/m:streamGenerateContent", b'{"contents":[{"parts":[{"text":"hi"}]}]}'),
}
ERRORS = {
    "openai_chat": event({"error": {"message": "x", "code": 500}}),
    "openai_responses": event({"type": "error", "code": "server_error", "message": "x"}),
    "anthropic": event({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}),
    "gemini": event({"error": {"code": 503, "message": "x", "status": "UNAVAILABLE"}}),
    "bedrock": frame("internalServerException", {"message": "x"}, exception=True),
    "cohere": event({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "x"}}),
}
GARBAGE = {dialect: b"\0" * 64 if dialect == "bedrock" else b"data: {]\n\n" for dialect in DIALECTS}


def reader(dialect: str) -> AnswerReader:
    """A reader for one stream."""
    return UPSTREAMS[dialect].stream(Conversation(model="m", messages=()))


def passage(dialect: str) -> Passage:
    """One stream on its way through; it is settled for nothing."""
    path, body = FORWARDED[dialect]
    place = find(path, b"alt=sse")
    assert place is not None
    return FORWARDS[dialect, dialect].stream(place.endpoint.read(body, place.named, place.streamed), lambda usage: ("0", b"{}"))


def told(dialect: str, pieces: list[bytes]) -> tuple[Answer, str | None]:
    """What a reader makes of these pieces: the answer so far, and the kind of the fault that ended it."""
    one, out = reader(dialect), list[Delta]()
    try:
        for piece in pieces:
            out += one.feed(piece)
        out += one.close()
    except Fault as fault:
        return fold(out), fault.kind
    return fold(out), None


def passed(dialect: str, pieces: list[bytes]) -> tuple[bytes, str | None]:
    """What is passed on of these pieces, and the kind of the fault that ended it."""
    one, out = passage(dialect), b""
    for piece in pieces:
        out += one.feed(piece)
        if one.failed is not None:
            return out, one.failed.kind
    try:
        return out + one.close(), None
    except Fault as fault:
        return out, fault.kind


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


CUTS = st.lists(st.integers(0, 10_000), max_size=6)
SAID = st.sampled_from([SCENES[name] for name in ("plain", "thinks", "calls", "long")])
TAIL = st.sampled_from(["", "garbage", "half", "error"])


def stream(dialect: str, said: Said, tail: str, end: int) -> bytes:
    """A stream, or the beginning of one, and what comes after it."""
    data = b"".join(events_of(dialect, said))[:end]
    return data + {"": b"", "garbage": GARBAGE[dialect], "half": events_of(dialect, said)[-1][:-9], "error": ERRORS[dialect]}[tail]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(said=SAID, tail=TAIL, end=st.integers(0, 4_000), cuts=CUTS)
def test_no_cut_changes_what_is_read(dialect: str, said: Said, tail: str, end: int, cuts: list[int]) -> None:
    data = stream(dialect, said, tail, end)
    whole = told(dialect, [data])
    assert told(dialect, pieces_of(data, cuts)) == whole
    assert told(dialect, [data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize("dialect", FORWARDED)
@given(said=SAID, tail=TAIL, end=st.integers(0, 4_000), cuts=CUTS)
def test_no_cut_changes_what_is_passed_on(dialect: str, said: Said, tail: str, end: int, cuts: list[int]) -> None:
    data = stream(dialect, said, tail, end)
    whole = passed(dialect, [data])
    assert passed(dialect, pieces_of(data, cuts)) == whole
    assert passed(dialect, [data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize("tail", ["", "garbage", "half"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_answer_is_whole_from_its_end_on_and_not_before(dialect: str, tail: str) -> None:
    body, _, end = places(dialect, FIRST)
    more = {"": b"", "garbage": b"\n\n" * (dialect != "bedrock") + GARBAGE[dialect], "half": body[end : end + 9]}[tail]
    answer, fault = told(dialect, [body[:end] + more])
    assert (fault, answer.choices[0].finish) == (None, "stop")
    _, fault = told(dialect, [body[: end - 1]])
    assert fault == "upstream_cut"
    if dialect in FORWARDED:
        assert passed(dialect, [body[:end] + more])[1] is None
        assert passed(dialect, [body[: end - 1]])[1] == "upstream_cut"


@pytest.mark.parametrize("dialect", FORWARDED)
def test_nothing_passes_before_there_is_something_to_show(dialect: str) -> None:
    one, two, shown = passage(dialect), reader(dialect), False
    for each in events_of(dialect, FIRST):
        shown = shown or any(not isinstance(delta, Began | Used) for delta in two.feed(each))
        assert bool(one.feed(each)) <= shown
    assert shown
    assert one.close() or one.done


@pytest.mark.parametrize("dialect", FORWARDED)
def test_what_is_passed_on_is_what_was_said(dialect: str) -> None:
    events = events_of(dialect, FIRST)
    out, fault = passed(dialect, events)
    assert fault is None
    (after, _), (before, _) = told(dialect, [out]), told(dialect, events)
    assert (after.id, after.choices) == (before.id, before.choices)


@pytest.mark.parametrize("dialect", FORWARDED)
def test_an_answer_that_cannot_be_settled_is_not_given(dialect: str) -> None:
    def refuse(usage: Usage | None) -> tuple[str | None, bytes]:
        raise Fault("overloaded", "The journal is full.")

    path, body = FORWARDED[dialect]
    place = find(path, b"alt=sse")
    assert place is not None
    one: Any = FORWARDS[dialect, dialect].stream(place.endpoint.read(body, place.named, place.streamed), refuse)
    with pytest.raises(Fault) as caught:
        for each in events_of(dialect, FIRST):
            one.feed(each)
            if one.failed is not None:
                raise one.failed
        one.close()
    assert caught.value.kind == "overloaded"
