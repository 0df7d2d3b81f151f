"""Upstreams that say the same things in every dialect: what they say is data (`SCENES`), how a dialect words it is in its documentation.

A provider stands for each dialect, a model for each scene: `anthropic-thinks` is the scene `thinks`, told by an upstream that speaks
Anthropic's Messages API. So one server, with one configuration, shows every client every dialect.
"""

import base64
import itertools
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from installation import Installation
from upstream import Line, Received, Script, Upstream, chunked, event, head, whole

SIGNATURE = base64.b64encode(b"signed by who thought it").decode()
"""What proves a thought to its maker: opaque, base64 as all makers have it. It must come back unchanged."""

PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n, or so").decode()
SECONDS = 90
"""How long the busy one wants to be left alone: longer than the gateway waits by itself."""


class Call(NamedTuple):
    """A call of a function; its arguments are JSON text."""

    id: str
    city: str
    name: str = "get_weather"

    @property
    def arguments(self) -> str:
        return json.dumps({"city": self.city})


class Said(NamedTuple):
    """An answer. `finish` is OpenAI's word for why it ended."""

    text: str = ""
    thought: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = "stop"


SCENES = {
    "plain": Said("Hello there."),
    "thinks": Said("It is four.", thought="Two and two."),
    "calls": Said(thought="Both cities.", calls=(Call("call_1", "Paris"), Call("call_2", "Oslo")), finish="tool_calls"),
    "object": Said('{"name": "Paris", "people": 2102650}'),
    "long": Said("Once upon a", finish="length"),
}
AFTER = Said("Sunny in both.")
"""What is said once the calls' results have been told."""

ERRORS = {"rejected": 400, "denied": 401, "absent": 404, "busy": 429, "broken": 500}
"""Scenes that are errors; the words of all are WORDS."""

WORDS = "Such a request makes no sense."

INPUT, CACHED, OUTPUT, THOUGHT = 20, 5, 12, 4
"""Tokens of every answer: read (some of them from a cache), and written (some of them thought). Prices below are USD per million."""

COST = ((INPUT - CACHED) * 2 + CACHED * 1 + OUTPUT * 10) / 1e6
WITHOUT_CACHE = (INPUT * 2 + OUTPUT * 10) / 1e6
"""The cost where an upstream bills units, the cache already taken off."""

PROVIDERS = {
    "openai_chat": ("openrouter", "open"),
    "openai_responses": ("responder", "gpt-5"),
    "anthropic": ("anthropic", "claude-sonnet-4-5"),
    "gemini": ("gemini", "gemini-2.5-flash"),
    "bedrock": ("bedrock", "anthropic.claude-sonnet-4-5"),
    "cohere": ("cohere", "command-a"),
}
"""For each dialect its provider, and how its models' names begin. The chat dialect is OpenRouter's, which takes signatures back."""

DIALECTS = tuple(PROVIDERS)
SIGNING = tuple(dialect for dialect in DIALECTS if dialect != "cohere")


def name(dialect: str, scene: str) -> str:
    """The public name of a model."""
    return f"{dialect.replace('_', '-')}-{scene}"


def config(port: int) -> str:
    """Every provider, and a model for every scene."""
    lines = []
    for dialect, (provider, family) in PROVIDERS.items():
        lines += [f"[providers.{provider}]", f'base_url = "http://127.0.0.1:{port}/{dialect}"', f'dialect = "{dialect}"']
        lines += ['api_key = "sk-upstream-secret"', "discover = false", ""]
        for scene in (*SCENES, *ERRORS, "vectors", "ranks"):
            price = "price = { input = 2.0, output = 10.0, cache_read = 1.0 }"
            lines += [f'[models."{name(dialect, scene)}"]']
            lines += [f'deployments = [{{ provider = "{provider}", model = "{family}-{scene}", {price} }}]', ""]
    return "\n".join(lines)


