"""Requests, both ways: a caller's body as a conversation, and a conversation as a call of `POST /responses`.

https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from shoal.core.chat import decode
from shoal.core.conversation import Conversation, Format, Message, Sampling, Text, Thinking, ToolResult
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire import hosted
from shoal.wire.openai_responses import envelope, input, items, response, tools
from shoal.wire.openai_responses.checked import ABSENT, wrong_value
from shoal.wire.openai_responses.families import encrypts

ENCRYPTED, LOGPROBS = "reasoning.encrypted_content", "message.output_text.logprobs"
"""What a request may ask to be included in its answer."""


class _Format(msgspec.Struct):
    type: str
    name: str = "answer"
    schema: msgspec.Raw = ABSENT
    description: str | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: msgspec.Raw = ABSENT


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class _Body(msgspec.Struct):
    instructions: str | None = None
    include: list[str] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: msgspec.Raw = ABSENT
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: int | None = None
    truncation: str | None = None
    user: str | None = None
    service_tier: str | None = None
    stream_options: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT


_body = msgspec.json.Decoder(_Body)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])

_READ = frozenset({*_Body.__struct_fields__, "model", "input", "stream", *envelope.OURS})


def read(body: bytes) -> Conversation:
    """A caller's whole request, checked. Errors: Fault naming the parameter; unsupported_parameter for what needs OpenAI's own tools."""
    fields = envelope.read(body).fields
    asked = decode(body, _body)
    if bytes(asked.prompt) != b"null":
        text = (
            "Unsupported parameter: 'prompt': templates are kept at OpenAI, and this model cannot read them; send instructions and input."
        )
        raise Fault("unsupported_parameter", text, param="prompt")
    said = items.read(fields.input) if isinstance(fields.input, list) else (Message("user", (Text(fields.input or ""),)),)
    if asked.instructions:
        said = (Message("system", (Text(asked.instructions),)), *said)
    choice, functions = tools.read_choice(asked.tool_choice, tools.read(asked.tools or ()))
    members = _members.decode(body)
    return Conversation(
        model=fields.model,
        messages=said,
        tools=functions,
        tool_choice=choice,
        parallel_tools=asked.parallel_tool_calls,
        format=_read_format(asked.text),
        sampling=_read_sampling(asked),
        thinking=_read_thinking(asked.reasoning),
        max_tokens=asked.max_output_tokens,
        stream=bool(fields.stream),
        user=asked.user,
        service_tier=asked.service_tier,
        extra=_read_extra(asked, members),
        echo={name: members[name] for name in response.DEFAULTS if name in members},
    )


def _read_format(text: _Text | None) -> Format | None:
    found = text.format if text else None
    if found is None or found.type == "text":
        return None
    if found.type == "json_object":
        return Format()
    if found.type != "json_schema":
        raise wrong_value("text.format.type", found.type, ("text", "json_object", "json_schema"))
    if bytes(found.schema) == b"null":
        raise Fault("missing_parameter", "Missing required parameter: 'text.format.schema'.", param="text.format.schema")
    return Format(found.schema, found.name, found.description, found.strict)


def _read_sampling(asked: _Body) -> Sampling:
    wanted = LOGPROBS in (asked.include or ()) or bool(asked.top_logprobs)
    return Sampling(
        temperature=asked.temperature,
        top_p=asked.top_p,
        logprobs=True if wanted else None,
        top_logprobs=asked.top_logprobs if wanted else None,
    )


def _read_thinking(asked: _Reasoning | None) -> Thinking | None:
    if asked is None:
        return None
    shown = True if asked.summary or asked.generate_summary else None
    return Thinking(effort=asked.effort, shown=shown) if asked.effort or shown else None


def _read_extra(asked: _Body, members: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """What has no noun. A length that the model should keep to goes by the name that chat completions has for it too."""
    extra = {name: raw for name, raw in members.items() if name not in _READ and bytes(raw) != b"null"}
    if asked.text is not None and bytes(asked.text.verbosity) != b"null":
        extra["verbosity"] = asked.text.verbosity
    if asked.truncation == "auto":
        extra["truncation"] = members["truncation"]
    return extra


def write(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The call that asks this. Errors: Fault unsupported_parameter for what must not be left out and cannot be said."""
    hosted.write(conversation)
    if conversation.sampling.logit_bias:
        text = "Unsupported parameter: 'logit_bias': the model is reached through OpenAI's Responses API, which has none."
        raise Fault("unsupported_parameter", text, param="logit_bias")
    out: dict[str, Any] = {"model": deployment.upstream_model, "input": input.write(conversation.messages)}
    for name, value in _options(conversation):
        if value is not None:
            out[name] = value
    include = [ENCRYPTED] if encrypts(deployment) else []
    if conversation.sampling.logprobs or conversation.sampling.top_logprobs:
        include.append(LOGPROBS)
    if include:
        out["include"] = include
    out |= {name: raw for name, raw in conversation.extra.items() if name in _PASSED}
    out["store"] = False
    if conversation.stream:
        out["stream"] = True
    return HttpCall("/responses", msgspec.json.encode(out), dropped=tuple(_dropped(conversation)))


