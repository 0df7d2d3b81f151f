"""A chat completion request (https://platform.openai.com/docs/api-reference/chat/create), to and from a conversation.

Read with the extensions that callers of other models use: `reasoning` and `thinking`, `cache_control`, signatures, `top_k`.
"""

from typing import Annotated, Any, Literal

import msgspec

from shoal.core.chat import decode, members_of
from shoal.core.conversation import Conversation, Format, Sampling, Thinking
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire import hosted
from shoal.wire.openai_chat import messages, tools
from shoal.wire.openai_chat.forward import OURS
from shoal.wire.openai_chat.manners import Manner, manner_of
from shoal.wire.openai_chat.tools import AnyChoice, AskedTool, Function, missing
from shoal.wire.openai_chat.turns import Turns

_Positive = Annotated[int, msgspec.Meta(ge=1)]
_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
# what OpenAI's dialect has a member for and a conversation has no noun for: passed on to whoever speaks the dialect
_OWN = frozenset(
    (
        "audio",
        "modalities",
        "moderation",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "verbosity",
        "web_search_options",
    )
)


class _Schema(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    schema: dict[str, msgspec.Raw] | None = None
    description: str | None = None
    strict: bool | None = None


class _ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None


class _Reasoning(msgspec.Struct):
    """OpenRouter's (https://openrouter.ai/docs/use-cases/reasoning-tokens)."""

    effort: _Effort | None = None
    max_tokens: _Positive | None = None
    exclude: bool | None = None
    enabled: bool | None = None


class _Thinking(msgspec.Struct):
    """Anthropic's (https://docs.claude.com/en/docs/build-with-claude/extended-thinking)."""

    type: Literal["enabled", "disabled", "adaptive", "auto"]
    budget_tokens: _Positive | None = None
    display: Literal["summarized", "omitted"] | None = None


class _FunctionChoice(msgspec.Struct):
    name: str


class _HowMuch(msgspec.Struct, kw_only=True):
    """How much to think, in all the ways to say it."""

    reasoning_effort: _Effort | None = None
    reasoning: _Reasoning | None = None
    thinking: _Thinking | None = None


class _Request(_HowMuch, kw_only=True):
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=512)]
    messages: Annotated[list[messages.Said], msgspec.Meta(min_length=1)]
    tools: list[AskedTool] | None = None
    tool_choice: AnyChoice = None
    parallel_tool_calls: bool | None = None
    functions: list[Function] | None = None
    function_call: Literal["auto", "none"] | _FunctionChoice | None = None
    response_format: _ResponseFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    n: _Positive | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0)] | None = None
    logit_bias: dict[str, float] | None = None
    max_tokens: _Positive | None = None
    max_completion_tokens: _Positive | None = None
    stream: bool | None = None
    user: str | None = None
    service_tier: str | None = None


_request = msgspec.json.Decoder(_Request)
_how_much = msgspec.json.Decoder(_HowMuch)
_encode = msgspec.json.Encoder().encode
_NOUNS = frozenset((*_Request.__struct_fields__, *OURS))
_SAMPLED = ("temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty", "seed", "n", "logprobs", "top_logprobs", "logit_bias")


def read(body: bytes) -> Conversation:
    """A caller's whole request, checked. Errors: Fault naming the parameter by its path."""
    asked = decode(body, _request)
    members = members_of(body)
    offered, own = tools.read_tools(asked.tools or (), members.get("tools"))
    offered += tuple(tools.read_function(one, f"functions[{index}]") for index, one in enumerate(asked.functions or ()))
    choice, offered = tools.read_choice(_choice(asked), offered, bool(own))
    return Conversation(
        model=asked.model,
        messages=messages.read(asked.messages),
        tools=offered,
        hosted=own,
        tool_choice=choice,
        parallel_tools=asked.parallel_tool_calls,
        format=_format(asked.response_format),
        sampling=Sampling(
            **{name: getattr(asked, name) for name in _SAMPLED},
            stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        ),
        thinking=_read_thinking(asked),
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        stream=bool(asked.stream),
        user=asked.user,
        service_tier=asked.service_tier,
        extra={name: raw for name, raw in members.items() if name not in _NOUNS and bytes(raw) != b"null"},
    )


def _choice(asked: _Request) -> AnyChoice:
    old = asked.function_call
    if asked.tool_choice is not None or old is None:
        return asked.tool_choice
    return old if isinstance(old, str) else tools.choice_of(old.name)


def _format(asked: _ResponseFormat | None) -> Format | None:
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return Format()
    if asked.json_schema is None:
        raise missing("response_format.json_schema")
    schema = asked.json_schema
    raw = None if schema.schema is None else msgspec.Raw(_encode(schema.schema))
    return Format(raw or msgspec.Raw(b"{}"), schema.name, schema.description, schema.strict)