class Polyglot(Upstream):
    """Speaks the dialect that the path begins with; plays the scene that the model's name ends in."""

    def heard(self, dialect: str, scene: str) -> list[Received]:
        """The requests for a scene in a dialect so far."""
        return self.received(f"{dialect} {scene}")

    def _choose(self, request: Received) -> Script:
        path = request.line.split(b" ")[1].decode()
        _, dialect, where = path.split("/", 2)
        asked = request.json
        model = asked["model"] if dialect not in ("gemini", "bedrock") else where.split("/")[1].partition(":")[0]
        scene = model.rpartition("-")[2]
        with self._lock:
            self._received[f"{dialect} {scene}"].append(request)
        if scene in OTHERS:
            return _send(whole(OTHERS[scene][dialect]))
        if scene in ERRORS:
            return _send(_error(dialect, ERRORS[scene]))
        if where.endswith(("countTokens", "count_tokens")):
            return _send(whole({"totalTokens": INPUT} if dialect == "gemini" else {"input_tokens": INPUT}))
        said = AFTER if b"sunny" in request.body else SCENES[scene]
        if where.endswith("/responses") or where == "responses":  # OpenRouter has that API, too
            dialect = "openai_responses"
        streamed = asked.get("stream") or "tream" in where.rpartition("/")[2]
        return _send(STREAMED[dialect](said) if streamed else whole(WHOLE[dialect](said)))


def _send(data: bytes) -> Script:
    def play(line: Line, request: Received) -> None:
        line.send(data)

    return play


def halves(text: str) -> tuple[str, str]:
    """A text in two pieces."""
    return text[: len(text) // 2], text[len(text) // 2 :]


def _events(events: Iterator[Any], names: bool = False) -> bytes:
    lines = [(b"event: %b\n" % one["type"].encode() if names else b"") + event(one) for one in events]
    return head(kind="text/event-stream", framing="transfer-encoding: chunked\r\n") + chunked(lines)


# OpenAI's chat completions, as OpenRouter extends them: https://openrouter.ai/docs/use-cases/reasoning-tokens

_CHAT_USAGE = {
    "prompt_tokens": INPUT,
    "completion_tokens": OUTPUT,
    "total_tokens": INPUT + OUTPUT,
    "prompt_tokens_details": {"cached_tokens": CACHED},
    "completion_tokens_details": {"reasoning_tokens": THOUGHT},
}
_CHAT = {"id": "gen-1", "created": 1_760_000_000, "model": "open"}


def _details(thought: str, signature: str | None) -> list[dict[str, Any]]:
    return [{"type": "reasoning.text", "text": thought, "signature": signature, "format": "anthropic-claude-v1", "index": 0}]


def _chat(said: Said) -> Any:
    calls = [{"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}} for one in said.calls]
    message: dict[str, Any] = {"role": "assistant", "content": said.text or None}
    message |= {"tool_calls": calls} if calls else {}
    message |= {"reasoning": said.thought, "reasoning_details": _details(said.thought, SIGNATURE)} if said.thought else {}
    choice = {"index": 0, "message": message, "finish_reason": said.finish, "logprobs": None}
    return _CHAT | {"object": "chat.completion", "choices": [choice], "usage": _CHAT_USAGE}


def _chat_stream(said: Said) -> bytes:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    if said.thought:
        deltas += [{"reasoning": half, "reasoning_details": _details(half, None)} for half in halves(said.thought)]
        deltas += [{"reasoning_details": _details("", SIGNATURE)}]
    deltas += [{"content": half} for half in halves(said.text) if half]
    for index, one in enumerate(said.calls):
        first, last = halves(one.arguments)
        begun = {"index": index, "id": one.id, "type": "function", "function": {"name": one.name, "arguments": first}}
        deltas += [{"tool_calls": [begun]}, {"tool_calls": [{"index": index, "function": {"arguments": last}}]}]
    shape = _CHAT | {"object": "chat.completion.chunk"}
    chunks = [shape | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks += [
        shape | {"choices": [{"index": 0, "delta": {}, "finish_reason": said.finish}]},
        shape | {"choices": [], "usage": _CHAT_USAGE},
    ]
    return _events(iter([*chunks, b"[DONE]"]))


# OpenAI's Responses API: https://platform.openai.com/docs/api-reference/responses


_NUMBERS = itertools.count(1)


def _items(said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thought:
        summary = [{"type": "summary_text", "text": said.thought}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": SIGNATURE})
    if said.text:
        part = {"type": "output_text", "text": said.text, "annotations": []}
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]})
    for one in said.calls:
        call = {"type": "function_call", "id": f"fc_{one.id}", "call_id": one.id, "name": one.name, "arguments": one.arguments}
        items.append(call | {"status": "completed"})
    return items


def _response(said: Said) -> dict[str, Any]:
    cut = said.finish == "length"
    usage = {
        "input_tokens": INPUT,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": THOUGHT},
        "total_tokens": INPUT + OUTPUT,
    }
    how = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}} if cut else {"status": "completed"}
    shape = {
        "id": f"resp_{next(_NUMBERS)}",
        "object": "response",
        "created_at": 1_760_000_000,
        "model": "gpt-5",
        "error": None,
        "tools": [],
    }
    more = {"tools": [], "incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto", "metadata": {}}
    return shape | more | how | {"output": _items(said), "usage": usage}


def _response_events(said: Said) -> Iterator[dict[str, Any]]:
    done = _response(said)
    yield {"type": "response.created", "response": done | {"status": "in_progress", "output": [], "usage": None}}
    for index, item in enumerate(done["output"]):
        place = {"output_index": index, "item_id": item["id"]}
        opened = item | {"status": "in_progress"} | {key: [] for key in ("content", "summary") if key in item}
        yield {"type": "response.output_item.added", "output_index": index, "item": opened | ({"arguments": ""} if "name" in item else {})}
        if item["type"] == "reasoning":
            place |= {"summary_index": 0}
            yield {"type": "response.reasoning_summary_part.added", **place, "part": {"type": "summary_text", "text": ""}}
            yield from ({"type": "response.reasoning_summary_text.delta", **place, "delta": half} for half in halves(said.thought))
            yield {"type": "response.reasoning_summary_text.done", **place, "text": said.thought}
        elif item["type"] == "message":
            place |= {"content_index": 0}
            yield {"type": "response.content_part.added", **place, "part": item["content"][0] | {"text": ""}}
            yield from ({"type": "response.output_text.delta", **place, "delta": half, "logprobs": []} for half in halves(said.text))
            yield {"type": "response.output_text.done", **place, "text": said.text, "logprobs": []}
            yield {"type": "response.content_part.done", **place, "part": item["content"][0]}
        else:
            halved = halves(item["arguments"])
            yield from ({"type": "response.function_call_arguments.delta", **place, "delta": half} for half in halved)
            yield {"type": "response.function_call_arguments.done", **place, "name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{done['status']}", "response": done}


def _responses_stream(said: Said) -> bytes:
    return _events(({**one, "sequence_number": number} for number, one in enumerate(_response_events(said))), names=True)


# Anthropic's Messages API: https://platform.claude.com/docs/en/api/messages

_STOPS = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens"}
_COUNTED = {"input_tokens": INPUT - CACHED, "cache_read_input_tokens": CACHED, "cache_creation_input_tokens": 0}


def _blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "thinking", "thinking": said.thought, "signature": SIGNATURE}] if said.thought else []
    blocks += [{"type": "text", "text": said.text}] if said.text else []
    return blocks + [{"type": "tool_use", "id": one.id, "name": one.name, "input": {"city": one.city}} for one in said.calls]


