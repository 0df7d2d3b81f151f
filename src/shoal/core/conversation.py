"""A conversation as every dialect means it: who said what, which tools there are, how the answer is wanted.

This is what a request becomes when caller and upstream speak different dialects; the same dialect is forwarded without it. A noun that no
dialect but one has is still a noun here, so that it can be refused or listed by name instead of vanishing.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

Role = Literal["system", "developer", "user", "assistant", "tool"]
Finish = Literal["stop", "length", "tool_calls", "content_filter"]


class Citation(msgspec.Struct, frozen=True):
    """Where a statement comes from. `start` and `end` are characters of the answer's text; `cited` is the source's own text."""

    url: str | None = None
    title: str | None = None
    cited: str | None = None
    start: int | None = None
    end: int | None = None
    raw: msgspec.Raw | None = None
    """The citation in the dialect it came in, for the way back into that dialect."""


class Text(msgspec.Struct, frozen=True):
    """Words. `cache` is a prompt-cache breakpoint after this part: its lifetime, "5m" or "1h"."""

    text: str
    cache: str | None = None
    citations: tuple[Citation, ...] = ()


class Refusal(msgspec.Struct, frozen=True):
    """The model's words for that it will not answer."""

    text: str


class Image(msgspec.Struct, frozen=True):
    """A picture, by URL or as base64 `data` of `media_type`. `detail` is OpenAI's low | high | auto."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    cache: str | None = None


class File(msgspec.Struct, frozen=True):
    """A document (or audio, video, by its `media_type`): by URL, as base64 `data`, as plain `text`, or by an upstream's file `id`."""

    url: str | None = None
    data: str | None = None
    text: str | None = None
    id: str | None = None
    media_type: str | None = None
    name: str | None = None
    cache: str | None = None


class Reasoning(msgspec.Struct, frozen=True):
    """Thought. `signature` proves it to the upstream that made it, `redacted` is thought that only that upstream can read.

    `origin` names the dialect that signed: anthropic (Bedrock's Claude included), gemini, openai_responses. Others must not be sent it.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str | None = None
    id: str | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """The model calls a function. `arguments` is JSON text as it wrote it; `signature` is Gemini's proof of the thought behind it."""

    id: str
    name: str
    arguments: str = "{}"
    signature: str | None = None
    cache: str | None = None


class ToolResult(msgspec.Struct, frozen=True):
    """What a called function returned. `name` is the function's where the caller gave it."""

    id: str
    parts: "tuple[Text | Image | File, ...]" = ()
    is_error: bool = False
    name: str | None = None
    cache: str | None = None


Part = Text | Refusal | Image | File | Reasoning | ToolCall | ToolResult


class Message(msgspec.Struct, frozen=True):
    """One turn. Tool results stand in messages of the role "tool", one or more to a message."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True):
    """A function the model may call; `parameters` is a JSON Schema."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw | None = None
    strict: bool | None = None
    cache: str | None = None


class Hosted(msgspec.Struct, frozen=True):
    """A tool that the upstream runs itself, in the words of whoever runs it; `place` is where the caller named it."""

    raw: msgspec.Raw
    place: str = "tools"


class ToolChoice(msgspec.Struct, frozen=True):
    """auto, none, required (some function), or named (the function `name`). `parallel` is None where the caller did not say."""

    mode: Literal["auto", "none", "required", "named"] = "auto"
    name: str | None = None


class Format(msgspec.Struct, frozen=True):
    """The answer is JSON; of `schema` where one is given."""

    schema: msgspec.Raw | None = None
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are drawn; None is the upstream's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None


class Thinking(msgspec.Struct, frozen=True):
    """How much to think: an `effort` or a `budget` of tokens; whether it is `shown`.

    Efforts are none, minimal, low, medium, high, xhigh and max, and auto: as much as the model finds right.
    """

    effort: str | None = None
    budget: int | None = None
    shown: bool | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request. `extra` holds what has no noun here, raw, by the caller's own names."""

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    hosted: tuple[Hosted, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    format: Format | None = None
    sampling: Sampling = Sampling()
    thinking: Thinking | None = None
    max_tokens: int | None = None
    stream: bool = False
    user: str | None = None
    service_tier: str | None = None
    extra: Mapping[str, msgspec.Raw] = {}
    echo: Mapping[str, msgspec.Raw] = {}
    """Members of the request that the caller's dialect repeats in its answer, raw; no upstream needs them."""
