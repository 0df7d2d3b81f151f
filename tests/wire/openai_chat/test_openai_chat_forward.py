"""OpenAI's dialect on its way through: the caller's and the upstream's own bytes survive, and exactly two insertions are made."""

import itertools
import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.chat import ChatFields, Request, read_request
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.openai_chat.errors import error_event
from shoal.wire.openai_chat.errors import read as fault
from shoal.wire.openai_chat.forward import Stream, complete, encode
from shoal.wire.openai_chat.usage import read as read_usage

DECODER = msgspec.json.Decoder(ChatFields)
RECEIPT = b'{"id":"req_1"}'


class Ledger:
    """What `settle` was called with."""

    def __init__(self) -> None:
        self.seen: list[Usage | None] = []

    def settle(self, usage: Usage | None) -> tuple[str | None, bytes]:
        """As the gateway does: a cost where there is a usage, and a receipt."""
        self.seen.append(usage)
        return (None if usage is None else "0.0000015"), RECEIPT


def ask(**fields: Any) -> Request:
    """A checked request."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return read_request(json.dumps(body).encode(), DECODER)


def event(value: Any, end: bytes = b"\n\n") -> bytes:
    """One server-sent event with compact JSON."""
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()) + end


def delta(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat stream."""
    return {"id": "c1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}], **more}


def run(pieces: list[bytes], wants_usage: bool = True) -> tuple[bytes, Ledger, Stream]:
    """A whole stream through the gateway's eyes; what goes out includes what `close` adds."""
    ledger = Ledger()
    stream = Stream(wants_usage, ledger.settle)
    out = [stream.feed(piece) for piece in pieces]
    return b"".join([*out, stream.close()]), ledger, stream


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
LAST = {"id": "c1", "choices": [], "usage": USAGE}
DONE = event(b"[DONE]")


# requests


def test_a_request_that_needs_no_change_is_the_callers_own_bytes() -> None:
    request = ask(temperature=0.5, unknown={"b": [1, 2.50]})
    assert encode(request, "m") is request.body


def test_the_model_is_replaced_and_every_other_byte_stays() -> None:
    body = b'{ "x-unknown" : [1.0,  1e3, "\\u00e9"],"model":"m" , "messages":[ {"role":"user","content":"\\ud83d\\ude00"} ]}'
    sent = encode(read_request(body, DECODER), "up")
    assert b'[1.0,  1e3, "\\u00e9"]' in sent
    assert b'[ {"role":"user","content":"\\ud83d\\ude00"} ]' in sent
    assert json.loads(sent) == {**json.loads(body), "model": "up"}


def test_a_stream_is_always_asked_for_its_usage() -> None:
    assert json.loads(encode(ask(stream=True), "m"))["stream_options"] == {"include_usage": True}
    wanted = ask(stream=True, stream_options={"include_usage": True, "include_obfuscation": False})
    assert encode(wanted, "m") is wanted.body
    assert "stream_options" not in json.loads(encode(ask(stream=False), "other"))


@pytest.mark.parametrize("options", [{"include_obfuscation": False}, {"include_usage": False, "include_obfuscation": False}])
def test_other_stream_options_survive(options: dict[str, bool]) -> None:
    sent = json.loads(encode(ask(stream=True, stream_options=options), "m"))
    assert sent["stream_options"] == {"include_obfuscation": False, "include_usage": True}


def test_store_and_metadata_are_not_forwarded() -> None:
    sent = json.loads(encode(ask(store=True, metadata={"a": "b"}, user="u"), "m"))
    assert sent == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "user": "u"}


# whole answers


def test_cost_ends_the_usage_and_the_receipt_ends_the_object() -> None:
    body = b'{ "id": "x",\n "choices": [], "usage" : { "prompt_tokens": 3, "completion_tokens": 2 } , "z": 1.50 }\n'
    out = complete(body, Ledger().settle)
    assert out == (
        b'{ "id": "x",\n "choices": [], "usage" : { "prompt_tokens": 3, "completion_tokens": 2 ,"cost":0.0000015} , "z": 1.50 '
        b',"shoal":{"id":"req_1"}}\n'
    )


