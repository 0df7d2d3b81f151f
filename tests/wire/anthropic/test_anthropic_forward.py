"""Anthropic to Anthropic: bytes survive, and exactly two insertions are made."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.anthropic.forward import Stream, complete, encode

RECEIPT = b'{"id":"req_1"}'
DEPLOYMENT = Deployment(id="d", model="m", provider="p", upstream_model="claude-haiku-4-5")


class Asked:
    """What the gateway knows of a request."""

    def __init__(self, body: bytes, model: str = "m", stream: bool = False) -> None:
        self.body, self.model, self.stream = body, model, stream


class Ledger:
    """What `settle` was called with."""

    def __init__(self) -> None:
        self.seen: list[Usage | None] = []

    def settle(self, usage: Usage | None) -> tuple[str | None, bytes]:
        """As the gateway does."""
        self.seen.append(usage)
        return (None if usage is None else "0.5"), RECEIPT


def event(type: str, **members: Any) -> bytes:
    """One event of a stream."""
    return f"event: {type}\ndata: {json.dumps({'type': type, **members})}\n\n".encode()


def run(data: bytes, *cuts: int) -> tuple[bytes, Ledger, Stream]:
    """A stream through the gateway's eyes."""
    ledger, out, at = Ledger(), b"", 0
    stream = Stream(ledger.settle)
    for cut in sorted(cuts):
        out += stream.feed(data[at:cut])
        at = cut
    return out + stream.feed(data[at:]) + stream.close(), ledger, stream


BEGIN = event("message_start", message={"id": "i", "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}})
TEXT = event("content_block_delta", index=0, delta={"type": "text_delta", "text": 'say "error": "type": "message_stop" ü'})
DELTA = b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}  }\n\n'
STOP = event("message_stop")
STREAM = BEGIN + event("ping") + TEXT + TEXT + DELTA + STOP


def test_a_request_keeps_its_bytes_but_for_the_model_and_what_is_ours() -> None:
    body = b'{ "model":"m", "x" : [1.0,  1e3, "\\u00e9"], "messages":[ {"role":"user"} ], "provider":{"order":["a"]}, "fallbacks":[]}'
    call = encode(Asked(body), DEPLOYMENT)
    assert b'[1.0,  1e3, "\\u00e9"]' in call.body
    assert b'[ {"role":"user"} ]' in call.body
    assert json.loads(call.body) == {"model": "claude-haiku-4-5", "x": [1.0, 1000.0, "é"], "messages": [{"role": "user"}]}
    assert (call.path, dict(call.headers)) == ("/messages", {"anthropic-version": "2023-06-01"})
    same = b'{"model":"claude-haiku-4-5","messages":[]}'
    assert encode(Asked(same, "claude-haiku-4-5"), DEPLOYMENT).body is same
    with pytest.raises(Fault) as caught:
        encode(Asked(b"[]"), DEPLOYMENT)
    assert caught.value.kind == "invalid_json"


def test_betas_are_asked_for_where_they_are_used() -> None:
    body = b'{"model":"m","messages":[{"content":[{"source":{"type":"file","file_id":"f"}}]}],"context_management":{}}'
    betas = dict(encode(Asked(body), DEPLOYMENT).headers)["anthropic-beta"]
    assert betas == "context-management-2025-06-27,files-api-2025-04-14"


@pytest.mark.parametrize("signature", ["shoal:gemini:s::g", ""])
def test_a_history_that_others_signed_is_written_anew(signature: str) -> None:
    thought = {"type": "thinking", "thinking": "t", "signature": signature}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]}]
    call = encode(Asked(json.dumps({"model": "m", "max_tokens": 5, "messages": turns}).encode()), DEPLOYMENT)
    assert json.loads(call.body)["messages"][1]["content"] == [{"type": "text", "text": "a"}]


