"""A stream as a caller got it adds up to the completion it would have been, receipt and all."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.core.answer import Answer, Choice, split
from shoal.core.conversation import Reasoning, Text, ToolCall
from shoal.core.errors import Fault
from shoal.core.usage import Usage
from shoal.wire.openai_chat import answers, requests, streams, whole

RECEIPT = b'{"id":"req_1","cost_usd":0.25}'
USAGE = Usage(input=3, output=2)


def events(answer: Answer, wants_usage: bool) -> bytes:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    asked |= {"stream_options": {"include_usage": True}} if wants_usage else {}
    writer = streams.Writer(requests.read(json.dumps(asked).encode()))
    return writer.feed(list(split(answer))) + writer.close("0.25", RECEIPT)


words = st.text(min_size=1, max_size=20)
parts = st.one_of(
    words.map(lambda text: (Text(text),)),
    st.tuples(words, words).map(lambda both: (Reasoning(both[0]), Text(both[1]))),
    st.tuples(words, words).map(lambda both: (Text(both[0]), ToolCall("call_1", both[1], '{"a": 1}'))),
)


@given(parts, parts, st.booleans(), st.integers(1, 2))
def test_it_is_the_answer_that_was_streamed(first: Any, second: Any, wants_usage: bool, n: int) -> None:
    def choice(index: int, said: Any) -> Choice:
        return Choice(index=index, parts=said, finish="tool_calls" if isinstance(said[-1], ToolCall) else "stop")

    choices = tuple(choice(index, one) for index, one in enumerate((first, second)[:n]))
    said = Answer(id="chatcmpl-1", model="m", created=1_700_000_000, choices=choices, usage=USAGE)
    folded = whole.fold_stream(events(said, wants_usage), USAGE, n)
    assert json.loads(folded) == json.loads(answers.write(said, "0.25", RECEIPT))
    assert whole.id_of(folded) == "chatcmpl-1"


def test_comments_and_what_is_charged() -> None:
    body = b': keep-alive\n\ndata: {"id":"c","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    body += b': shoal {"cost_usd":1,"charged_usd":2}\n\ndata: [DONE]\n\n'
    folded = json.loads(whole.fold_stream(body, USAGE))
    assert (folded["usage"]["cost"], folded["shoal"]) == (2, {"cost_usd": 1, "charged_usd": 2})
    assert "usage" not in json.loads(whole.fold_stream(body, None))


@pytest.mark.parametrize("body", [b"", b'data: {"id":"c","choices":[{"delta":{"content":"a"}}]}\n\n', b"data: x\n\n", b"data: [DONE]\n\n"])
def test_what_is_no_whole_stream_is_refused(body: bytes) -> None:
    with pytest.raises(Fault):
        whole.fold_stream(body, None)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":5}', b"{}", b'{"id":null}'])
def test_an_id_that_is_not_there(body: bytes) -> None:
    assert whole.id_of(body) == ""
