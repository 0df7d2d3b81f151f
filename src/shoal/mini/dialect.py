"""Requests of the OpenAI dialect, checked: a request that gets through here has the right types and every value in range.

Each refusal is a Fault that names the parameter by its path (`messages[3].content[0].type`). Fields that this server does not act on are
listed by `list_dropped`, so that a caller can be told; those whose loss would change an answer's meaning are refused by name instead.
Source: OpenAI's API reference for chat completions, completions and embeddings.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from shoal.core.errors import Fault
from shoal.mini.engine import Capabilities

MAX_CHOICES = 8
MAX_STOPS = 4
MAX_TOP_LOGPROBS = 20
_INT64 = 2**63

# hints about the caller or the service, which ask nothing of an answer
_SILENT = frozenset({"user", "safety_identifier", "metadata", "store", "prompt_cache_key", "prompt_cache_retention"})
# values that ask for what is done anyway
_IDLE: dict[str, tuple[object, ...]] = {
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
}

T = TypeVar("T", bound="Request")


class StreamOptions(msgspec.Struct, frozen=True):
    """`stream_options`."""

    include_usage: bool | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What requests of every endpoint have."""

    model: str


class Generation(Request, frozen=True, kw_only=True):
    """What chat and plain completions share."""

    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None

    @property
    def choices(self) -> int:
        """How many answers are asked for."""
        return self.n or 1

    @property
    def stops(self) -> list[str]:
        """The stop strings."""
        return [self.stop] if isinstance(self.stop, str) else self.stop or []

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class Part(msgspec.Struct, frozen=True):
    """A part of a message's content."""

    type: str
    text: str | None = None
    refusal: str | None = None


class CalledFunction(msgspec.Struct, frozen=True):
    """The function of an earlier call; `arguments` is JSON text."""

    name: str
    arguments: str


class Call(msgspec.Struct, frozen=True):
    """An earlier call in an assistant's message."""

    id: str
    type: str = "function"
    function: CalledFunction | None = None


class Message(msgspec.Struct, frozen=True):
    """One message."""

    role: str
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: CalledFunction | None = None


class ToolFunction(msgspec.Struct, frozen=True):
    """A function in `tools`."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(msgspec.Struct, frozen=True):
    """An entry of `tools`."""

    type: str
    function: ToolFunction | None = None


class ChatRequest(Generation, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[Message]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    modalities: list[str] | None = None
    audio: Any = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None


class CompletionRequest(Generation, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: str | list[str | int | list[int]]
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None


class EmbeddingRequest(Request, frozen=True, kw_only=True):
    """POST /v1/embeddings."""

    input: str | list[str | int | list[int]]
    encoding_format: str | None = None
    dimensions: int | None = None


_decode_envelope = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decoders: dict[type[Request], "msgspec.json.Decoder[Any]"] = {
    kind: msgspec.json.Decoder(kind) for kind in (ChatRequest, CompletionRequest, EmbeddingRequest)
}


def decode(body: bytes, kind: type[T]) -> T:
    """The request in `body`. Raises Fault: invalid_json, missing_parameter or invalid_type, naming the path."""
    if not body.strip():
        raise Fault("invalid_json", "The request has no body; send a JSON object.")
    try:
        request: T = _decoders[kind].decode(body)
    except msgspec.ValidationError as error:
        raise _explain(str(error)) from None
    except RecursionError:
        raise Fault("invalid_json", "The JSON in the request body is nested too deeply; send a flatter one.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Fault("invalid_json", f"The request body is not valid JSON: {error}.") from None
    return request


def _explain(text: str) -> Fault:
    """msgspec's words as a fault that names the parameter."""
    what, _, path = text.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        param = f"{path}.{missing[1]}" if path else missing[1]
        return Fault("missing_parameter", f"Missing required parameter: '{param}'.", param=param)
    if not path:
        return Fault("invalid_type", f"The request body must be a JSON object: {what}.")
    what = what.replace("`", "").replace(" | ", " or ")
    return Fault("invalid_type", f"Invalid type for '{path}': {what[:1].lower()}{what[1:]}.", param=path)


def list_dropped(body: bytes, kind: type[Request]) -> list[str]:
    """The fields of a decoded request that change nothing here, in their order; fields that are null ask for nothing."""
    known = kind.__struct_fields__
    out = []
    for name, raw in _decode_envelope(body).items():
        value = bytes(raw)
        if value == b"null" or name in _SILENT or (name in known and name not in _IDLE):
            continue
        if name in _IDLE and msgspec.json.decode(value) in _IDLE[name]:
            continue
        out.append(name)
    return out


def check_generation(request: Generation, can: Capabilities) -> None:
    """Ranges of what chat and plain completions share. Raises Fault."""
    _check_range("temperature", request.temperature, 0, 2)
    _check_range("top_p", request.top_p, 0, 1)
    _check_range("presence_penalty", request.presence_penalty, -2, 2)
    _check_range("frequency_penalty", request.frequency_penalty, -2, 2)
    _check_range("n", request.n, 1, MAX_CHOICES)
    _check_range("seed", request.seed, -_INT64, _INT64 - 1)
    check_max_tokens("max_tokens", request.max_tokens)
    _check_stops(request)
    if request.stream_options is not None and not request.stream:
        raise Fault("invalid_value", "'stream_options' is only allowed with 'stream': true.", param="stream_options")
    if request.logit_bias and not can.logit_bias:
        raise _unsupported("logit_bias", "This model cannot bias single tokens; leave 'logit_bias' out.")


def check_max_tokens(name: str, value: int | None) -> None:
    """A limit on an answer's tokens is at least 1. Raises Fault."""
    if value is not None and value < 1:
        raise Fault("invalid_value", f"Invalid '{name}': {value} is below the minimum of 1.", param=name)


