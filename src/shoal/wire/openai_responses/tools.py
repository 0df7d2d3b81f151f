"""Functions that the model may call, and which it should, both ways. https://platform.openai.com/docs/guides/function-calling."""

from collections.abc import Sequence
from typing import Any

import msgspec

from shoal.core.chat import decode, within
from shoal.core.conversation import Tool, ToolChoice
from shoal.core.errors import Fault
from shoal.wire.openai_responses.checked import ABSENT, wrong_value


class _Type(msgspec.Struct):
    type: str


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    mode: str | None = None
    tools: list[_Function] | None = None


_type = msgspec.json.Decoder(_Type)
_function = msgspec.json.Decoder(_Function)
_choice = msgspec.json.Decoder(str | _Choice)

_MODES = ("auto", "none", "required")
_ANYTHING = msgspec.Raw(b'{"type":"object","properties":{}}')


def read(tools: Sequence[msgspec.Raw]) -> tuple[Tool, ...]:
    """A caller's functions. Errors: Fault unsupported_parameter for a tool that runs at OpenAI, naming its type."""
    return tuple(_read_tool(raw, f"tools[{index}]") for index, raw in enumerate(tools))


def _read_tool(raw: msgspec.Raw, place: str) -> Tool:
    kind = decode(raw, _type, place).type
    if kind != "function":
        where = within(place, "type")
        text = f"Unsupported value for '{where}': '{kind}' is a tool of OpenAI's own, which this model cannot use; offer it as a function."
        raise Fault("unsupported_parameter", text, param=where)
    found = decode(raw, _function, place)
    parameters = None if bytes(found.parameters) == b"null" else found.parameters
    return Tool(found.name, found.description, parameters, found.strict)


def read_choice(raw: msgspec.Raw, tools: Sequence[Tool]) -> tuple[ToolChoice | None, tuple[Tool, ...]]:
    """The choice, and the tools it leaves: `allowed_tools` names some of them. Errors: Fault."""
    if bytes(raw) == b"null":
        return None, tuple(tools)
    found = decode(raw, _choice, "tool_choice")
    if isinstance(found, str):
        return ToolChoice(_mode(found, "tool_choice")), tuple(tools)
    if found.type == "function":
        return _named(found.name, tools), tuple(tools)
    if found.type == "allowed_tools":
        allowed = {tool.name for tool in found.tools or ()}
        return ToolChoice(_mode(found.mode or "auto", "tool_choice.mode")), tuple(tool for tool in tools if tool.name in allowed)
    text = f"Unsupported value for 'tool_choice.type': '{found.type}' is a tool of OpenAI's own, which this model cannot use."
    raise Fault("unsupported_parameter", text, param="tool_choice.type")


def _mode(word: str, place: str) -> Any:
    if word not in _MODES:
        raise wrong_value(place, word, _MODES)
    return word


def _named(name: str | None, tools: Sequence[Tool]) -> ToolChoice:
    if name not in {tool.name for tool in tools}:
        raise Fault("invalid_value", f"Tool choice '{name}' is not among the functions in 'tools'.", param="tool_choice.name")
    return ToolChoice("named", name)


def write(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Functions for an upstream. `strict` is always said: it is on here where it is not, and off in other dialects."""
    return [_write_tool(tool) for tool in tools]


def _write_tool(tool: Tool) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    return out | {"parameters": tool.parameters or _ANYTHING, "strict": bool(tool.strict)}


def write_choice(choice: ToolChoice) -> str | dict[str, Any]:
    """The choice for an upstream."""
    return {"type": "function", "name": choice.name} if choice.mode == "named" else choice.mode
