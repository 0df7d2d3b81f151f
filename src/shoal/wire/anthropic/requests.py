"""A whole request of the Messages API, both ways (https://platform.claude.com/docs/en/api/messages).

System and developer messages, wherever they stand, become `system`, in their order, as Anthropic's own OpenAI layer does it; messages of
one role that follow each other become one. Answers need a limit here: without the caller's it is the deployment's, or what every model of
the generation takes.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core import chat
from shoal.core.conversation import Conversation, File, Format, Image, Message, Reasoning, Sampling, Text, ToolResult
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire import hosted
from shoal.wire.anthropic import betas, blocks, contents, formats, sampling, thinking, tools
from shoal.wire.anthropic.families import find_family
from shoal.wire.anthropic.members import Cache, decode
from shoal.wire.anthropic.thinking import Asked
from shoal.wire.anthropic.tools import Choice

OURS: tuple[str, ...] = ("models", "provider", "route", "fallbacks", "session_id")
"""Members of a request that tell the gateway what to do."""

_TIERS = {"auto": "auto", "priority": "auto", "default": "standard_only", "standard_only": "standard_only"}
_NULL = msgspec.Raw(b"null")


def write(conversation: Conversation, deployment: Deployment) -> HttpCall:
    """The call that asks this. Errors: Fault unsupported_parameter for what the dialect cannot say and must not leave out."""
    family = find_family(deployment.upstream_model)
    room = deployment.max_output_tokens if conversation.max_tokens is None else conversation.max_tokens
    thought = thinking.write(conversation, family, room)
    sampled, dropped = sampling.write(conversation.sampling, family, thought.thinks)
    dropped += thought.dropped
    system, messages = _turns(conversation, dropped)
    body: dict[str, Any] = {
        "model": deployment.upstream_model,
        "max_tokens": family.longest + thought.budget if room is None else room,
        "messages": messages,
        "stream": conversation.stream,
    }
    output: dict[str, Any] = {"effort": thought.effort} if thought.effort else {}
    if conversation.format is not None and conversation.format.schema is not None:
        output["format"] = formats.write(conversation.format, family)
    elif conversation.format is not None:
        system.append({"type": "text", "text": formats.PLEA})
        dropped.append("response_format.type")
    functions, loose = tools.write(conversation.tools, family)
    dropped += loose
    offered: list[Any] = [*functions, *hosted.write(conversation, tools.is_own)]
    if "web_search_options" in conversation.extra:
        offered.append(tools.search(conversation.extra["web_search_options"], dropped))
    optional = {
        "system": system[0]["text"] if len(system) == 1 and "cache_control" not in system[0] else system,
        "tools": offered,
        "tool_choice": tools.write_choice(conversation),
        "thinking": thought.thinking,
        "output_config": output,
        "metadata": {"user_id": conversation.user} if conversation.user else None,
        "service_tier": _tier(conversation.service_tier, dropped),
        **sampled,
        **_own(conversation.extra, dropped),
    }
    if "output_config" in conversation.extra:
        optional["output_config"] = output | decode(_object, conversation.extra["output_config"], "output_config")
    body |= {name: value for name, value in optional.items() if value not in (None, [], {})}
    headers = betas.headers(conversation.extra, _names_files(conversation), (tool.raw for tool in conversation.hosted))
    return HttpCall("/messages", msgspec.json.encode(body), headers, tuple(dict.fromkeys(dropped)), streamed=conversation.stream)


def _turns(conversation: Conversation, dropped: list[str]) -> tuple[list[blocks.Block], list[dict[str, Any]]]:
    """The system's blocks, and the turns of user and assistant. Tools' results must share a turn, with what the user says to them, too."""
    system: list[blocks.Block] = []
    turns: list[dict[str, Any]] = []
    after = ""
    for place, message in enumerate(conversation.messages):
        where = f"messages[{place}].content"
        written = [block for part in message.parts if (block := blocks.write(part, where)) is not None]
        dropped += _unsaid(message)
        if message.role in ("system", "developer"):
            system += written
            continue
        role = "assistant" if message.role == "assistant" else "user"
        _check(written, role, where)
        if turns and turns[-1]["role"] == role and (role == "assistant" or message.role == "tool" or after == "tool"):
            turns[-1]["content"] += written
        elif written:
            turns.append({"role": role, "content": written})
        after = message.role
    if not turns:
        raise Fault("invalid_value", "Invalid value for 'messages': at least one message of a user must say something.", param="messages")
    _trim(turns[-1])
    return system, turns


def _unsaid(message: Message) -> list[str]:
    """What of a message cannot be said: who speaks, how closely to look, thought that Anthropic has not signed."""
    parts = message.parts
    if len(parts) == 1 and isinstance(parts[0], Text) and not message.name:  # as most messages
        return []
    return [
        *["name"] * bool(message.name),
        *["detail"] * any(isinstance(part, Image) and part.detail not in (None, "auto") for part in parts),
        *["reasoning_content"] * any(isinstance(part, Reasoning) and blocks.write(part, "") is None for part in parts),
    ]


def _check(written: list[blocks.Block], role: str, where: str) -> None:
    if role == "assistant" and any(block["type"] in ("image", "document") for block in written):
        text = f"'{where}' holds a picture or file in an answer of the model, which Anthropic's models take from users only."
        raise Fault("unsupported_parameter", text, param=where)


def _trim(turn: dict[str, Any]) -> None:
    """An answer to go on from must not end in white space."""
    last = turn["content"][-1]
    if turn["role"] == "assistant" and last["type"] == "text":
        last["text"] = last["text"].rstrip()


def _tier(tier: str | None, dropped: list[str]) -> str | None:
    if tier is not None and tier not in _TIERS:
        dropped.append("service_tier")
    return _TIERS.get(tier or "")


def _own(extra: Mapping[str, msgspec.Raw], dropped: list[str]) -> dict[str, msgspec.Raw]:
    """Members that have no noun but that this dialect has; all others are named as left out."""
    dropped += [name for name in extra if name not in betas.OWN and name != "web_search_options"]
    return {name: value for name, value in extra.items() if name in betas.OWN}


def _names_files(conversation: Conversation) -> bool:
    parts = [part for message in conversation.messages for part in message.parts]
    inner = [part for result in parts if isinstance(result, ToolResult) for part in result.parts]
    return any(isinstance(part, File) and part.id is not None for part in (*parts, *inner))


class _Format(msgspec.Struct):
    type: str
    schema: msgspec.Raw = _NULL


class _OutputConfig(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Fields(msgspec.Struct):
    model: str
    messages: list[msgspec.Raw]
    max_tokens: int | None = None
    system: msgspec.Raw = _NULL
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: Choice | None = None
    thinking: Asked | None = None
    output_config: _OutputConfig | None = None
    output_format: _Format | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None
    cache_control: Cache | None = None


_object = msgspec.json.Decoder(dict[str, Any])
_fields = msgspec.json.Decoder(_Fields)
_READ = {*_Fields.__struct_fields__, *OURS} - {"cache_control"}


def read(body: bytes) -> Conversation:
    """The whole request, checked; `max_tokens` may be left out, as where only tokens are counted.

    Errors: Fault naming the parameter by its place, such as `messages[0].content[1].text`.
    """
    fields = chat.decode(body, _fields)
    if not fields.messages:
        raise Fault("invalid_value", "Invalid value for 'messages': expected at least one message.", param="messages")
    if fields.max_tokens is not None and fields.max_tokens < 0:
        raise Fault("invalid_value", "Invalid value for 'max_tokens': expected a number of tokens, 0 or more.", param="max_tokens")
    noted: set[str] = set()
    system = contents.read_system(fields.system)
    messages = [one for place, raw in enumerate(fields.messages) for one in contents.read(raw, f"messages[{place}]", noted)]
    choice, parallel = tools.read_choice(fields.tool_choice)
    offered, own = tools.read(fields.tools or [], noted)
    output = fields.output_config or _OutputConfig()
    extra = {name: raw for name, raw in chat.members_of(body).items() if name not in _READ and bytes(raw) != b"null"}
    if "mcp_servers" in extra:
        text = "'mcp_servers' are called by Anthropic's own models only; ask one of those, or describe the tools in 'tools'."
        raise Fault("unsupported_parameter", text, param="mcp_servers")
    return Conversation(
        model=fields.model,
        messages=(*((Message("system", system),) if system else ()), *messages),
        tools=offered,
        hosted=own,
        tool_choice=choice,
        parallel_tools=parallel,
        format=_format(output.format or fields.output_format),
        sampling=Sampling(fields.temperature, fields.top_p, fields.top_k, stop=tuple(fields.stop_sequences or ())),
        thinking=thinking.read(fields.thinking, output.effort),
        max_tokens=fields.max_tokens,
        stream=bool(fields.stream),
        user=fields.metadata.user_id if fields.metadata else None,
        service_tier="default" if fields.service_tier == "standard_only" else fields.service_tier,
        extra=extra | {name: msgspec.Raw(b"true") for name in sorted(noted)},
    )


def _format(format: _Format | None) -> Format | None:
    if format is None:
        return None
    if format.type != "json_schema" or bytes(format.schema) == b"null":
        param = "output_config.format"
        raise Fault("invalid_value", f"Invalid value for '{param}': expected type json_schema and a schema.", param=param)
    return Format(format.schema, strict=True)
