"""A conversation as a call of Cohere's v2 chat. https://docs.cohere.com/reference/chat"""

from typing import Any

import msgspec

from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire import hosted
from shoal.wire.cohere.parts import Writer

# members of Cohere's own that a caller may name as they are
_OWN = ("citation_options", "priority", "safety_mode", "strict_tools")
_NOTHING = msgspec.Raw(b'{"type":"object","properties":{}}')
# tokens of thought; more is as much as the model likes. https://docs.cohere.com/docs/reasoning
_BUDGETS = {"minimal": 512, "low": 2048, "medium": 8192}
_CHOICES = {"required": "REQUIRED", "named": "REQUIRED", "none": "NONE"}


def write(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The call. Errors: Fault unsupported_parameter for what must not be left out; what may be is named in `dropped`."""
    writer = Writer()
    _refuse(conversation)
    hosted.write(conversation)
    body: dict[str, Any] = {
        "model": deployment.upstream_model,
        "messages": writer.messages(conversation),
        "stream": conversation.stream,
        **_tools(conversation, writer.dropped),
        **_format(conversation),
        **_sampling(conversation, writer.dropped),
        **_thinking(conversation, deployment, writer.dropped),
        **_extra(conversation, writer),
    }
    return HttpCall("/v2/chat", msgspec.json.encode(body), dropped=tuple(sorted(writer.dropped)))


def _refuse(conversation: Conversation) -> None:
    sampling = conversation.sampling
    for name, value in (("logit_bias", sampling.logit_bias), ("top_logprobs", sampling.top_logprobs)):
        if value:
            raise Fault("unsupported_parameter", f"Cohere's chat has no '{name}'.", param=name)


def _tools(conversation: Conversation, dropped: set[str]) -> dict[str, Any]:
    """Tools, and whether one must be used. A named one is the only one offered, since none can be named."""
    choice, tools = conversation.tool_choice, conversation.tools
    if conversation.parallel_tools is False:
        dropped.add("parallel_tool_calls")
    if not tools:
        return {}
    if choice is not None and choice.mode == "named":
        tools = tuple(tool for tool in tools if tool.name == choice.name)
        if not tools:
            raise Fault("invalid_value", f"'tool_choice' names the tool {choice.name!r}, which 'tools' does not hold.", param="tool_choice")
    out: dict[str, Any] = {"tools": []}
    for tool in tools:
        function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters or _NOTHING}
        out["tools"].append({"type": "function", "function": {name: value for name, value in function.items() if value is not None}})
        if tool.cache is not None:
            dropped.add("cache_control")
    if all(tool.strict for tool in tools):
        out["strict_tools"] = True
    elif any(tool.strict for tool in tools):  # it is all of them or none
        dropped.add("tools.strict")
    if choice is not None and choice.mode in _CHOICES:
        out["tool_choice"] = _CHOICES[choice.mode]
    return out


def _format(conversation: Conversation) -> dict[str, Any]:
    wanted = conversation.format
    if wanted is None:
        return {}
    return {"response_format": {"type": "json_object"} | ({"json_schema": wanted.schema} if wanted.schema is not None else {})}


def _sampling(conversation: Conversation, dropped: set[str]) -> dict[str, Any]:
    """`p` is from 0.01 to 0.99: a top_p of 1 is as near to it as can be. Log probabilities are of token ids, which nobody else can read."""
    sampling = conversation.sampling
    said = {
        "max_tokens": conversation.max_tokens,
        "temperature": sampling.temperature,
        "p": None if sampling.top_p is None else min(max(sampling.top_p, 0.01), 0.99),
        "k": sampling.top_k,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "seed": sampling.seed,
        "stop_sequences": list(sampling.stop) or None,
    }
    if sampling.logprobs:
        dropped.add("logprobs")
    if sampling.n not in (None, 1):
        dropped.add("n")
    return {name: value for name, value in said.items() if value is not None}


def _thinking(conversation: Conversation, deployment: Deployment, dropped: set[str]) -> dict[str, Any]:
    wanted = conversation.thinking
    if wanted is None or (wanted.effort is None and wanted.budget is None and wanted.shown is not True):
        return {}
    if deployment.capabilities.reasoning is False:
        dropped.add("reasoning_effort" if wanted.budget is None else "thinking")
        return {}
    if wanted.effort == "none":
        return {"thinking": {"type": "disabled"}}
    budget = wanted.budget or _BUDGETS.get(wanted.effort or "")
    return {"thinking": {"type": "enabled"} | ({"token_budget": budget} if budget else {})}


def _extra(conversation: Conversation, writer: Writer) -> dict[str, Any]:
    out: dict[str, Any] = {name: raw for name, raw in conversation.extra.items() if name in _OWN}
    documents = list(writer.documents)
    if "documents" in conversation.extra:
        documents[:0] = msgspec.json.decode(conversation.extra["documents"], type=list[Any])
    if documents:
        out["documents"] = documents
    writer.dropped.update(name for name in conversation.extra if name not in (*_OWN, "documents"))
    if conversation.user is not None:
        writer.dropped.add("user")
    if conversation.service_tier not in (None, "auto", "default"):
        writer.dropped.add("service_tier")
    return out