def _message(said: Said) -> dict[str, Any]:
    shape = {"id": "msg_up", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": _blocks(said)}
    return shape | {"stop_reason": _STOPS[said.finish], "stop_sequence": None, "usage": _COUNTED | {"output_tokens": OUTPUT}}


def _message_events(said: Said) -> Iterator[dict[str, Any]]:
    begun = _message(said) | {"content": [], "stop_reason": None, "usage": _COUNTED | {"output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "ping"}
    for index, block in enumerate(_blocks(said)):
        deltas: list[dict[str, Any]]
        if block["type"] == "thinking":
            opened = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": half} for half in halves(said.thought)]
            deltas += [{"type": "signature_delta", "signature": SIGNATURE}]
        elif block["type"] == "text":
            opened, deltas = {"type": "text", "text": ""}, [{"type": "text_delta", "text": half} for half in halves(said.text)]
        else:
            opened = block | {"input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": half} for half in ("", *halves(json.dumps(block["input"])))]
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        yield from ({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas)
        yield {"type": "content_block_stop", "index": index}
    ended = {"stop_reason": _STOPS[said.finish], "stop_sequence": None}
    yield {"type": "message_delta", "delta": ended, "usage": _COUNTED | {"output_tokens": OUTPUT}}
    yield {"type": "message_stop"}


# Google's API: https://ai.google.dev/api/generate-content; a signature stands on the first call, else on the last part

_GEMINI_STOPS = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS"}
_GEMINI_USAGE = {
    "promptTokenCount": INPUT,
    "cachedContentTokenCount": CACHED,
    "candidatesTokenCount": OUTPUT - THOUGHT,
    "thoughtsTokenCount": THOUGHT,
    "totalTokenCount": INPUT + OUTPUT,
}


def _parts(said: Said) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": half, "thought": True} for half in halves(said.thought) if half]
    signed: list[dict[str, Any]] = [{"text": half} for half in halves(said.text) if half]
    signed += [{"functionCall": {"name": one.name, "args": {"city": one.city}}} for one in said.calls]
    if said.thought:
        signed[0 if said.calls else -1]["thoughtSignature"] = SIGNATURE
    return parts + signed


def _generated(parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0} | ({"finishReason": finish} if finish else {})
    return {"candidates": [candidate], "usageMetadata": _GEMINI_USAGE, "modelVersion": "gemini-2.5-flash", "responseId": "up-1"}


def _gemini_stream(said: Said) -> bytes:
    *parts, last = _parts(said)
    return _events(iter([*(_generated([part]) for part in parts), _generated([last], _GEMINI_STOPS[said.finish])]))


# Bedrock's Converse: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html

_BEDROCK_USAGE = {
    "inputTokens": INPUT - CACHED,
    "outputTokens": OUTPUT,
    "totalTokens": INPUT + OUTPUT,
    "cacheReadInputTokens": CACHED,
    "cacheWriteInputTokens": 0,
}


def _converse(said: Said) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if said.thought:
        content.append({"reasoningContent": {"reasoningText": {"text": said.thought, "signature": SIGNATURE}}})
    content += [{"text": said.text}] if said.text else []
    content += [{"toolUse": {"toolUseId": one.id, "name": one.name, "input": {"city": one.city}}} for one in said.calls]
    output = {"message": {"role": "assistant", "content": content}}
    return {"output": output, "stopReason": _STOPS[said.finish], "usage": _BEDROCK_USAGE, "metrics": {"latencyMs": 5}}


def frame(kind: str, body: Any, exception: bool = False) -> bytes:
    """An event, or an exception of that kind. https://smithy.io/2.0/aws/amazon-eventstream.html"""
    headers = b""
    what = "exception" if exception else "event"
    for name, value in ((f":{what}-type".encode(), kind), (b":content-type", "application/json"), (b":message-type", what)):
        headers += bytes([len(name)]) + name + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    payload = json.dumps(body).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _converse_events(said: Said) -> Iterator[bytes]:
    yield frame("messageStart", {"role": "assistant"})
    for index, block in enumerate(_converse(said)["output"]["message"]["content"]):
        place = {"contentBlockIndex": index}
        deltas: list[dict[str, Any]]
        if "reasoningContent" in block:
            deltas = [{"reasoningContent": {"text": half}} for half in halves(said.thought)]
            deltas += [{"reasoningContent": {"signature": SIGNATURE}}]
        elif "text" in block:
            deltas = [{"text": half} for half in halves(said.text)]
        else:
            use = block["toolUse"]
            yield frame("contentBlockStart", place | {"start": {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}})
            deltas = [{"toolUse": {"input": half}} for half in halves(json.dumps(use["input"]))]
        for delta in deltas:
            yield frame("contentBlockDelta", place | {"delta": delta})
        yield frame("contentBlockStop", place)
    yield frame("messageStop", {"stopReason": _STOPS[said.finish]})
    yield frame("metadata", {"usage": _BEDROCK_USAGE, "metrics": {"latencyMs": 5}})


def _bedrock_stream(said: Said) -> bytes:
    frames = list(_converse_events(said))
    return head(kind="application/vnd.amazon.eventstream", framing="transfer-encoding: chunked\r\n") + chunked(frames)


# Cohere's v2 chat: https://docs.cohere.com/reference/chat and https://docs.cohere.com/docs/streaming

_COHERE_STOPS = {"stop": "COMPLETE", "tool_calls": "TOOL_CALL", "length": "MAX_TOKENS"}
_COHERE_USAGE = {
    "billed_units": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    "tokens": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    "cached_tokens": CACHED,
}


def _cohere(said: Said) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "thinking", "thinking": said.thought}] if said.thought else []
    content += [{"type": "text", "text": said.text}] if said.text else []
    calls = [{"id": one.id, "type": "function", "function": {"name": one.name, "arguments": one.arguments}} for one in said.calls]
    message = {"role": "assistant", "content": content} | ({"tool_calls": calls} if calls else {})
    return {"id": "co-1", "message": message, "finish_reason": _COHERE_STOPS[said.finish], "usage": _COHERE_USAGE}


def _cohere_events(said: Said) -> Iterator[dict[str, Any]]:
    message = _cohere(said)["message"]
    yield {"type": "message-start", "id": "co-1", "delta": {"message": {"role": "assistant"}}}
    for index, block in enumerate(message["content"]):
        kind = block["type"]
        yield {"type": "content-start", "index": index, "delta": {"message": {"content": {"type": kind, kind: ""}}}}
        for half in halves(block[kind]):
            yield {"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: half}}}}
        yield {"type": "content-end", "index": index}
    for index, call in enumerate(message.get("tool_calls", [])):
        function = call["function"]
        begun = call | {"function": {"name": function["name"], "arguments": ""}}
        yield {"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": begun}}}
        for half in halves(function["arguments"]):
            more = {"tool_calls": {"function": {"arguments": half}}}
            yield {"type": "tool-call-delta", "index": index, "delta": {"message": more}}
        yield {"type": "tool-call-end", "index": index}
    yield {"type": "message-end", "delta": {"finish_reason": _COHERE_STOPS[said.finish], "usage": _COHERE_USAGE}}


