"""Upstreams in six dialects that fail as they are told to, and what callers of four dialects read of it.

What an upstream says is polyglot's; here it is cut, stalled, garbled or replaced by an error. Every test asks models of its own
(`fresh`), so that all may share one server and no circuit that one test opens stands in the way of another.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from caller import CHAT, Answer, Caller, get
from installation import Installation
from polyglot import STREAMED, WHOLE, Said, halves
from upstream import Line, Received, Script, Upstream, chunked, head, whole

FAMILIES = {
    "openai_chat": ("plain", "open"),
    "openai_responses": ("responder", "gpt-5"),
    "anthropic": ("anthropic", "claude-sonnet-4-6"),
    "gemini": ("gemini", "gemini-2.5-flash"),
    "bedrock": ("bedrock", "anthropic.claude-sonnet-4-6"),
    "cohere": ("cohere", "command-a"),
}
"""For each dialect a provider, and how its models' names begin: none of them takes up a given beginning."""

DIALECTS = tuple(FAMILIES)
HEIR = "heir"
"""A provider that does."""
FIRST = Said("Once upon a time.")
SECOND = Said("Hello there.")
PRICE = "price = { input = 2.0, output = 10.0, cache_read = 1.0 }"
FIRST_BYTE_S = IDLE_S = 1.5


def config(port: int, more: str = "") -> str:
    """A provider for each dialect, and one that goes on with what others began."""
    lines = []
    for dialect, (provider, _) in (*FAMILIES.items(), ("openai_chat", (HEIR, ""))):
        lines += [f"[providers.{provider}]", f'base_url = "http://127.0.0.1:{port}/{dialect}"', f'dialect = "{dialect}"']
        lines += ['api_key = "sk-upstream-secret"', "discover = false"]
        lines += [f"timeouts = {{ connect_s = 5.0, first_byte_s = {FIRST_BYTE_S}, idle_s = {IDLE_S}, total_s = 20.0 }}", ""]
    lines += [f"[providers.{HEIR}.prefill]", "body = { continue_final_message = true }", "", "[server]", "drain_s = 0.3", ""]
    return "\n".join([*lines, more])


_numbers = itertools.count()


def fresh(dialect: str) -> str:
    """A model that nobody has asked before."""
    provider, family = FAMILIES[dialect]
    return f"{provider}/{family}-f{next(_numbers)}"


def heir() -> str:
    """A model that nobody has asked before, and that goes on from a given beginning."""
    return f"{HEIR}/f{next(_numbers)}"


class Faulty(Upstream):
    """Speaks the dialect that the path begins with; plays what was said for the model."""

    def _choose(self, request: Received) -> Script:
        path = request.line.split(b" ")[1].decode()
        _, dialect, where = path.split("/", 2)
        model = request.json["model"] if dialect not in ("gemini", "bedrock") else where.split("/")[1].partition(":")[0]
        with self._lock:
            self._received[model].append(request)
            scripts = self._scripts[model]
            return scripts.pop(0) if len(scripts) > 1 else scripts[0]

    def plays(self, model: str, *scripts: Script) -> str:
        """What a model's requests get, one script each, the last one for all that follow; the model's public name."""
        self.play(model.partition("/")[2], *scripts)
        return model

    def heard(self, model: str) -> list[Received]:
        """The requests for a model so far."""
        return self.received(model.partition("/")[2])


def kind_of(dialect: str) -> str:
    """The content type of a dialect's streams."""
    return "application/vnd.amazon.eventstream" if dialect == "bedrock" else "text/event-stream"


def stream_head(dialect: str) -> bytes:
    """The head of a streamed answer."""
    return head(kind=kind_of(dialect), framing="transfer-encoding: chunked\r\n")


def events_of(dialect: str, said: Said) -> list[bytes]:
    """The events, or frames, of a streamed answer."""
    _, _, body = STREAMED[dialect](said).partition(b"\r\n\r\n")
    events = []
    while not body.startswith(b"0\r\n"):
        size, _, body = body.partition(b"\r\n")
        events.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return events


def says(dialect: str, said: Said) -> Script:
    """Answers well, streamed or not as it is asked."""

    def play(line: Line, request: Received) -> None:
        where = request.line.split(b" ")[1]
        line.send(STREAMED[dialect](said) if b'"stream":true' in request.body or b"tream" in where else whole(WHOLE[dialect](said)))

    return play