def check_chat(request: ChatRequest, can: Capabilities) -> None:
    """Values of a chat request, apart from its messages, tools and response format. Raises Fault."""
    check_generation(request, can)
    check_max_tokens("max_completion_tokens", request.max_completion_tokens)
    _check_range("top_logprobs", request.top_logprobs, 0, MAX_TOP_LOGPROBS)
    if request.top_logprobs and not request.logprobs:
        raise Fault("invalid_value", "'top_logprobs' needs 'logprobs': true.", param="top_logprobs")
    if (request.top_logprobs or 0) > can.top_logprobs:
        raise _unsupported("top_logprobs", f"'top_logprobs' can be {can.top_logprobs} at most; 'logprobs' alone gives the chosen tokens.")
    if request.logprobs and not can.chosen_logprobs:
        raise _unsupported("logprobs", "This model gives no logprobs; leave 'logprobs' out.")
    check_continued(request)
    for name in ("functions", "function_call"):
        if getattr(request, name):
            raise _unsupported(name, f"'{name}' is the old form of function calling; use 'tools' and 'tool_choice'.")
    if request.audio is not None or any(kind != "text" for kind in request.modalities or ()):
        raise _unsupported(
            "modalities" if request.modalities else "audio", "This model answers with text only; leave 'modalities' and 'audio' out."
        )


def check_continued(request: ChatRequest) -> None:
    """An answer that goes on from the last message, as vLLM's chat API has it. Raises Fault.

    https://docs.vllm.ai/en/latest/serving/openai_compatible_server/ (extra parameters of the chat API)
    """
    if not request.continue_final_message:
        if request.add_generation_prompt is False:
            text = "'add_generation_prompt': false is only allowed with 'continue_final_message': true."
            raise Fault("invalid_value", text, param="add_generation_prompt")
        return
    if request.add_generation_prompt is not False:
        text = "'continue_final_message' needs 'add_generation_prompt': false: an answer is gone on with, or begun."
        raise Fault("invalid_value", text, param="add_generation_prompt")
    if not request.messages or request.messages[-1].role != "assistant" or request.messages[-1].tool_calls:
        text = "'continue_final_message' goes on from an assistant's text: let the last message be one."
        raise Fault("invalid_value", text, param="messages")
    for name in ("tools", "response_format"):
        if getattr(request, name):
            raise _unsupported(name, f"This model cannot go on from a beginning with {name!r}; leave one of them out.")


def check_completion(request: CompletionRequest, can: Capabilities) -> None:
    """Values of a plain completion request, apart from its prompt. Raises Fault."""
    check_generation(request, can)
    if request.suffix:
        raise _unsupported("suffix", "This model cannot fill in before a suffix; leave 'suffix' out.")
    if request.best_of is not None and request.best_of != request.choices:
        raise _unsupported("best_of", "This model does not rank answers; leave 'best_of' out, or make it equal to 'n'.")
    _check_range("logprobs", request.logprobs, 0, 5)
    if request.logprobs is not None and not can.chosen_logprobs:
        raise _unsupported("logprobs", "This model gives no logprobs; leave 'logprobs' out.")
    if (request.logprobs or 0) > max(1, can.top_logprobs):
        raise _unsupported("logprobs", "This model gives the logprobs of the chosen tokens only: 'logprobs' can be 0 or 1.")


def check_tokens(tokens: Sequence[int], size: int, param: str) -> None:
    """Token ids are of the model's vocabulary. Raises Fault."""
    for i, token in enumerate(tokens):
        if not 0 <= token < size:
            raise Fault("invalid_value", f"Invalid '{param}[{i}]': token ids run from 0 to {size - 1}, not {token}.", param=f"{param}[{i}]")


def split_input(value: str | Sequence[str | int | Sequence[int]], param: str) -> list[str | list[int]]:
    """What `prompt` and `input` may be (a text, texts, a list of tokens, lists of tokens) as texts and token lists. Raises Fault."""
    if isinstance(value, str):
        return [value]
    if not value:
        raise Fault("invalid_value", f"'{param}' is an empty list; send a text, or a list of them.", param=param)
    if all(isinstance(item, int) for item in value):
        return [[item for item in value if isinstance(item, int)]]
    out: list[str | list[int]] = []
    for i, item in enumerate(value):
        if isinstance(item, int) or isinstance(item, str) is not isinstance(value[0], str):
            raise Fault("invalid_type", f"'{param}' must hold texts, or tokens, or lists of tokens, not a mixture.", param=f"{param}[{i}]")
        out.append(item if isinstance(item, str) else list(item))
    return out


def make_context_fault(param: str, tokens: str, answer: int | None, limit: int) -> Fault:
    """The refusal of what does not fit a model's context of `limit` tokens; `tokens` counts the prompt, in words."""
    text = f"This model's context is {limit} tokens; '{param}' has {tokens}"
    if answer is None:
        return Fault("context_length", f"{text}. Shorten it.", param=param)
    return Fault("context_length", f"{text} and the answer may have {answer}. Shorten the prompt or lower 'max_tokens'.", param=param)


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise Fault("invalid_value", f"Invalid '{name}': {value} is not between {low} and {high}.", param=name)


def _check_stops(request: Generation) -> None:
    if len(request.stops) > MAX_STOPS:
        raise Fault("invalid_value", f"Invalid 'stop': at most {MAX_STOPS} strings are allowed, not {len(request.stops)}.", param="stop")
    for i, stop in enumerate(request.stops):
        if not stop:
            param = "stop" if isinstance(request.stop, str) else f"stop[{i}]"
            raise Fault("invalid_value", f"Invalid '{param}': a stop string must not be empty.", param=param)


def _unsupported(param: str, text: str) -> Fault:
    return Fault("unsupported_parameter", text, param=param)
