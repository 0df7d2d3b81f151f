"""A conversation as a call of Converse or ConverseStream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from typing import Any
from urllib.parse import quote

import msgspec

from shoal.core.conversation import Conversation, Sampling, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire import hosted
from shoal.wire.anthropic.formats import close
from shoal.wire.bedrock.families import Family, Fields, find_family, merge
from shoal.wire.bedrock.names import tool_name
from shoal.wire.bedrock.parts import Block, Writer

# members of Converse's own that a caller may name as they are
_OWN = (
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "guardrailConfig",
    "outputConfig",
    "performanceConfig",
    "projectIdentifier",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
)
_TIERS = ("default", "flex", "priority", "reserved")
# what Converse has no word for, and an answer can do without
_DROPPED = ("presence_penalty", "frequency_penalty", "seed", "logprobs")
_NOTHING = msgspec.Raw(b'{"type":"object","properties":{}}')


def model_path(model: str, action: str) -> str:
    """Where a model is asked; its name may be an ARN with slashes."""
    return f"/model/{quote(model, safe='')}/{action}"


def write(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The call. Errors: Fault unsupported_parameter for what must not be left out; what may be is named in `dropped`."""
    family = find_family(deployment)
    writer = Writer(family)
    dropped = writer.dropped
    _refuse(conversation)
    hosted.write(conversation)
    body: Fields = {"messages": writer.messages(conversation)}
    if system := writer.system(conversation):
        body["system"] = system
    thought, unsaid = _thinking(conversation, deployment, family)
    dropped.update(unsaid)
    drawn = _drawn(conversation, deployment, family, thought, dropped)
    if inference := _inference(conversation, drawn):
        body["inferenceConfig"] = inference
    tools = _tools(conversation, family.strict(_names(deployment)), writer)
    if tools is not None:
        body["toolConfig"] = tools
    for more in (
        _format(conversation),
        _one_call(conversation, deployment, family, tools, dropped),
        _sampling(conversation, drawn, family, dropped),
        thought,
    ):
        body = merge(body, more)
    body = merge(body, _extra(conversation, dropped))
    action = "converse-stream" if conversation.stream else "converse"
    return HttpCall(model_path(deployment.upstream_model, action), msgspec.json.encode(body), dropped=tuple(sorted(dropped)))


def _refuse(conversation: Conversation) -> None:
    sampling = conversation.sampling
    for name, value in (("logit_bias", sampling.logit_bias), ("top_logprobs", sampling.top_logprobs)):
        if value:
            raise Fault("unsupported_parameter", f"Amazon Bedrock's Converse has no '{name}'.", param=name)


def _drawn(conversation: Conversation, deployment: Deployment, family: Family, thought: Fields, dropped: set[str]) -> Sampling:
    """How tokens are drawn, as far as the family takes it."""
    if family.fit is None:
        return conversation.sampling
    thinks = thought.get("additionalModelRequestFields", {}).get("thinking", {}).get("type") in ("enabled", "adaptive")
    fitted, unfit = family.fit(conversation.sampling, _names(deployment), thinks)
    dropped.update(unfit)
    return fitted


def _names(deployment: Deployment) -> str:
    """A model's names: behind an ARN only the public one tells whose it is."""
    return f"{deployment.upstream_model} {deployment.model}"


