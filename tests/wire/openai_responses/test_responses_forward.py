"""Responses to Responses: nothing but the model's name and what is the gateway's own changes, and answers keep every byte."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.chat import members_of
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.usage import Usage
from shoal.wire.openai_responses import envelope, errors, reasoning
from shoal.wire.openai_responses.dialect import FORWARD

THINKER = Deployment("d", "gpt-5", "openai", "gpt-5-mini", dialect="openai_responses")
ANSWERER = Deployment("d", "gpt-4o", "openai", "gpt-4o", dialect="openai_responses")
ASKED = envelope.read(b'{"model":"m","input":"x"}')
USAGE = '{"input_tokens": 10, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 2}, "total_tokens": 17}'
WHOLE = (
    '{\n  "id": "resp_1",\n  "usage": %s,\n  "output": [{"text": "say \\"usage\\": {}"}],\n  "status": "completed",\n  "error": null\n}\n'
)


def sent(body: dict[str, Any], deployment: Deployment = ANSWERER) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FORWARD.encode(envelope.read(json.dumps(body).encode()), deployment).body)
    return found


def settling(told: list[Usage | None]) -> Callable[[Usage | None], tuple[str | None, bytes]]:
    def settle(used: Usage | None) -> tuple[str | None, bytes]:
        told.append(used)
        return "0.25", b'{"id":"req_1"}'

    return settle


def test_a_request_is_spliced() -> None:
    body = {
        "model": "openai/gpt",
        "input": "hi",
        "tools": [{"type": "web_search", "filters": {"x": 1}}],
        "x_new": 1.50,
        "store": True,
        "metadata": {"a": "b"},
        "previous_response_id": "resp_0",
        "models": ["x"],
        "provider": {"order": []},
        "route": "r",
        "fallbacks": [],
        "session_id": "s",
    }
    assert sent(body) == {"model": "gpt-4o", "input": "hi", "tools": body["tools"], "x_new": 1.5, "store": False}


def test_a_thinker_is_asked_for_its_thoughts_besides_what_the_caller_wants() -> None:
    wanted = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    assert sent({"model": "m", "input": "x", "include": wanted[:1]}, THINKER)["include"] == wanted
    assert sent({"model": "m", "input": "x", "include": wanted}, THINKER)["include"] == wanted
    assert sent({"model": "m", "input": "x"}, THINKER)["include"] == wanted[1:]
    assert "include" not in sent({"model": "m", "input": "x"})


def test_thoughts_of_others_are_left_out() -> None:
    foreign = reasoning.seal(reasoning.Reasoning(signature="sig", origin="anthropic"))
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
    quoted = {"role": "user", "content": f"what is {foreign}?"}
    items = [quoted, {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": foreign}, own]
    assert sent({"model": "m", "input": items})["input"] == [quoted, own]


def test_a_whole_answers_members_keep_their_bytes() -> None:
    told: list[Usage | None] = []
    body = (WHOLE % USAGE).encode()
    out = FORWARD.complete(ASKED, body, settling(told))
    assert told == [Usage(input=10, output=7, cache_read=2)]
    assert members_of(out.replace(b',"cost":0.25', b"").replace(b',"shoal":{"id":"req_1"}', b"")) == members_of(body)
    found = json.loads(out)
    assert list(found["usage"])[-1] == "cost"
    assert list(found)[-1] == "shoal"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({}, {"store": True, "metadata": {}, "previous_response_id": None}),
        ({"store": False, "metadata": None}, {"store": False, "metadata": {}, "previous_response_id": None}),
        (
            {"previous_response_id": "resp_0", "metadata": {"a": "b"}},
            {"store": True, "metadata": {"a": "b"}, "previous_response_id": "resp_0"},
        ),
    ],
)
def test_what_is_kept_here_is_told_as_the_caller_said_it(said: dict[str, Any], shown: dict[str, Any]) -> None:
    """The upstream was told to store nothing, and was sent the whole conversation."""
    asked = envelope.read(json.dumps({"model": "m", "input": "x", **said}).encode())
    response = {"id": "resp_1", "status": "completed", "store": False, "metadata": {}, "previous_response_id": None, "usage": None}
    whole = json.loads(FORWARD.complete(asked, json.dumps(response).encode(), settling([])))
    assert whole == response | shown | {"shoal": {"id": "req_1"}}
    began = b"data: %b\n\n" % json.dumps({"type": "response.created", "response": response | {"status": "in_progress"}}).encode()
    ended = b"data: %b\n\n" % json.dumps({"type": "response.completed", "response": response}).encode()
    stream = FORWARD.stream(asked, settling([]))
    events = [json.loads(one[6:]) for one in (stream.feed(began + ended) + stream.close()).decode().split("\n\n") if one]
    assert [event["response"] for event in events] == [response | {"status": "in_progress"} | shown, whole]


@pytest.mark.parametrize("used", ["null", "{}", "7"])
def test_an_answer_without_usage_has_a_receipt_all_the_same(used: str) -> None:
    found = json.loads(FORWARD.complete(ASKED, (WHOLE % used).encode(), settling([])))
    assert found["shoal"] == {"id": "req_1"}
    assert found["usage"] == json.loads(used)


def test_usage_is_found_among_others_like_it() -> None:
    body = '{"metadata": {"usage": @}, "usage": @, "x": {"usage": @}}'.replace("@", USAGE)
    found = json.loads(FORWARD.complete(ASKED, body.encode(), settling([])))
    assert [("cost" in place["usage"]) for place in (found["metadata"], found, found["x"])] == [False, True, False]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "upstream_garbled"),
        (b"[]", "upstream_garbled"),
        (b'{"a":"\xff"}', "upstream_garbled"),
        (b'{"error":{"code":"server_error","message":"x"}}', "upstream_error"),
        (b'{"status":"failed","error":{"code":"rate_limit_exceeded","message":"x"}}', "upstream_busy"),
        (b'{"status":"failed","error":{"code":"invalid_prompt","message":"x"}}', "upstream_rejected"),
    ],
)
def test_an_answer_that_is_none_is_a_fault(body: bytes, kind: str) -> None:
    with pytest.raises(Fault) as caught:
        FORWARD.complete(ASKED, body, settling([]))
    assert caught.value.kind == kind


def event(kind: str, rest: str = "") -> bytes:
    return f'event: {kind}\ndata: {{"type":"{kind}"{rest}}}\n\n'.encode()


CREATED = event("response.created", ',"response":{"id":"resp_1","output":[],"usage":null}')
SAID = event("response.output_text.delta", ',"delta":"\\"type\\":\\"response.completed\\" é"')
ENDED = event(
    "response.completed", ',"response":{"id":"resp_1","status":"completed","usage":@,"z":1},"sequence_number":9'.replace("@", USAGE)
)
STREAM = CREATED + b": ping\n\n" + event("response.in_progress") + SAID + event("response.new_thing", ',"item":{"type":"error"}') + ENDED


def passed(*pieces: bytes, told: list[Usage | None] | None = None) -> bytes:
    stream = FORWARD.stream(ASKED, settling(told if told is not None else []))
    out = b"".join(stream.feed(piece) for piece in pieces)
    assert stream.failed is None
    return out + stream.close()


@given(st.lists(st.integers(0, len(STREAM)), max_size=6), st.booleans())
def test_a_stream_keeps_its_bytes_wherever_it_is_cut(cuts: list[int], crlf: bool) -> None:
    body = STREAM.replace(b"\n", b"\r\n") if crlf else STREAM
    places = [0, *sorted(cuts), len(body)]
    told: list[Usage | None] = []
    out = passed(*(body[start:end] for start, end in pairwise(places)), told=told)
    assert told == [Usage(input=10, output=7, cache_read=2)]
    assert out.count(b',"cost":0.25},"z":1,"shoal":{"id":"req_1"}},"sequence_number":9}') == 1
    assert out.replace(b',"cost":0.25', b"").replace(b',"shoal":{"id":"req_1"}', b"") == body


def test_the_response_is_known_as_the_caller_got_it() -> None:
    stream = FORWARD.stream(ASKED, settling([]))
    stream.feed(STREAM)
    assert stream.done
    assert json.loads(stream.response)["usage"]["cost"] == 0.25
    assert stream.feed(b"data: [DONE]\n\n") == b""


def test_data_on_several_lines_is_put_together() -> None:
    body = b'event: response.completed\ndata: {"type":"response.completed",\ndata: "response":{"id":"x",\ndata: "usage":null}}\n\n'
    found = json.loads(passed(body).removeprefix(b"data: "))
    assert found["response"] == {"id": "x", "usage": None, "shoal": {"id": "req_1"}}


def test_an_announcement_is_held_back_until_something_comes() -> None:
    stream = FORWARD.stream(ASKED, settling([]))
    assert stream.feed(CREATED + event("response.in_progress")) == b""
    assert stream.feed(SAID) == CREATED + event("response.in_progress") + SAID
    assert stream.feed(SAID) == SAID


@pytest.mark.parametrize(
    ("piece", "kind"),
    [
        (event("error", ',"code":"server_error","message":"x","param":null'), "upstream_error"),
        (event("response.failed", ',"response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"x"}}'), "upstream_busy"),
        (b'data: {"error":{"message":"x","code":503}}\n\n', "upstream_error"),
    ],
)
def test_an_error_is_told_and_nothing_after_it(piece: bytes, kind: str) -> None:
    stream = FORWARD.stream(ASKED, settling([]))
    assert stream.feed(CREATED + piece + SAID) == b""
    assert stream.failed is not None and stream.failed.kind == kind
    with pytest.raises(Fault) as caught:
        stream.close()
    assert caught.value is stream.failed


@pytest.mark.parametrize("end", [len(CREATED), len(STREAM) - len(ENDED), len(STREAM) - 30])
def test_a_stream_that_is_cut_is_not_whole(end: int) -> None:
    with pytest.raises(Fault) as caught:
        passed(STREAM[:end])
    assert caught.value.kind in ("upstream_cut", "upstream_garbled")


def test_a_last_blank_line_may_be_missing() -> None:
    assert passed(STREAM.rstrip()) == passed(STREAM)


@pytest.mark.parametrize(
    ("status", "error", "kind", "seen"),
    [
        (400, {"code": "context_length_exceeded", "message": "long"}, "context_length", 400),
        (400, {"code": "decimal_below_min_value", "message": "m", "param": "temperature"}, "upstream_rejected", 400),
        (404, {"message": "Item 'rs_1' not found", "type": "invalid_request_error", "param": "input"}, "upstream_rejected", 404),
        (404, {"message": "no model", "code": "model_not_found"}, "upstream_not_found", 404),
        (401, {"message": "bad key"}, "upstream_auth", 502),
        (429, {"message": "slow"}, "upstream_busy", 429),
        (500, {"message": "oh"}, "upstream_error", 502),
    ],
)
def test_error_answers(status: int, error: dict[str, Any], kind: str, seen: int) -> None:
    fault = errors.read(status, {}, json.dumps({"error": error}).encode())
    assert (fault.kind, fault.status) == (kind, seen)


def test_an_error_is_written_with_its_receipt() -> None:
    fault = Fault("invalid_value", "Wrong.", param="x")
    whole = json.loads(errors.write(fault, b'{"id":"req_1"}'))
    wanted = {"message": "Wrong.", "type": "invalid_request_error", "param": "x", "code": "invalid_value"}
    assert whole == {"error": wanted, "shoal": {"id": "req_1"}}
    found = errors.write_event(fault, b"null", 7)
    assert found.startswith(b"event: error\ndata: ")
    told = json.loads(found.removeprefix(b"event: error\ndata: "))
    assert told["error"] == wanted
    assert (told["type"], told["code"], told["message"], told["param"], told["sequence_number"]) == (
        "error",
        "invalid_value",
        "Wrong.",
        "x",
        7,
    )
