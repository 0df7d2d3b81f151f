"""What providers have made of the dialect: each of them is understood, and forwarded with one cost, one receipt and no error unseen."""

import json
from typing import Any

import pytest

from shoal.core.answer import Answer, LogprobsDelta, fold
from shoal.core.conversation import Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.openai_chat import answers, forward
from shoal.wire.openai_chat.streams import Reader
from shoal.wire.streamed import is_silent_to

RECEIPT = b'{"id":"req_1"}'


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, in_choice: Any = (), **more: Any) -> bytes:
    """A chunk of one choice; `in_choice` are more members of the choice, `more` of the chunk."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **dict(in_choice)}
    return event({"id": "i", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **more})


def read(*pieces: bytes) -> Answer:
    """What a reader makes of a stream."""
    reader = Reader()
    return fold([delta for piece in pieces for delta in reader.feed(piece)] + reader.close())


def settle(usage: Usage | None) -> tuple[str | None, bytes]:
    """As the gateway does."""
    return (None if usage is None else "0.5"), RECEIPT


def forwarded(*pieces: bytes, wants_usage: bool = True) -> list[Any]:
    """The events that a caller gets; the receipt in a comment is left out."""
    stream = forward.Stream(wants_usage, settle)
    out = b"".join([*(stream.feed(piece) for piece in pieces), stream.close()])
    return [json.loads(one[6:]) for one in out.decode().split("\n\n") if one.startswith("data: ") and one != "data: [DONE]"]


DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 11, "completion_tokens": 6, "total_tokens": 17}


@pytest.mark.parametrize("in_choice", [{"usage": COUNTS}, {}])
def test_usage_in_a_choice_or_beside_it_is_usage(in_choice: dict[str, Any]) -> None:
    """Moonshot tells it in the last choice, Groq told it in a member of its own."""
    more = {} if in_choice else {"x_groq": {"id": "r", "usage": COUNTS}}
    pieces = [chunk({"content": "OK"}), chunk({}, "stop", in_choice, **more), DONE]
    assert read(*pieces).usage == Usage(11, 6)
    last = forwarded(*pieces)[-1]
    assert last["choices"] == []
    assert last["usage"] == COUNTS | {"cost": 0.5}
    assert last["shoal"] == {"id": "req_1"}
    assert (last["id"], last["object"], last["created"], last["model"]) == ("i", "chat.completion.chunk", 1, "m")
    assert len(forwarded(*pieces)) == 3
    assert len(forwarded(*pieces, wants_usage=False)) == 2


def test_usage_beside_the_choices_outweighs_the_one_in_a_choice() -> None:
    other = {"prompt_tokens": 99, "completion_tokens": 33, "total_tokens": 132}
    pieces = [chunk({"content": "OK"}), chunk({}, "stop", {"usage": COUNTS}), event({"id": "i", "choices": [], "usage": other}), DONE]
    assert read(*pieces).usage == Usage(99, 33)
    told = forwarded(*pieces)
    assert [one["usage"] for one in told if "usage" in one] == [other | {"cost": 0.5}]


@pytest.mark.parametrize("theirs", [0.004, {"total_cost": 0.005, "request_cost": 0.005}])
@pytest.mark.parametrize("spaced", [False, True])
def test_an_upstreams_own_cost_stays_beside_ours(theirs: Any, spaced: bool) -> None:
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": COUNTS | {"cost": theirs, "is_byok": False}}
    text = json.dumps(body) if spaced else json.dumps(body, separators=(",", ":"))
    names: list[str] = []

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names.extend(name for name, _ in pairs)
        return dict(pairs)

    told = json.loads(forward.complete(text.encode(), settle), object_pairs_hook=look)
    assert told["usage"] == COUNTS | {"is_byok": False, "upstream_cost": theirs, "cost": 0.5}
    assert list(told["usage"])[-1] == "cost"
    assert names.count("cost") == 1
    assert forwarded(chunk({}, "stop", usage=body["usage"]), DONE)[0]["usage"] == told["usage"]


def call(**piece: Any) -> dict[str, Any]:
    """A piece of a call; `name` and `arguments` are the function's."""
    return {"function": {name: piece.pop(name) for name in ("name", "arguments") if name in piece}, **piece}


