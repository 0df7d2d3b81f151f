"""Tools and the choice among them, both ways (https://platform.claude.com/docs/en/agents-and-tools/tool-use/define-tools)."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Conversation, Hosted, Tool, ToolChoice
from shoal.core.errors import Fault
from shoal.wire.anthropic import formats
from shoal.wire.anthropic.families import Family
from shoal.wire.anthropic.members import Cache, decode, lifetime

_MODES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_KINDS = {kind: mode for mode, kind in _MODES.items()}
_OWN = re.compile(r"\w+_20\d{6}|mcp_toolset")
"""Types of the tools that are Anthropic's own: all but one end in the date of their version."""
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


def write(tools: tuple[Tool, ...], family: Family) -> tuple[list[dict[str, Any]], list[str]]:
    """The `tools`, and what was left out of them. Errors: Fault for parameters that are no JSON Schema of an object."""
    out, dropped = [], []
    for place, tool in enumerate(tools):
        one: dict[str, Any] = {"name": tool.name}
        if tool.description:
            one["description"] = tool.description
        one["input_schema"] = _schema(tool, place)
        if tool.strict and family.structured:
            one["strict"] = True
            one["input_schema"] = formats.close(msgspec.Raw(msgspec.json.encode(one["input_schema"])))
        elif tool.strict:
            dropped.append("tools.strict")
        if tool.cache:
            one["cache_control"] = cache_control(tool.cache)
        out.append(one)
    return out, dropped[:1]


def is_own(tool: Mapping[str, Any]) -> bool:
    """Whether Anthropic runs, or at least describes, a tool of this type."""
    return _OWN.fullmatch(str(tool.get("type"))) is not None


class _Location(msgspec.Struct):
    approximate: dict[str, msgspec.Raw] = {}


class _Search(msgspec.Struct):
    search_context_size: str | None = None
    user_location: _Location | None = None


_search = msgspec.json.Decoder(_Search)


def search(options: msgspec.Raw, dropped: list[str]) -> dict[str, Any]:
    """OpenAI's `web_search_options` as the tool that searches. https://platform.openai.com/docs/guides/tools-web-search"""
    seen = decode(_search, options, "web_search_options")
    if seen.search_context_size not in (None, "medium"):
        dropped.append("web_search_options.search_context_size")
    out: dict[str, Any] = {"type": "web_search_20250305", "name": "web_search"}
    if seen.user_location is not None:
        out["user_location"] = {"type": "approximate", **seen.user_location.approximate}
    return out


def _schema(tool: Tool, place: int) -> Any:
    if tool.parameters is None or bytes(tool.parameters) == b"null":
        return {"type": "object", "properties": {}}
    try:
        members = _objects.decode(tool.parameters)
    except msgspec.ValidationError:
        param = f"tools[{place}].parameters"
        raise Fault("invalid_type", f"Invalid value for '{param}': expected a JSON Schema, an object.", param=param) from None
    return tool.parameters if "type" in members else {"type": "object", **members}


def cache_control(lifetime: str) -> dict[str, str]:
    """A breakpoint of the prompt cache; five minutes are what it lasts if nothing is said."""
    return {"type": "ephemeral"} if lifetime == "5m" else {"type": "ephemeral", "ttl": lifetime}


def write_choice(conversation: Conversation) -> dict[str, Any] | None:
    """The `tool_choice`, which also says whether several tools may be called at once."""
    choice = conversation.tool_choice
    once = conversation.parallel_tools is False
    if not (conversation.tools or conversation.hosted) and (choice is None or choice.mode in ("auto", "none")):
        return None
    if choice is None:
        return {"type": "auto", "disable_parallel_tool_use": True} if once else None
    out: dict[str, Any] = {"type": _MODES[choice.mode]}
    if choice.mode == "named":
        out["name"] = choice.name
    if once and choice.mode != "none":
        out["disable_parallel_tool_use"] = True
    return out


class _Tool(msgspec.Struct):
    name: str
    input_schema: msgspec.Raw = msgspec.Raw(b"null")
    type: str | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: Cache | None = None


class Choice(msgspec.Struct):
    """The caller's `tool_choice`."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Kind(msgspec.Struct):
    type: str | None = None


_tool = msgspec.json.Decoder(_Tool)
_kind = msgspec.json.Decoder(_Kind)


def read(raw: list[msgspec.Raw], noted: set[str]) -> tuple[tuple[Tool, ...], tuple[Hosted, ...]]:
    """A caller's tools, and those that are Anthropic's own; `noted` takes the names of what no other tool can say. Errors: Fault."""
    tools: list[Tool] = []
    hosted: list[Hosted] = []
    for place, one in enumerate(raw):
        where = f"tools[{place}]"
        if decode(_kind, one, where).type in (None, "custom"):
            tools.append(_read_one(one, where, noted))
        else:
            hosted.append(Hosted(one, where))
    return tuple(tools), tuple(hosted)


def _read_one(raw: msgspec.Raw, where: str, noted: set[str]) -> Tool:
    tool = decode(_tool, raw, where)
    said = (name for name, value in _objects.decode(raw).items() if name not in _Tool.__struct_fields__ and bytes(value) != b"null")
    noted.update(f"tools.{name}" for name in said)
    if bytes(tool.input_schema) == b"null":
        raise Fault("missing_parameter", f"Missing required parameter: '{where}.input_schema'.", param=f"{where}.input_schema")
    return Tool(tool.name, tool.description, tool.input_schema, tool.strict, lifetime(tool.cache_control, where))


def read_choice(choice: Choice | None) -> tuple[ToolChoice | None, bool | None]:
    """A caller's choice, and whether several tools may be called at once. Errors: Fault."""
    if choice is None:
        return None, None
    if choice.type not in _KINDS:
        text = f"Invalid value for 'tool_choice.type': expected auto, any, tool or none, got '{choice.type}'."
        raise Fault("invalid_value", text, param="tool_choice.type")
    if choice.type == "tool" and not choice.name:
        raise Fault("missing_parameter", "Missing required parameter: 'tool_choice.name'.", param="tool_choice.name")
    parallel = None if choice.disable_parallel_tool_use is None else not choice.disable_parallel_tool_use
    return ToolChoice(_KINDS[choice.type], choice.name), parallel  # type: ignore[arg-type]