def _options(conversation: Conversation) -> Iterator[tuple[str, Any]]:
    yield "tools", tools.write(conversation.tools) or None
    yield "tool_choice", tools.write_choice(conversation.tool_choice) if conversation.tool_choice else None
    yield "parallel_tool_calls", conversation.parallel_tools
    yield "text", _write_text(conversation) or None
    yield "reasoning", _write_thinking(conversation.thinking) or None
    yield "max_output_tokens", conversation.max_tokens
    yield "temperature", conversation.sampling.temperature
    yield "top_p", conversation.sampling.top_p
    yield "top_logprobs", conversation.sampling.top_logprobs
    yield "user", conversation.user
    yield "service_tier", conversation.service_tier


def _write_text(conversation: Conversation) -> dict[str, Any]:
    out: dict[str, Any] = {}
    wanted = conversation.format
    if wanted is not None and wanted.schema is None:
        out["format"] = {"type": "json_object"}
    elif wanted is not None:
        out["format"] = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema}
        out["format"] |= {"description": wanted.description} if wanted.description is not None else {}
        out["format"] |= {"strict": wanted.strict} if wanted.strict is not None else {}
    if "verbosity" in conversation.extra:
        out["verbosity"] = conversation.extra["verbosity"]
    return out


_LOW_TOKENS, _MEDIUM_TOKENS = 2_048, 12_288
"""Budgets of thought up to which an effort is low, and medium."""


def _write_thinking(thinking: Thinking | None) -> dict[str, Any]:
    if thinking is None:
        return {}
    effort = thinking.effort
    if effort is None and thinking.budget is not None:
        budget = thinking.budget
        effort = "none" if budget == 0 else "low" if budget <= _LOW_TOKENS else "medium" if budget <= _MEDIUM_TOKENS else "high"
    out: dict[str, Any] = {"effort": effort} if effort not in (None, "auto") else {}
    return out | {"summary": "auto"} if thinking.shown else out


_PASSED = frozenset(
    [
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "safety_identifier",
        "truncation",
        "max_tool_calls",
        "context_management",
        "moderation",
    ]
)
"""Members without a noun that this dialect has itself."""

_SILENT = frozenset({*envelope.OURS, *_PASSED, "verbosity", "stream_options"})


def _dropped(conversation: Conversation) -> Iterator[str]:
    """What the caller said and the call does not, by the caller's names."""
    sampling = conversation.sampling
    for name in ("top_k", "presence_penalty", "frequency_penalty", "seed"):
        if getattr(sampling, name) is not None:
            yield name
    if sampling.stop:
        yield "stop"
    if (sampling.n or 1) > 1:
        yield "n"
    if any(message.name for message in conversation.messages):
        yield "name"
    found = [part for message in conversation.messages for part in message.parts]
    if any(getattr(part, "cache", None) for part in (*found, *conversation.tools)):
        yield "cache_control"
    if any(isinstance(part, ToolResult) and part.is_error for part in found):
        yield "is_error"
    yield from (name for name in conversation.extra if name not in _SILENT)