WHOLE: dict[str, Callable[[Said], Any]] = {
    "openai_chat": _chat,
    "openai_responses": _response,
    "anthropic": _message,
    "gemini": lambda said: _generated(_parts(said), _GEMINI_STOPS[said.finish]),
    "bedrock": _converse,
    "cohere": _cohere,
}
STREAMED: dict[str, Callable[[Said], bytes]] = {
    "openai_chat": _chat_stream,
    "openai_responses": _responses_stream,
    "anthropic": lambda said: _events(_message_events(said), names=True),
    "gemini": _gemini_stream,
    "bedrock": _bedrock_stream,
    "cohere": lambda said: _events(_cohere_events(said), names=True),
}

VECTORS = [[0.5, 0.25], [0.125, 1.0]]
OTHERS: dict[str, dict[str, Any]] = {
    "vectors": {
        "openai_chat": {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(VECTORS)],
            "model": "open",
            "usage": {"prompt_tokens": 4, "total_tokens": 4},
        },
        "gemini": {"embeddings": [{"values": vector} for vector in VECTORS]},
        "cohere": {"id": "co-2", "embeddings": {"float": VECTORS}, "meta": {"billed_units": {"input_tokens": 4}}},
    },
    "ranks": {
        "openai_chat": {
            "id": "r",
            "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
            "usage": {"total_tokens": 4},
        },
        "cohere": {
            "id": "r",
            "results": [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}],
            "meta": {"billed_units": {"search_units": 1}},
        },
    },
}
"""Answers of the endpoints that are no conversation, where a dialect has them."""