def read_thinking(body: bytes) -> Thinking | None:
    """How much to think, by a request's body. Errors: what msgspec raises."""
    return _read_thinking(_how_much.decode(body))


def _read_thinking(asked: _HowMuch) -> Thinking | None:
    """How much to think, whichever way it was said; `reasoning_effort` outweighs the others."""
    reasoning, thinking = asked.reasoning or _Reasoning(), asked.thinking
    effort: str | None = asked.reasoning_effort or reasoning.effort
    budget = reasoning.max_tokens or (thinking.budget_tokens if thinking else None)
    if effort is None and (reasoning.enabled is False or (thinking and thinking.type == "disabled")):
        effort = "none"
    if effort is None and budget is None and (reasoning.enabled or thinking):
        effort = "medium" if reasoning.enabled else "auto"
    shown = None if reasoning.exclude is None else not reasoning.exclude
    if shown is None and thinking and thinking.display:
        shown = thinking.display == "summarized"
    return None if effort is None and budget is None and shown is None else Thinking(effort, budget, shown)


def write(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The request for an upstream. Errors: Fault unsupported_parameter naming what its provider cannot be told and must not miss."""
    manner = manner_of(deployment.provider)
    hosted.write(conversation)
    turns = Turns(manner)
    body: dict[str, Any] = {"model": deployment.upstream_model, "messages": turns.write(conversation.messages)}
    dropped = turns.dropped
    if conversation.tools:
        body["tools"] = [tools.write_tool(tool, manner.cache_control) for tool in conversation.tools]
        if not manner.cache_control and any(tool.cache for tool in conversation.tools):
            dropped.add("cache_control")
        if conversation.tool_choice is not None:
            body["tool_choice"] = tools.write_choice(conversation.tool_choice)
        if conversation.parallel_tools is not None:
            body["parallel_tool_calls"] = conversation.parallel_tools
    if conversation.format is not None:
        body["response_format"] = _write_format(conversation.format)
    for name in _SAMPLED:
        if (value := getattr(conversation.sampling, name)) is not None:
            body[name] = value
    if not manner.top_k and body.pop("top_k", None) is not None:
        dropped.add("top_k")
    if conversation.sampling.stop:
        body["stop"] = conversation.sampling.stop
    if conversation.max_tokens is not None:
        body[manner.limit] = conversation.max_tokens
    if conversation.thinking is not None:
        body |= write_thinking(conversation.thinking, manner)
    for name in ("user", "service_tier"):
        if (value := getattr(conversation, name)) is not None:
            body[name] = value
    body |= {name: raw for name, raw in conversation.extra.items() if name in _OWN and name != "stream_options"}
    dropped |= {name for name in conversation.extra if name not in _OWN}
    if conversation.stream:
        body["stream"] = True
        body["stream_options"] = _stream_options(conversation)
    return HttpCall("/chat/completions", _encode(body), dropped=tuple(sorted(dropped)))


def _stream_options(conversation: Conversation) -> dict[str, Any]:
    asked = conversation.extra.get("stream_options")
    return (members_of(bytes(asked)) if asked is not None else {}) | {"include_usage": True}


def _write_format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": wanted.name, "schema": wanted.schema}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    return {"type": "json_schema", "json_schema": schema}


_EFFORT_OF_BUDGET = ((2048, "low"), (8192, "medium"))
_BUDGET_OF_EFFORT = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}


def write_thinking(thinking: Thinking, manner: Manner) -> dict[str, Any]:
    """How much to think, in the provider's own words; a budget becomes the effort next to it where no budget can be said."""
    effort = thinking.effort
    if effort is None and thinking.budget is not None:
        effort = next((name for most, name in _EFFORT_OF_BUDGET if thinking.budget <= most), "high")
    switch = {"thinking": {"type": "disabled" if effort == "none" else "enabled"}} if effort else {}
    match manner.effort:
        case "reasoning":
            said = {"enabled": True} if effort == "auto" else {"effort": effort} if effort else {}
            amount = said if thinking.budget is None else {"max_tokens": thinking.budget}
            return {"reasoning": amount | ({"exclude": not thinking.shown} if thinking.shown is not None else {})}
        case "thinking":
            return switch
        case "thinking and reasoning_effort":
            return switch | ({"reasoning_effort": effort} if effort not in (None, "none", "auto") else {})
        case "enable_thinking" if effort:
            budget = thinking.budget or _BUDGET_OF_EFFORT.get(effort)
            return {"enable_thinking": effort != "none"} | ({"thinking_budget": budget} if budget and effort != "none" else {})
        case "reasoning_effort" if effort not in (None, "auto"):
            return {"reasoning_effort": effort}
    return {}