@pytest.mark.parametrize(
    "pieces",
    [
        [  # no index at all: pieces that come together come in the order of the calls
            [call(id="a", name="f", arguments=""), call(id="b", name="g", arguments="")],
            [call(arguments='{"x":1}'), call(arguments='{"y":2}')],
        ],
        [  # an index only later, and in any order
            [call(id="a", name="f", arguments='{"x"'), call(id="b", name="g", arguments='{"y"')],
            [call(index=1, arguments=":2}"), call(index=0, arguments=":1}")],
        ],
        [  # an empty id and an empty name with every piece
            [call(index=0, id="a", name="f", arguments=""), call(index=1, id="b", name="g", arguments="")],
            [call(index=0, id="", name="", arguments='{"x":1}'), call(index=1, id="", name="", arguments='{"y":2}')],
        ],
        [  # numbered from 1, after a text
            [call(index=1, id="a", name="f", arguments="")],
            [call(index=1, arguments='{"x":1}')],
            [call(index=2, id="b", name="g", arguments='{"y":2}')],
        ],
        [[call(id="a", name="f", arguments={"x": 1}), call(id="b", name="g", arguments={"y": 2})]],  # arguments as an object
    ],
)
def test_calls_are_put_together_however_they_are_numbered(pieces: list[list[dict[str, Any]]]) -> None:
    told = read(*(chunk({"tool_calls": calls}) for calls in pieces), chunk({}, "tool_calls"), DONE)
    assert told.choices[0].parts == (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", '{"y":2}'))


def test_chances_of_thought_are_none_of_the_text() -> None:
    """DeepSeek weighs its reasoning_content, too."""
    weighed = [{"token": "T", "logprob": -0.1, "bytes": [84], "top_logprobs": []}]
    reader = Reader()
    thought = reader.feed(chunk({"reasoning_content": "T"}, in_choice={"logprobs": {"reasoning_content": weighed, "content": None}}))
    assert not [one for one in thought if isinstance(one, LogprobsDelta)]
    both = reader.feed(chunk({"content": "T"}, in_choice={"logprobs": {"reasoning_content": weighed, "content": weighed}}))
    assert [json.loads(bytes(one.raw)) for one in both if isinstance(one, LogprobsDelta)] == [{"content": weighed}]


def test_chances_have_all_the_members_that_they_must_have() -> None:
    """Some leave out the bytes, or the alternatives where there are none."""
    token, top = {"token": "T", "logprob": -0.1}, {"token": "T", "logprob": -0.1}
    told = Reader().feed(chunk({"content": "T"}, in_choice={"logprobs": {"content": [token, {**token, "top_logprobs": [top]}]}}))
    weighed = [json.loads(bytes(one.raw)) for one in told if isinstance(one, LogprobsDelta)]
    filled = {**token, "bytes": None}
    assert weighed == [{"content": [{**filled, "top_logprobs": []}, {**filled, "top_logprobs": [{**top, "bytes": None}]}]}]


FAILURES = [
    ({"error": {"code": 502, "message": "Provider returned error"}}, "error", "upstream_error"),
    ({"error": {"code": 429, "message": "slow down"}}, None, "upstream_busy"),
    ({}, "error", "upstream_error"),
    ({}, "insufficient_system_resource", "upstream_error"),
    ({}, "network_error", "upstream_error"),
]


@pytest.mark.parametrize(("in_choice", "finish", "kind"), FAILURES)
def test_a_choice_that_failed_is_an_error(in_choice: dict[str, Any], finish: str | None, kind: str) -> None:
    """OpenRouter tells an error in a choice, others in the reason to stop."""
    whole = {"id": "i", "choices": [{"index": 0, "message": {"content": "ha"}, "finish_reason": finish, **in_choice}], "usage": COUNTS}
    with pytest.raises(Fault) as caught:
        forward.complete(json.dumps(whole).encode(), settle)
    assert caught.value.kind == kind
    with pytest.raises(Fault) as caught:
        answers.read(json.dumps(whole).encode())
    assert caught.value.kind == kind
    stream = forward.Stream(True, settle)
    assert b"ha" in stream.feed(chunk({"content": "ha"}))
    assert stream.feed(chunk({"content": ""}, finish, in_choice)) == b""
    assert stream.failed is not None
    assert stream.failed.kind == kind


def test_an_error_after_the_reason_to_stop_is_an_error() -> None:
    """OpenRouter tells of one between the last choice and the end of the stream; garbage there is nothing to anybody."""
    failed = {"id": "i", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": None}], "usage": COUNTS}
    pieces = [chunk({"content": "ha"}), chunk({}, "length"), event(failed | {"error": {"code": 400, "message": "Token limit reached"}})]
    reader = Reader()
    assert fold(reader.feed(b"".join(pieces))).choices[0].parts == (Text("ha"),)
    assert reader.failed is not None
    assert reader.failed.message == "Token limit reached"
    stream = forward.Stream(True, settle)
    assert b"ha" in stream.feed(b"".join(pieces))
    assert stream.failed is not None
    assert stream.failed.message == "Token limit reached"
    assert read(*pieces[:2], b"data: {]\n\n").choices[0].parts == (Text("ha"),)


BASE_FAULTS = [
    (1002, "upstream_busy"),
    (1008, "upstream_auth"),
    (1013, "upstream_error"),
    (2013, "upstream_rejected"),
    (9, "upstream_error"),
]


@pytest.mark.parametrize(("code", "kind"), BASE_FAULTS)
def test_an_error_beside_what_looks_like_an_answer_is_an_error(code: int, kind: str) -> None:
    """MiniMax tells errors in `base_resp`, in a success without choices."""
    failed = {"id": "i", "choices": None, "usage": {"total_tokens": 0}, "base_resp": {"status_code": code, "status_msg": "such"}}
    for attempt in (lambda: forward.complete(json.dumps(failed).encode(), settle), lambda: answers.read(json.dumps(failed).encode())):
        with pytest.raises(Fault) as caught:
            attempt()
        assert caught.value.kind == kind
    stream = forward.Stream(True, settle, 1, is_silent_to(Reader()))
    assert stream.feed(event(failed)) == b""
    assert stream.failed is not None
    assert stream.failed.kind == kind
    fine = {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "base_resp": {"status_code": 0, "status_msg": ""},
        "error": "",
    }
    assert answers.read(json.dumps(fine).encode()).choices[0].parts == (Text("hi"),)
    assert b"hi" in forward.complete(json.dumps(fine).encode(), settle)


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, "upstream_error"),
        ({"code": "rate_limit_exceeded", "message": "m"}, "upstream_busy"),
        ({"object": "error", "message": "m", "code": 401}, "upstream_auth"),
        ({"x": 42}, "upstream_garbled"),
        ({"choices": [], "usage": {"total_tokens": 0}}, "upstream_garbled"),
    ],
)
def test_what_has_no_choice_is_no_answer(told: Any, kind: str) -> None:
    """Z.AI tells some errors in a success, with a code and `msg`; nobody is charged for what holds no answer."""
    body = json.dumps(told).encode()
    for attempt in (lambda: forward.complete(body, settle, chosen=True), lambda: answers.read(body)):
        with pytest.raises(Fault) as caught:
            attempt()
        assert caught.value.kind == kind
    if kind == "upstream_garbled":
        assert RECEIPT in forward.complete(body, settle)  # where no choices are asked for