_CODES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
_AMAZONS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
_ANTHROPICS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "api_error"}
_OPENAIS = {400: "invalid_request_error", 401: "invalid_request_error", 404: "invalid_request_error", 429: "requests", 500: "server_error"}


def _error(dialect: str, status: int) -> bytes:
    """An error as each provider words it."""
    bodies: dict[str, Any] = {
        "openai_chat": {"error": {"message": WORDS, "code": status}},
        "openai_responses": {"error": {"message": WORDS, "type": _OPENAIS[status], "param": None, "code": None}},
        "anthropic": {"type": "error", "error": {"type": _ANTHROPICS[status], "message": WORDS}, "request_id": "req_up"},
        "gemini": {"error": {"code": status, "message": WORDS, "status": _CODES[status]}},
        "bedrock": {"message": WORDS},
        "cohere": {"id": "e", "message": WORDS},
    }
    more = f"retry-after: {SECONDS}\r\n" if status == 429 else ""
    more += f"x-amzn-errortype: {_AMAZONS[status]}\r\n" if dialect == "bedrock" else ""
    return whole(bodies[dialect], status, more)


@pytest.fixture(scope="session")
def upstreams() -> Iterator[Polyglot]:
    """All upstreams in one."""
    server = Polyglot()
    yield server
    server.close()


@pytest.fixture(scope="session")
def everyone(upstreams: Polyglot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The server. What it logs as an error of its own fails the session."""
    server = Installation(tmp_path_factory.mktemp("everyone"), config(upstreams.port)).start()
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log(), server.log()