def goes_on(text: str, dialect: str = "openai_chat") -> Script:
    """Answers with a text, or with what is left of it where its beginning is given."""

    def play(line: Line, request: Received) -> None:
        last = request.json["messages"][-1]
        content = last["content"] if isinstance(last["content"], str) else last["content"][0]["text"]
        begun = content if last["role"] == "assistant" else ""
        assert text.startswith(begun)
        line.send(STREAMED[dialect](Said(text[len(begun) :])))

    return play


def sends(data: bytes) -> Script:
    """Sends these bytes and keeps the connection."""
    return lambda line, request: line.send(data)


def cuts(data: bytes) -> Script:
    """Sends these bytes and hangs up."""

    def play(line: Line, request: Received) -> None:
        line.send(data)
        line.close()

    return play


def stalls(data: bytes) -> Script:
    """Sends these bytes and then nothing, until the gateway hangs up."""

    def play(line: Line, request: Received) -> None:
        line.send(data)
        line.wait_gone()
        line.close()

    return play


def unfinished(dialect: str, body: bytes) -> bytes:
    """A streamed answer of which no more comes."""
    return stream_head(dialect) + chunked([body] if body else []).removesuffix(b"0\r\n\r\n")


def finished(dialect: str, body: bytes) -> bytes:
    """A streamed answer that ends in order, whatever is missing of it."""
    return stream_head(dialect) + chunked([body] if body else [])


# how callers ask, and what they read

QUESTION = "hi"
PATHS = {"openai_chat": CHAT, "anthropic": "/v1/messages", "openai_responses": "/v1/responses", "gemini": "/v1beta/models/{}"}
CALLERS = tuple(PATHS)


class Heard(NamedTuple):
    """What a caller has read: words, calls, errors in the order they came, and whether the answer says that it is whole."""

    status: int
    text: str
    calls: str
    errors: list[dict[str, Any]]
    ended: bool
    cut: bool
    receipt: Any
    answer: Answer

    @property
    def attempts(self) -> list[str | None]:
        """How the tries ended, by the receipt."""
        return [one.get("error") for one in self.receipt["attempts"]]


def ask(
    server: Installation,
    models: Sequence[str],
    *,
    stream: bool,
    caller: str = "openai_chat",
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Heard:
    """A question to the first of `models`, the others to take over, in a caller's dialect, on a connection of its own."""
    first, *others = models
    body: dict[str, Any] = {"models": others} if others else {}
    path = PATHS[caller]
    match caller:
        case "openai_chat":
            body |= {"model": first, "stream": stream, "messages": [{"role": "user", "content": QUESTION}]}
            body |= {"stream_options": {"include_usage": True}} if stream else {}
        case "anthropic":
            body |= {"model": first, "stream": stream, "max_tokens": 500, "messages": [{"role": "user", "content": QUESTION}]}
        case "openai_responses":
            body |= {"model": first, "stream": stream, "input": QUESTION, "store": False}
        case "gemini":
            path = path.format(first.replace("/", "%2F")) + (":streamGenerateContent?alt=sse" if stream else ":generateContent")
            body |= {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
    with Caller(server.port, server.key) as connection:
        answer = connection.ask(body | more, path, headers)
    return read(answer, caller)


def ask_all(server: Installation, asked: Sequence[Sequence[str]], **more: Any) -> list[Heard]:
    """All of these questions at once."""
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda models: ask(server, models, **more), asked))


def read(answer: Answer, caller: str) -> Heard:
    """What an answer says to a caller of this dialect."""
    if "text/event-stream" not in answer.headers.get("content-type", ""):
        value = answer.json
        errors = [value["error"]] if value.get("error") else []
        text, calls, ended = ("", "", False) if errors else _WHOLES[caller](value)
        return Heard(answer.status, text, calls, errors, ended, answer.cut, value.get("shoal"), answer)
    events = [_data(event) for event in answer.body.replace(b"\r\n", b"\n").split(b"\n\n") if b"data:" in event]
    text = calls = ""
    comment = re.search(rb"(?m)^: shoal (.+)$", answer.body)
    errors, ended, receipt = [], False, json.loads(comment[1]) if comment else None
    for event in events:
        assert not errors, "something comes after the error"
        if event == b"[DONE]":
            ended = True
            continue
        value = json.loads(event)
        receipt = value.get("shoal") or (value.get("response") or {}).get("shoal") or receipt
        if value.get("error") and value.get("object") != "response":
            errors.append(value["error"])
            continue
        words, more, last = _EVENTS[caller](value)
        text, calls, ended = text + words, calls + more, ended or last
    return Heard(answer.status, text, calls, errors, ended, answer.cut, receipt, answer)