@pytest.mark.parametrize(
    "told",
    [
        b'event: error\ndata: {"error":{"message":"m","code":429}}\n\n',
        b'event: error\ndata: {"message":"m","status_code":429,"code":"rate_limit_exceeded"}\n\n',
        b'event:error\r\ndata:{"message":"m","type":"rate_limit_error"}\r\n\r\n',
        b'data: {"object":"error","message":"m","type":"x","code":429}\n\n',
        b'data: {"choices":[],"x_groq":{"id":"r","error":{"message":"m","code":"rate_limit_exceeded"}}}\n\n',
    ],
)
def test_an_event_that_is_an_error_is_one_whatever_its_shape(told: bytes) -> None:
    stream, reader = forward.Stream(True, settle), Reader()
    assert stream.feed(chunk({"content": "ha"}) + told) == chunk({"content": "ha"})
    assert fold(reader.feed(chunk({"content": "ha"}) + told)).choices[0].parts == (Text("ha"),)
    for failed in (stream.failed, reader.failed):
        assert failed is not None
        assert failed.kind == "upstream_busy"


def test_words_about_errors_are_no_error() -> None:
    body = {"choices": [{"index": 0, "message": {"content": '"error" "network_error"'}, "finish_reason": "stop"}], "usage": COUNTS}
    assert json.loads(forward.complete(json.dumps(body).encode(), settle))["usage"]["cost"] == 0.5


