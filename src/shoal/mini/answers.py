"""Answers as OpenAI's JSON objects, whole: chat completions and plain completions, and the parts that streams share with them.

Source: OpenAI's API reference, objects `chat.completion` and `text_completion`.
"""

import secrets
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from shoal.core.errors import Fault
from shoal.mini.choice import Counted, Said
from shoal.mini.text import Chosen
from shoal.net.exchange import JSON, Exchange

_LOWEST = -9999.0  # stands for minus infinity, which JSON cannot say
DROPPED = b"x-minnow-dropped"


class Head(msgspec.Struct, frozen=True):
    """What every object of one answer repeats."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    prompt_tokens: int
    dropped: Sequence[str] = ()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The response header that lists the request's fields that changed nothing."""
        return [(DROPPED, ", ".join(map(_make_printable, self.dropped[:32])).encode())] if self.dropped else []

    def usage(self, choices: Sequence[Counted]) -> dict[str, Any]:
        """OpenAI's `usage`: the prompt counts once, cached tokens only if the engine counts them."""
        completion = sum(choice.tokens for choice in choices)
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }
        cached = [choice.cached_tokens for choice in choices if choice.cached_tokens is not None]
        if cached:
            usage["prompt_tokens_details"] = {"cached_tokens": cached[0]}
        return usage


def make_head(prefix: str, model: str, fingerprint: str, prompt_tokens: int, dropped: Sequence[str]) -> Head:
    """A head with a fresh id, of now."""
    return Head(f"{prefix}-{secrets.token_hex(12)}", int(time.time()), model, fingerprint, prompt_tokens, dropped)


def _make_printable(name: str) -> str:
    """A field's name as a header may carry it: callers choose names."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "?" for c in name[:64])


class ChatAnswer:
    """Gathers a chat completion and answers with it whole."""

    def __init__(self, exchange: Exchange, head: Head, choices: int) -> None:
        self._exchange, self._head = exchange, head
        self._said: list[list[Said]] = [[] for _ in range(choices)]
        self.started = False

    def write(self, index: int, said: Said) -> None:
        """See choice.Writer."""
        self._said[index].append(said)

    def complete(self, choices: Sequence[Counted]) -> None:
        """See choice.Writer."""
        self.started = True
        listed = [self._shape(i, said) for i, said in enumerate(self._said)]
        _send(self._exchange, self._head, "chat.completion", listed, choices)

    def fail(self, fault: Fault) -> None:
        """See choice.Writer."""
        self._exchange.refuse(fault)

    def _shape(self, index: int, said: list[Said]) -> dict[str, Any]:
        text = "".join([one.text for one in said])
        calls: dict[int, dict[str, Any]] = {}
        for one in said:
            for delta in one.calls:
                function = {"name": delta.name, "arguments": ""}
                call = calls.setdefault(delta.index, {"id": delta.id, "type": "function", "function": function})
                call["function"]["arguments"] += delta.arguments
        message: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None, "refusal": None, "annotations": []}
        if calls:
            message["tool_calls"] = list(calls.values())
        chosen = [token for one in said for token in one.chosen]
        logprobs = shape_logprobs(chosen) if chosen else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": said[-1].finish}


class CompletionAnswer:
    """Gathers a plain completion and answers with it whole. `echoes` are what each choice's text begins with."""

    def __init__(self, exchange: Exchange, head: Head, echoes: Sequence[str]) -> None:
        self._exchange, self._head, self._echoes = exchange, head, echoes
        self._said: list[list[Said]] = [[] for _ in echoes]
        self.started = False

    def write(self, index: int, said: Said) -> None:
        """See choice.Writer."""
        self._said[index].append(said)

    def complete(self, choices: Sequence[Counted]) -> None:
        """See choice.Writer."""
        self.started = True
        listed = []
        for i, said in enumerate(self._said):
            chosen = [token for one in said for token in one.chosen]
            logprobs = shape_completion_logprobs(chosen) if chosen else None
            text = self._echoes[i] + "".join([one.text for one in said])
            listed.append({"text": text, "index": i, "logprobs": logprobs, "finish_reason": said[-1].finish})
        _send(self._exchange, self._head, "text_completion", listed, choices)

    def fail(self, fault: Fault) -> None:
        """See choice.Writer."""
        self._exchange.refuse(fault)


def _send(exchange: Exchange, head: Head, kind: str, listed: list[dict[str, Any]], choices: Sequence[Counted]) -> None:
    body = {
        "id": head.id,
        "object": kind,
        "created": head.created,
        "model": head.model,
        "choices": listed,
        "usage": head.usage(choices),
        "system_fingerprint": head.system_fingerprint,
    }
    exchange.answer(200, [JSON, *head.headers()], msgspec.json.encode(body))


def shape_logprobs(chosen: Sequence[Chosen]) -> dict[str, Any]:
    """A chat choice's `logprobs`: chosen tokens with their bytes."""
    content = [
        {"token": token.data.decode("utf-8", "replace"), "logprob": _bound(token.logprob), "bytes": list(token.data), "top_logprobs": []}
        for token in chosen
    ]
    return {"content": content, "refusal": None}


def shape_completion_logprobs(chosen: Sequence[Chosen]) -> dict[str, Any]:
    """A plain choice's `logprobs`: parallel lists."""
    return {
        "tokens": [token.data.decode("utf-8", "replace") for token in chosen],
        "token_logprobs": [_bound(token.logprob) for token in chosen],
        "top_logprobs": None,
        "text_offset": [token.offset for token in chosen],
    }


def _bound(logprob: float) -> float:
    return logprob if logprob > _LOWEST else _LOWEST  # a NaN ends up as the lowest, too
