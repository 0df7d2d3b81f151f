"""Tools, and which of them the model may call. See https://ai.google.dev/gemini-api/docs/function-calling#function_calling_modes."""

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Hosted, Tool, ToolChoice
from shoal.core.errors import Fault
from shoal.wire.gemini.members import Members, camel
from shoal.wire.gemini.parts import Json
from shoal.wire.gemini.schema import to_json_schema

_OWN = frozenset(
    {"googleSearch", "googleSearchRetrieval", "googleMaps", "urlContext", "codeExecution", "fileSearch", "computerUse", "retrieval",
     "enterpriseWebSearch", "mcpServers"}
)  # fmt: skip
"""Tools that Google runs. https://ai.google.dev/api/caching#Tool"""

_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}


def declare(tools: tuple[Tool, ...]) -> Json:
    """`functionDeclarations`. The schema goes as `parametersJsonSchema`, since `parameters` lacks much of JSON Schema."""
    return {"functionDeclarations": [_declaration(tool) for tool in tools]}


def _declaration(tool: Tool) -> Json:
    out: Json = {"name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    if tool.parameters is not None:
        out["parametersJsonSchema"] = tool.parameters
    return out


def is_own(tool: Mapping[str, Any]) -> bool:
    """Whether Google runs a tool that has these members."""
    return bool(tool) and all(camel(name) in _OWN for name in tool)


def choose(choice: ToolChoice, validated: bool = False) -> Json:
    """`toolConfig`; `validated`: calls keep to the schemas of their functions, as they do anyway where some function must be called."""
    calling: Json = {"mode": "VALIDATED" if validated and choice.mode == "auto" else _MODES[choice.mode]}
    if choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    return {"functionCallingConfig": calling}


def read(request: Members) -> tuple[tuple[Tool, ...], ToolChoice | None, tuple[Hosted, ...]]:
    """A caller's functions and choice, and the tools that Google runs."""
    tools: list[Tool] = []
    hosted: list[Hosted] = []
    for one in request.objects("tools"):
        for name, raw in one.others(("functionDeclarations",)).items():
            hosted.append(Hosted(msgspec.Raw(msgspec.json.encode({name: raw})), one.where(name)))
        tools.extend(_tool(declaration) for declaration in one.objects("functionDeclarations"))
    config = request.object("toolConfig")
    calling = config.object("functionCallingConfig") if config else None
    if calling is None:
        return tuple(tools), None, tuple(hosted)
    return *_choice(tuple(tools), calling), tuple(hosted)


def _tool(declared: Members) -> Tool:
    name = declared.text("name")
    if not name:
        raise Fault("missing_parameter", f"Missing required parameter: '{declared.where('name')}'.", param=declared.where("name"))
    schema = declared.raw("parametersJsonSchema")
    plain = declared.object("parameters")
    if schema is None and plain is not None:
        schema = msgspec.Raw(msgspec.json.encode(to_json_schema(declared.get("parameters"))))
    return Tool(name, declared.text("description"), schema)


def _choice(tools: tuple[Tool, ...], calling: Members) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """A choice among several functions is the choice of any, of those alone."""
    mode, allowed = (calling.text("mode") or "AUTO").upper(), calling.texts("allowedFunctionNames")
    if mode == "ANY" and len(allowed) == 1:
        return tools, ToolChoice("named", allowed[0])
    if allowed:
        tools = tuple(tool for tool in tools if tool.name in allowed)
    if mode == "VALIDATED":
        return tuple(msgspec.structs.replace(tool, strict=True) for tool in tools), ToolChoice("auto")
    if mode == "NONE":
        return tools, ToolChoice("none")
    return tools, ToolChoice("required" if mode == "ANY" else "auto")
