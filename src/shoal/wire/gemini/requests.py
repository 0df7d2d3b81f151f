"""A request: a caller's to a conversation, a conversation to an upstream's call. See https://ai.google.dev/api/generate-content.

Google's requests name the model and whether the answer is streamed in their path, so a body alone does not tell.
"""

import msgspec

from shoal.core.conversation import Conversation, ToolChoice
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire import hosted
from shoal.wire.gemini import extras, generation, thinking, tools, turns
from shoal.wire.gemini.contents import Contents
from shoal.wire.gemini.families import generation as number_of
from shoal.wire.gemini.families import on_vertex, resource
from shoal.wire.gemini.members import Members, decode
from shoal.wire.gemini.parts import Json

OURS: tuple[str, ...] = ("models", "provider", "route", "fallbacks", "session_id", "metadata")
"""Members of a caller's request that say how to route it, and are no upstream's business."""

_READ = ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "serviceTier", "model", "sessionId", *OURS)
_FIRST_THAT_VALIDATES = 2.5
"""Since then calls can be held to their schemas: https://ai.google.dev/gemini-api/docs/function-calling#function_calling_modes."""
_TIERS = {"flex": "flex", "priority": "priority", "default": "standard", "standard": "standard"}


def read(body: bytes) -> Conversation:
    """A request without what its path says. Errors: Fault naming the parameter."""
    return read_at(body, "", stream=False)


def read_at(body: bytes, model: str, stream: bool) -> Conversation:
    """The request that was sent to `models/{model}:generateContent`, or `:streamGenerateContent`. Errors: Fault naming the parameter."""
    return conversation_of(decode(body), model, stream)


def conversation_of(request: Members, model: str, stream: bool) -> Conversation:
    """The same, of a body that is decoded."""
    config = request.object("generationConfig") or Members({}, "generationConfig")
    functions, choice, own = tools.read(request)
    wanted = request.object("toolConfig")
    extra = request.others(_READ) | generation.read_rest(config)
    if wanted is not None:
        extra |= {wanted.where(name): raw for name, raw in wanted.others(("functionCallingConfig",)).items()}
    tier = request.text("serviceTier")
    return Conversation(
        model=model,
        messages=turns.read(request),
        tools=functions,
        hosted=own,
        tool_choice=choice,
        format=generation.read_format(config),
        sampling=generation.read_sampling(config),
        thinking=thinking.read(config.object("thinkingConfig")),
        max_tokens=config.integer("maxOutputTokens"),
        stream=stream,
        service_tier="default" if tier == "standard" else tier,
        extra=extra,
    )


def write(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The call. Errors: Fault unsupported_parameter, or invalid_value for a tool's result that belongs to no call."""
    body, dropped = compose(conversation, deployment)
    return HttpCall(path_of(deployment.upstream_model, conversation.stream), msgspec.json.encode(body), dropped=tuple(sorted(dropped)))


def path_of(model: str, stream: bool) -> str:
    """Where a model is asked, below the base URL."""
    return f"/{resource(model)}:streamGenerateContent?alt=sse" if stream else f"/{resource(model)}:generateContent"


def compose(conversation: Conversation, deployment: Deployment) -> tuple[Json, set[str]]:
    """The request's object, and the caller's parameters that it cannot say."""
    contents = Contents(conversation, deployment.upstream_model, on_vertex(deployment))
    dropped = contents.dropped
    out: Json = {"contents": contents.turns}
    if contents.system:
        out["systemInstruction"] = {"role": "user", "parts": contents.system}
    choice = conversation.tool_choice
    strict = any(tool.strict for tool in conversation.tools)
    validated = strict and number_of(deployment.upstream_model) >= _FIRST_THAT_VALIDATES
    if conversation.tools:
        out["tools"] = [tools.declare(conversation.tools)]
        dropped.update(["strict"] if strict and not validated else [])
        dropped.update("cache_control" for tool in conversation.tools if tool.cache is not None)
    if own := hosted.write(conversation, tools.is_own):
        out["tools"] = [*out.get("tools", ()), *own]
    if choice is None and validated:
        choice = ToolChoice("auto")
    if choice is not None and (conversation.tools or choice.mode != "auto"):
        _require_tools(conversation)
        out["toolConfig"] = tools.choose(choice, validated)
    if conversation.service_tier in _TIERS:
        out["serviceTier"] = _TIERS[conversation.service_tier]
    elif conversation.service_tier not in (None, "auto"):
        dropped.add("service_tier")
    if conversation.user is not None:
        dropped.add("user")
    if conversation.parallel_tools is False:
        dropped.add("parallel_tool_calls")
    config = generation.write(conversation, deployment, dropped)
    extras.add(conversation.extra, out, config, dropped)
    if config:
        out["generationConfig"] = config
    return out, dropped


def _require_tools(conversation: Conversation) -> None:
    choice = conversation.tool_choice
    if choice is not None and choice.mode == "named" and choice.name not in {tool.name for tool in conversation.tools}:
        raise Fault("invalid_value", f"The tool choice names {choice.name!r}, which is not among the tools.", param="tool_choice")