@pytest.mark.parametrize("usage", [b'"usage":null,', b""])
def test_without_usage_only_the_receipt_is_added(usage: bytes) -> None:
    ledger = Ledger()
    assert complete(b"{%b" % usage + b'"id":1}', ledger.settle) == b"{%b" % usage + b'"id":1,"shoal":{"id":"req_1"}}'
    assert ledger.seen == [None]


def test_an_empty_usage_is_not_broken() -> None:
    out = complete(b'{"id":1,"usage":{}}', Ledger().settle)
    assert json.loads(out)["shoal"] == {"id": "req_1"}
    assert json.loads(out)["usage"] in ({}, {"cost": None}, {"cost": 0.0000015})


def test_usage_of_another_shape_is_unknown_not_an_error() -> None:
    for raw in (b'{"prompt_tokens":"3"}', b'{"prompt_tokens":-1}', b"[1]", b"7", b'"x"'):
        assert read_usage(raw) is None
        ledger = Ledger()
        json.loads(complete(b'{"usage":%b}' % raw, ledger.settle))
        assert ledger.seen == [None]


def test_counts_are_read() -> None:
    raw = b'{"prompt_tokens":9,"completion_tokens":4,'
    raw += b'"prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":1}}'
    assert read_usage(raw) == Usage(input=9, output=4, cache_read=8, reasoning=1)
    assert read_usage(b'{"prompt_tokens":9,"prompt_tokens_details":null}') == Usage(input=9)


MEMBERS = st.dictionaries(st.text(max_size=5).filter(lambda name: name != "error"), st.integers() | st.text(max_size=9), max_size=3)
LOOK_ALIKE = '"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5} [DONE] "error" "finish_reason":"stop" }'


@given(
    st.text(max_size=30),
    st.booleans(),
    st.booleans(),
    MEMBERS,
)
def test_the_answer_is_the_upstreams_with_two_insertions(text: str, ascii_only: bool, pretty: bool, more: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    message = {"content": text + LOOK_ALIKE, "usage": json.dumps(usage), "nested": {"usage": usage}}
    value = {**more, "first": {"usage": usage}, "usage": usage, "choices": [message], "x_last": {"usage": usage}}
    body = json.dumps(value, ensure_ascii=ascii_only, indent=2 if pretty else None).encode("utf-8", "surrogatepass")
    out = json.loads(complete(body, Ledger().settle))
    assert out == {**value, "usage": {**usage, "cost": 0.0000015}, "shoal": {"id": "req_1"}}


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'"x"', b"{", b'{"a":1}}', b'{"a":1} x', b"\xff", b'{"a":"\xff"}', b"[" * 100_000, b'{"a":' * 100_000],
)
def test_what_is_not_a_json_object_is_garbled(body: bytes) -> None:
    with pytest.raises(Fault) as found:
        complete(body, Ledger().settle)
    assert found.value.kind == "upstream_garbled"


def test_an_error_in_a_200_is_an_error() -> None:
    ledger = Ledger()
    with pytest.raises(Fault) as found:
        complete(b'{"error":{"message":"boom","code":"x"}}', ledger.settle)
    assert found.value.kind == "upstream_error"
    assert ledger.seen == []
    assert b"shoal" in complete(b'{"error":null,"id":1}', ledger.settle)


# errors


@pytest.mark.parametrize(
    ("status", "kind", "seen"),
    [
        (400, "upstream_rejected", 400),
        (413, "upstream_rejected", 413),
        (422, "upstream_rejected", 422),
        (401, "upstream_auth", 502),
        (403, "upstream_auth", 502),
        (404, "upstream_not_found", 404),
        (408, "upstream_timeout", 504),
        (429, "upstream_busy", 429),
        (301, "upstream_error", 502),
        (307, "upstream_error", 502),
        (500, "upstream_error", 502),
        (503, "upstream_error", 502),
        (529, "upstream_error", 502),
        (204, "upstream_error", 502),
    ],
)
def test_the_status_decides_the_kind(status: int, kind: str, seen: int) -> None:
    found = fault(status, {}, b'{"error":{"message":"no such thing","type":"t","param":"p","code":"c"}}')
    assert (found.kind, found.status) == (kind, seen)
    assert fault(status, {}, b"\xff<html>").kind == kind