def test_a_whole_answer_gets_its_two_insertions() -> None:
    ledger = Ledger()
    body = b'{"type":"message",  "usage" : {"input_tokens": 3,"output_tokens":4} , "content":[] }\n'
    assert complete(body, ledger.settle) == (
        b'{"type":"message",  "usage" : {"input_tokens": 3,"output_tokens":4,"cost":0.5} , "content":[] ,"shoal":{"id":"req_1"}}\n'
    )
    assert ledger.seen == [Usage(3, 4)]


def test_the_right_usage_gets_the_cost() -> None:
    usage = b'{"output_tokens":4}'
    inner = b'[{"type":"tool_use","input":{"usage":%b}}]' % usage
    for body in (b'{"usage":%b,"content":%b}' % (usage, inner), b'{"content":%b,"usage":%b}' % (inner, usage)):
        out = json.loads(complete(body, Ledger().settle))
        assert out["usage"] == {"output_tokens": 4, "cost": 0.5}
        assert out["content"][0]["input"] == {"usage": {"output_tokens": 4}}
    assert json.loads(complete(b'{"usage":{}}', Ledger().settle))["usage"] == {"cost": 0.5}
    assert complete(b'{"a":1}', Ledger().settle) == b'{"a":1,"shoal":{"id":"req_1"}}'


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<html>", "upstream_garbled"),
        (b"[]", "upstream_garbled"),
        (b'{"a":"\xff"}', "upstream_garbled"),
        (b'{"type":"error","error":{"type":"rate_limit_error"}}', "upstream_busy"),
    ],
)
def test_what_is_no_answer_is_a_fault(body: bytes, kind: str) -> None:
    with pytest.raises(Fault) as caught:
        complete(body, Ledger().settle)
    assert caught.value.kind == kind


def test_a_stream_gets_its_two_insertions_in_the_last_event_with_usage() -> None:
    out, ledger, stream = run(STREAM)
    end = b'"usage":{"output_tokens":9,"cost":0.5}  ,"shoal":{"id":"req_1"}}\n\n'
    assert out == STREAM.replace(b'"usage":{"output_tokens":9}  }\n\n', end)
    assert ledger.seen == [Usage(10, 9, 3)]
    assert stream.done


@given(st.lists(st.integers(0, len(STREAM)), max_size=6))
def test_the_bytes_may_be_cut_anywhere(cuts: list[int]) -> None:
    assert run(STREAM, *cuts)[0] == run(STREAM)[0]


def test_bytes_one_by_one_and_a_missing_end() -> None:
    whole = run(STREAM)[0]
    assert run(STREAM, *range(len(STREAM)))[0] == whole
    assert run(STREAM.rstrip())[0] == whole
    assert json.loads(run(BEGIN + DELTA)[0].rsplit(b"data: ", 1)[1]) == {"type": "message_stop"}


def test_a_receipt_without_usage_to_stand_in() -> None:
    out, ledger, _ = run(BEGIN + STOP)
    assert out == BEGIN + b': shoal {"id":"req_1"}\n\n' + STOP
    assert ledger.seen == [Usage(10, 1, 3)]
    bare = event("message_delta", delta={"stop_reason": "end_turn"})
    assert b'"stop_reason": "end_turn"},"shoal":{"id":"req_1"}}' in run(bare + STOP)[0]


def test_an_error_event_ends_the_stream() -> None:
    stream = Stream(Ledger().settle)
    out = stream.feed(BEGIN + event("error", error={"type": "overloaded_error", "message": "x"}) + TEXT)
    assert out == BEGIN
    assert stream.failed is not None
    assert stream.failed.upstream_status == 529
    assert stream.feed(STOP) == b""
    with pytest.raises(Fault):
        stream.close()


def test_a_stream_that_ends_early_was_cut() -> None:
    with pytest.raises(Fault) as caught:
        run(BEGIN + TEXT)
    assert caught.value.kind == "upstream_cut"
    with pytest.raises(Fault) as caught:
        run(b'data: {"type": "message_start", \n\n')
    assert caught.value.kind == "upstream_garbled"
