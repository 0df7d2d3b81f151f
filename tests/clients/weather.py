"""What an upstream answers to clients that offer a tool: a call of it, whole or in pieces, and then the answer."""

import json
from typing import Any

from installation import Installation
from upstream import DONE, LAST, Line, Received, completion, delta, event, stream, whole

ARGUMENTS = '{"city": "Paris"}'
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
ANSWER = "It is sunny in Paris."


def base_url(shoal: Installation) -> str:
    """Where clients find a server."""
    return f"http://127.0.0.1:{shoal.port}/v1"


def calls(*calls: dict[str, Any]) -> bytes:
    """A whole answer that calls functions."""
    message = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    return whole({**completion(), "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})


def streamed_call(call: dict[str, Any]) -> bytes:
    """The same in pieces."""
    function = call["function"]
    pieces = [{"index": 0, **call, "function": {"name": function["name"], "arguments": ""}}]
    half = len(function["arguments"]) // 2
    pieces += [{"index": 0, "function": {"arguments": part}} for part in (function["arguments"][:half], function["arguments"][half:])]
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "upstream"}
    chunks = [event({**head, "choices": [{"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": None}]}) for piece in pieces]
    return stream([*chunks, delta(None, "tool_calls"), LAST, DONE])


def streamed_text(text: str) -> bytes:
    """Text, a word at a time."""
    words = text.split(" ")
    parts = [word if not number else f" {word}" for number, word in enumerate(words)]
    return stream([*map(delta, parts), delta(None, "stop"), LAST, DONE])


def answers(line: Line, request: Received) -> None:
    """An upstream that wants to know the weather first: it calls the tool, and answers once the result is there."""
    asked = request.json
    told = any(message["role"] == "tool" for message in asked["messages"])
    if asked.get("stream"):
        line.send(streamed_text(ANSWER) if told else streamed_call(CALL))
    else:
        line.send(whole(completion(ANSWER)) if told else calls(CALL))


def assert_went_round(first: Received, second: Received) -> None:
    """The client offered the tool, and sent back the call and its result."""
    offered = first.json["tools"][0]["function"]
    assert offered["name"] == "get_weather"
    assert offered["parameters"]["properties"]["city"]["type"] == "string"
    call, result = second.json["messages"][-2:]
    assert call["tool_calls"][0]["id"] == result["tool_call_id"] == "call_1"
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"city": "Paris"}
    assert "sunny" in json.dumps(result["content"])