def test_a_callers_mistake_is_told_as_the_upstream_told_it() -> None:
    found = fault(
        400, {}, b'{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}'
    )
    said = {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    assert json.loads(found.body())["error"] == said
    assert fault(422, {}, b'{"detail":[{"msg":"bad"}]}').message == '[{"msg":"bad"}]'
    assert fault(400, {}, b'{"error":"plain"}').message == "plain"
    assert fault(400, {}, b'{"message":"plain"}').message == "plain"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
def test_what_the_upstream_says_of_its_own_troubles_stays_here(status: int) -> None:
    secret = "sk-upstream-0123456789 org-4711 Traceback"
    found = fault(status, {}, json.dumps({"error": {"message": secret, "type": secret, "code": secret, "param": secret}}).encode())
    assert "sk-upstream" not in found.body().decode()
    assert found.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({b"retry-after": b"2"}, 2.0),
        ({b"retry-after": b"1.5"}, 1.5),
        ({b"retry-after-ms": b"250", b"retry-after": b"9"}, 0.25),
        ({b"retry-after": b"-3"}, 0.0),
        ({b"retry-after": b"Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({b"retry-after": b""}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"1e400"}, None),
        ({b"retry-after": b"1e30"}, 86400.0),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[bytes, bytes], seconds: float | None) -> None:
    assert fault(429, headers, b"").retry_after_s == seconds
    assert fault(503, headers, b"").retry_after_s == seconds


# streams


def test_the_usage_chunk_carries_cost_and_receipt() -> None:
    out, ledger, stream = run([event(delta("hi")), event(delta("", "stop")), event(LAST), DONE])
    assert out == (
        event(delta("hi"))
        + event(delta("", "stop"))
        + b'data: {"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"cost":0.0000015}'
        + b',"shoal":{"id":"req_1"}}\n\n'
        + DONE
    )
    assert ledger.seen == [Usage(input=3, output=2)]
    assert stream.done


def test_who_asked_for_no_usage_gets_a_comment_instead() -> None:
    out, ledger, _ = run([event(delta("hi")), event(delta("", "stop")), event(LAST), DONE], wants_usage=False)
    assert out == event(delta("hi")) + event(delta("", "stop")) + b': shoal {"id":"req_1"}\n\n' + DONE
    assert ledger.seen == [Usage(input=3, output=2)]


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_null_usage_beside_a_real_one_hides_nothing(wants_usage: bool) -> None:
    """What an upstream sends in one piece, with `"usage":null` on every chunk but the last."""
    out, ledger, _ = run([event(delta("hi", usage=None)) + event(LAST), event(delta("", "stop", usage=None)), DONE], wants_usage)
    assert ledger.seen == [Usage(input=3, output=2)]
    assert (b"prompt_tokens" in out) is wants_usage


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_usage_on_the_last_content_chunk_stays_there(wants_usage: bool) -> None:
    out, ledger, _ = run([event(delta("hi")), event(delta("", "stop", usage=USAGE)), DONE], wants_usage)
    assert ledger.seen == [Usage(input=3, output=2)]
    assert b'"finish_reason":"stop"' in out
    assert out.endswith(DONE)


@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_running_usage_is_settled_once_with_its_last_value(wants_usage: bool) -> None:
    running = [event(delta("a", usage={"prompt_tokens": 3, "completion_tokens": n})) for n in range(3)]
    out, ledger, _ = run([*running, event(delta("", "stop", usage=USAGE)), DONE], wants_usage)
    assert ledger.seen == [Usage(input=3, output=2)]
    assert out.count(b"req_1") == 1


@pytest.mark.parametrize("wants_usage", [True, False])
def test_without_any_usage_the_receipt_still_comes(wants_usage: bool) -> None:
    out, ledger, _ = run([event(delta("hi")), event(delta("", "stop")), DONE], wants_usage)
    assert out.endswith(b': shoal {"id":"req_1"}\n\n' + DONE)
    assert ledger.seen == [None]


@pytest.mark.parametrize(
    "spaced", [b'"finish_reason":"stop"', b'"finish_reason": "stop"', b'"finish_reason" : "stop"', b'"finish_reason":  "stop"']
)
def test_a_missing_done_is_forgiven_once_the_answer_is_complete(spaced: bytes) -> None:
    out, ledger, _ = run([event(delta("hi")), event(b'{"choices":[{"index":0,"delta":{},%b}]}' % spaced)])
    assert out.endswith(b': shoal {"id":"req_1"}\n\n' + DONE)
    assert len(ledger.seen) == 1


def test_a_missing_last_blank_line_is_forgiven() -> None:
    for last in (b"data: [DONE]", b"data: [DONE]\n", b"data: [DONE]\r\n"):
        out, _, _ = run([event(delta("hi")), last])
        assert out.endswith(DONE)


def test_an_answer_that_ends_early_is_an_error() -> None:
    for pieces in ([], [event(delta("hi"))], [event(delta("hi")), b": bye\n\n"], [event(delta("hi")), b"data: {"]):
        stream = Stream(True, Ledger().settle)
        for piece in pieces:
            stream.feed(piece)
        with pytest.raises(Fault) as found:
            stream.close()
        assert found.value.kind in ("upstream_cut", "upstream_garbled")


def test_nothing_follows_done() -> None:
    assert run([event(delta("hi")) + DONE + b": bye\n\n" + event(delta("more")), event(delta("x"))])[0].endswith(DONE)


def test_nothing_follows_an_error() -> None:
    ledger = Ledger()
    stream = Stream(True, ledger.settle)
    assert stream.feed(event(delta("hi"))) == event(delta("hi"))
    assert stream.feed(event(delta("more")) + event({"error": {"message": "x"}}) + event(delta("lost")) + DONE) == event(delta("more"))
    assert stream.failed is not None
    assert stream.failed.kind == "upstream_error"
    assert stream.feed(event(delta("lost"))) == b""
    assert ledger.seen == []
    with pytest.raises(Fault):
        stream.close()


@pytest.mark.parametrize("bad", [b'{"error"', b'{"usage":{]}', b'"error"', b'{"choices":1,"usage":{}}', b'{"usage":' + b"[" * 50_000])
def test_a_notable_event_that_is_not_json_is_garbled(bad: bytes) -> None:
    stream = Stream(True, Ledger().settle)
    assert stream.feed(event(delta("words")) + event(bad) + event(delta("lost"))) == event(delta("words"))
    assert stream.failed is not None
    assert stream.failed.kind == "upstream_garbled"


@pytest.mark.parametrize("wants_usage", [True, False])
@pytest.mark.parametrize("pieces", [[event(delta("", "stop")), event(LAST), DONE], [event(delta("", "stop")), event(LAST)]])
def test_an_answer_that_cannot_be_settled_is_not_done(pieces: list[bytes], wants_usage: bool) -> None:
    def settle(usage: Usage | None) -> tuple[str | None, bytes]:
        raise Fault("overloaded", "the disk is full")

    stream = Stream(wants_usage, settle)
    with pytest.raises(Fault, match="disk"):
        for piece in [*pieces, None]:
            _ = stream.close() if piece is None else stream.feed(piece)
    assert not stream.done


def test_look_alikes_in_content_are_content() -> None:
    chunk = event(delta(LOOK_ALIKE))
    out, ledger, _ = run([chunk, event(delta("", "stop")), event({**LAST, "x_note": LOOK_ALIKE}), DONE])
    assert out.startswith(chunk)
    assert ledger.seen == [Usage(input=3, output=2)]
    last = json.loads(out.split(b"data: ")[-2])
    assert last["usage"] == {**USAGE, "cost": 0.0000015}
    assert last["x_note"] == LOOK_ALIKE


CHUNKS = st.lists(
    st.sampled_from(
        [
            event(delta("hi")),
            event(delta(LOOK_ALIKE)),
            event(delta("ü€😀", usage=None)),
            event(delta("x"), b"\r\n\r\n"),
            event(delta("y"), b"\r\r"),
            b": keep-alive\n\n",
            b"event: message\ndata: {}\n\n",
            b'data: {"choices":[],\ndata: "a":1}\n\n',
            event(delta("", "stop")),
            event(delta("", "length", usage=None)),
            event(delta("", None, usage=USAGE)),
            event(LAST),
            event(b'{ "choices" : [ ] , "usage" : { "prompt_tokens" : 3 } }'),
            event({"choices": [], "usage": {}}),
            event({"x": {"usage": USAGE}, "choices": [], "usage": USAGE, "y": {"usage": USAGE}}),
            DONE,
            event({"error": {"message": "x"}}),
            b"\n",
        ]
    ),
    max_size=8,
)


def outcome(pieces: list[bytes], wants_usage: bool) -> tuple[bytes, list[Usage | None], str | None]:
    """What goes out, what was settled and how it ended."""
    ledger = Ledger()
    stream = Stream(wants_usage, ledger.settle)
    out = [stream.feed(piece) for piece in pieces]
    try:
        out.append(stream.close())
    except Fault as found:
        return b"".join(out), ledger.seen, found.kind
    return b"".join(out), ledger.seen, None


def tidy(found: tuple[bytes, list[Usage | None], str | None]) -> tuple[bytes, list[Usage | None], str | None]:
    """The same without needless empty lines: one that ends no event means nothing, and may pass or not."""
    out, settled, kind = found
    return re.sub(rb"[\r\n]{2,}", b"\n\n", out), settled, kind


@given(CHUNKS, st.lists(st.integers(0, 10_000), max_size=30), st.booleans())
def test_cuts_change_nothing(chunks: list[bytes], places: list[int], wants_usage: bool) -> None:
    data = b"".join(chunks)
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    pieces = [data[a:b] for a, b in itertools.pairwise(edges)]
    found = outcome(pieces, wants_usage)
    assert tidy(found) == tidy(outcome([data], wants_usage)) == tidy(outcome(chunks, wants_usage))
    out, settled, kind = tidy(found)
    assert out.count(b"[DONE]\n\n") == (1 if kind is None else 0)
    assert len(settled) <= 1
    assert (kind is None) <= (len(settled) == 1)


@given(CHUNKS, st.booleans())
def test_an_untouched_chunk_keeps_its_bytes(chunks: list[bytes], wants_usage: bool) -> None:
    """What goes out of a stream is what came in, but for insertions and what a caller did not ask for."""
    out, _, kind = outcome([*chunks, event(delta("", "stop"))], wants_usage)
    position = 0
    for chunk in chunks:
        if chunk == DONE or b'"error":' in chunk:
            break
        if chunk == b"\n" or (b"usage" in chunk.replace(b'\\"usage', b"") and b"null" not in chunk):
            continue
        found = out.find(chunk, position)
        assert found >= 0, (chunk, out, kind)
        position = found + len(chunk)


def test_a_blank_line_before_an_event_is_no_part_of_its_json() -> None:
    twice = event({"x": {"usage": USAGE}, "choices": [], "usage": USAGE})
    out, ledger, _ = run([b"\n" + twice, DONE])
    assert json.loads(out.split(b"data: ")[1])["usage"] == {**USAGE, "cost": 0.0000015}
    assert ledger.seen == [Usage(input=3, output=2)]


def test_an_error_event_is_one_event() -> None:
    assert error_event(b'{"error":{}}') == b'data: {"error":{}}\n\n'
