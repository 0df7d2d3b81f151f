"""Tools, and which of them the model may call. See https://ai.google.dev/gemini-api/docs/function-calling#function_calling_modes."""

import msgspec

from shoal.core.conversation import Tool, ToolChoice
from shoal.core.errors import Fault
from shoal.wire.gemini.members import Members
from shoal.wire.gemini.parts import Json
from shoal.wire.gemini.schema import to_json_schema

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


def choose(choice: ToolChoice) -> Json:
    """`toolConfig`."""
    calling: Json = {"mode": _MODES[choice.mode]}
    if choice.mode == "named":
        calling["allowedFunctionNames"] = [choice.name]
    return {"functionCallingConfig": calling}


def read(request: Members) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    """A caller's functions and choice. Errors: Fault unsupported_parameter for tools that only Google has."""
    tools: list[Tool] = []
    for one in request.objects("tools"):
        native = list(one.others(("functionDeclarations",)))
        if native:
            text = (
                f"The tool {native[0]!r} runs on Google's servers alone; ask for a model of Google's without a fallback, or leave it out."
            )
            raise Fault("unsupported_parameter", text, param=one.where(native[0]))
        tools.extend(_tool(declaration) for declaration in one.objects("functionDeclarations"))
    config = request.object("toolConfig")
    calling = config.object("functionCallingConfig") if config else None
    if calling is None:
        return tuple(tools), None
    return _choice(tuple(tools), calling)


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