def _inference(conversation: Conversation, drawn: Sampling) -> Fields:
    said = {
        "maxTokens": conversation.max_tokens,
        "temperature": drawn.temperature,
        "topP": drawn.top_p,
        "stopSequences": list(drawn.stop) or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _tools(conversation: Conversation, strict: bool, writer: Writer) -> Fields | None:
    """The tools and the choice among them. There is no choice of none: then no tool is offered, unless earlier turns used one."""
    choice = conversation.tool_choice
    if choice is not None and choice.mode == "none" and conversation.tools:
        if any(isinstance(part, ToolCall | ToolResult) for message in conversation.messages for part in message.parts):
            text = "Amazon Bedrock cannot be told to use no tool in a conversation that has used one; leave out 'tool_choice'."
            raise Fault("unsupported_parameter", text, param="tool_choice")
        return None
    if not conversation.tools:
        return None
    tools: list[Block] = []
    for tool in conversation.tools:
        spec: Fields = {"name": tool_name(tool.name), "inputSchema": {"json": tool.parameters or _NOTHING}}
        if tool.description:
            spec["description"] = tool.description
        if tool.strict and strict:
            spec["strict"] = True
            spec["inputSchema"] = {"json": close(tool.parameters or _NOTHING)}
        elif tool.strict:
            writer.dropped.add("tools.strict")
        tools += [{"toolSpec": spec}, *writer.cached(tool.cache)]
    out: Fields = {"tools": tools}
    if choice is not None:
        out["toolChoice"] = {"auto": {"auto": {}}, "required": {"any": {}}}.get(choice.mode) or {
            "tool": {"name": tool_name(choice.name or "")}
        }
    return out


def _one_call(conversation: Conversation, deployment: Deployment, family: Family, tools: Fields | None, dropped: set[str]) -> Fields:
    """What asks for one call at a time. Where Converse's own choice is said, its kind must not be said twice."""
    if conversation.parallel_tools is not False:
        return {}
    said = family.one_call(_names(deployment)) if family.one_call is not None and tools is not None else {}
    if not said:
        dropped.add("parallel_tool_calls")
    elif tools is not None and "toolChoice" not in tools:
        said = merge(said, {"additionalModelRequestFields": {"tool_choice": {"type": "auto"}}})
    return said


def _format(conversation: Conversation) -> Fields:
    """Structured output: a schema, as text, whose objects must be closed. https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html"""
    wanted = conversation.format
    if wanted is None:
        return {}
    if wanted.schema is None:
        text = "Amazon Bedrock gives JSON by a schema only; use a 'response_format' of the type json_schema."
        raise Fault("unsupported_parameter", text, param="response_format")
    schema = {"schema": msgspec.json.encode(close(wanted.schema)).decode(), "name": wanted.name}
    if wanted.description:
        schema["description"] = wanted.description
    return {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}}


def _sampling(conversation: Conversation, drawn: Sampling, family: Family, dropped: set[str]) -> Fields:
    sampling = conversation.sampling
    dropped.update(name for name in _DROPPED if getattr(sampling, name) not in (None, False))
    if sampling.n not in (None, 1):
        dropped.add("n")
    out: Fields = {}
    if drawn.top_k is not None and family.top_k is not None:
        out = family.top_k(drawn.top_k)
    elif drawn.top_k is not None:
        dropped.add("top_k")
    if drawn.stop and family.signs:  # Claude tells which of them it was, if asked; in a stream it is a member of its own event's `delta`
        path = "/delta/stop_sequence" if conversation.stream else "/stop_sequence"
        out = merge(out, {"additionalModelResponseFieldPaths": [path]})
    return out


def _thinking(conversation: Conversation, deployment: Deployment, family: Family) -> tuple[Fields, tuple[str, ...]]:
    thinking = conversation.thinking
    if thinking is None or (thinking.effort is None and thinking.budget is None and thinking.shown is not True):
        return {}, ()
    if family.think is None or deployment.capabilities.reasoning is False:
        return {}, ("reasoning_effort" if thinking.budget is None else "reasoning",)
    return family.think(conversation, _names(deployment))


def _extra(conversation: Conversation, dropped: set[str]) -> Fields:
    out: dict[str, Any] = {}
    for name, raw in conversation.extra.items():
        if name in _OWN:
            out[name] = msgspec.json.decode(raw)
        else:
            dropped.add(name)
    tier = conversation.service_tier
    if tier in _TIERS:
        out.setdefault("serviceTier", {"type": tier})
    elif tier not in (None, "auto"):
        dropped.add("service_tier")
    if conversation.user is not None:
        dropped.add("user")
    return out