@pytest.mark.parametrize("format", ["xai-responses-v1", "azure-openai-responses-v1", "MiniMax-response-v1", "google-gemini-v1", "unknown"])
def test_a_thought_keeps_the_format_that_it_was_signed_in(format: str) -> None:
    """Whoever signed it may be none of our dialects: the way back to OpenRouter leads to it all the same."""
    details = [{"type": "reasoning.encrypted", "data": "QUJD", "format": format, "id": "rs_1", "index": 0}]
    told = read(chunk({"content": "", "reasoning": None, "reasoning_details": details}), chunk({"content": "hi"}), chunk({}, "stop"), DONE)
    shown = json.loads(answers.write(told, None, RECEIPT))["choices"][0]["message"]
    assert shown["reasoning_details"] == details


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ({"content": "Hello", "reasoning_content": "", "tool_calls": []}, (Text("Hello"),)),
        ({"content": [{"type": "reference", "reference_ids": [1]}, {"type": "text", "text": "Hello"}]}, (Text("Hello"),)),
        ({"content": "Hello", "role": "assistant", "tool_calls": None, "prefix": False}, (Text("Hello"),)),
        ({"content": "Hello", "executed_tools": [{"index": 0, "type": "search", "arguments": "{}"}]}, (Text("Hello"),)),
        ({"content": "Hello", "annotations": [{"type": "file", "file": {"hash": "h", "content": []}}]}, (Text("Hello"),)),
    ],
)
def test_members_of_their_own_hide_nothing(said: dict[str, Any], parts: tuple[Any, ...]) -> None:
    assert read(chunk(said), chunk({}, "stop"), DONE).choices[0].parts == parts


THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Let me "}, {"type": "text", "text": "see."}], "closed": True}
REFERENCE = {"type": "reference", "reference_ids": [1]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([THOUGHT], {"reasoning_content": "Let me see."}),
        ([THOUGHT, {"type": "text", "text": "391"}], {"content": "391", "reasoning_content": "Let me see."}),
        ([{"type": "text", "text": "391"}, REFERENCE], {"content": "391", "content_parts": [{"type": "text", "text": "391"}, REFERENCE]}),
        ([{"type": "thinking", "thinking": "Hm."}], {"reasoning_content": "Hm."}),
        ([], {}),
    ],
)
def test_a_content_that_is_a_list_is_forwarded_as_a_text(content: list[Any], said: dict[str, Any]) -> None:
    more = {"usage": COUNTS, "p": "abc"}
    message = {"role": "assistant", "tool_calls": None, "content": content}
    whole = {"id": "i", "choices": [{"index": 0, "finish_reason": "stop", "message": message}], **more}
    for separators in ((",", ":"), (", ", ": ")):
        told = json.loads(forward.complete(json.dumps(whole, separators=separators).encode(), settle))
        assert told["choices"][0]["message"] == {"role": "assistant", "tool_calls": None, "content": "", **said}
        assert told["p"] == "abc"
        assert told["usage"] == COUNTS | {"cost": 0.5}
        assert list(told)[-1] == "shoal"
    first, last = forwarded(chunk({"content": content}, p="abc"), chunk({"content": "!"}, "stop", usage=COUNTS), DONE)
    assert first["choices"][0]["delta"] == said
    assert first["p"] == "abc"
    assert last["choices"][0]["delta"] == {"content": "!"}
    ended = forwarded(chunk({"content": content}, "stop", **more), DONE)
    assert ended == [{**ended[0], "usage": COUNTS | {"cost": 0.5}, "shoal": {"id": "req_1"}}]
    assert ended[0]["choices"][0]["delta"] == said


def test_lists_that_are_no_contents_are_left_alone() -> None:
    function = {"name": "f", "arguments": '{"content":["a"]}'}
    delta = {"tool_calls": [{"index": 0, "id": "a", "function": function, "output": {"content": [1]}}]}
    assert forwarded(chunk(delta), chunk({}, "tool_calls"), DONE)[0]["choices"][0]["delta"] == delta