def _data(event: bytes) -> bytes:
    return b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))


def _chat_whole(value: Any) -> tuple[str, str, bool]:
    message = value["choices"][0]["message"]
    calls = "".join(call["function"]["arguments"] for call in message.get("tool_calls") or ())
    return message.get("content") or "", calls, bool(value["choices"][0]["finish_reason"])


def _chat_event(value: Any) -> tuple[str, str, bool]:
    deltas = [choice["delta"] for choice in value.get("choices", ())]
    calls = [call["function"].get("arguments") or "" for delta in deltas for call in delta.get("tool_calls") or ()]
    return "".join(delta.get("content") or "" for delta in deltas), "".join(calls), False


def _message_whole(value: Any) -> tuple[str, str, bool]:
    text = "".join(block["text"] for block in value["content"] if block["type"] == "text")
    calls = "".join(json.dumps(block["input"]) for block in value["content"] if block["type"] == "tool_use")
    return text, calls, bool(value["stop_reason"])


def _message_event(value: Any) -> tuple[str, str, bool]:
    delta = value.get("delta") or {}
    return delta.get("text") or "", delta.get("partial_json") or "", value["type"] == "message_stop"


def _response_whole(value: Any) -> tuple[str, str, bool]:
    parts = [part for item in value["output"] for part in item.get("content") or ()]
    calls = "".join(item.get("arguments") or "" for item in value["output"])
    return "".join(part.get("text") or "" for part in parts), calls, value["status"] == "completed"


def _response_event(value: Any) -> tuple[str, str, bool]:
    words = value["delta"] if value["type"] == "response.output_text.delta" else ""
    calls = value["delta"] if value["type"] == "response.function_call_arguments.delta" else ""
    return words, calls, value["type"] in ("response.completed", "response.incomplete")


def _generated(value: Any) -> tuple[str, str, bool]:
    candidates = value.get("candidates") or ()
    parts = [part for candidate in candidates for part in candidate.get("content", {}).get("parts") or ()]
    calls = "".join(json.dumps(part["functionCall"]["args"]) for part in parts if "functionCall" in part)
    text = "".join(part.get("text") or "" for part in parts if not part.get("thought"))
    return text, calls, any(candidate.get("finishReason") for candidate in candidates)


_Look = Callable[[Any], tuple[str, str, bool]]
_WHOLES: dict[str, _Look] = {
    "openai_chat": _chat_whole,
    "anthropic": _message_whole,
    "openai_responses": _response_whole,
    "gemini": _generated,
}
_EVENTS: dict[str, _Look] = {
    "openai_chat": _chat_event,
    "anthropic": _message_event,
    "openai_responses": _response_event,
    "gemini": _generated,
}


def kept_receipt(server: Installation, heard: Heard) -> Any:
    """The receipt that the ledger holds of an answer."""
    with Caller(server.port, server.key) as caller:
        caller.send(get(server.key, f"/v1/receipts/{heard.answer.headers['x-request-id']}"))
        return caller.answer().json


# where the events of an answer begin to show something, and where it has said that it is whole


_ENDS = {
    "openai_chat": b'"finish_reason": "',
    "openai_responses": b'"type": "response.completed"',
    "anthropic": b'"stop_reason": "',
    "gemini": b'"finishReason"',
    "bedrock": b"messageStop",
    "cohere": b'"type": "message-end"',
}


def places(dialect: str, said: Said) -> tuple[bytes, int, int]:
    """A stream's bytes, how many of them the first event with something to show needs, and how many the end of the answer needs."""
    events = events_of(dialect, said)
    shows = halves(said.thought or said.text)[0] if said.thought or said.text else said.calls[0].name
    word = json.dumps(shows)[1:-1].encode()
    first = next(number for number, event in enumerate(events) if word in event and b"part.added" not in event)
    last = next(number for number, event in enumerate(events) if _ENDS[dialect] in event)
    needed = [sum(map(len, events[: number + 1])) for number in (first, last)]
    blank = 0 if dialect == "bedrock" else len(events[last]) - len(events[last].rstrip())
    return b"".join(events), needed[0], needed[1] - blank


def cut_places(dialect: str, said: Said, step: int) -> Iterator[int]:
    """Every end of an event and the byte before it, and every so many bytes between."""
    events = events_of(dialect, said)
    ends = list(itertools.accumulate(map(len, events)))
    around = {end + more for end in ends for more in (-1, 0)}
    yield from sorted(place for place in around | set(range(0, ends[-1], step)) if 0 <= place < ends[-1])
