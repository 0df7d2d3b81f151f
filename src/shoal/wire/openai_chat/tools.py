"""Tools, calls and choices of a chat completion request (https://platform.openai.com/docs/guides/function-calling), both ways."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from shoal.core.conversation import Hosted, Tool, ToolCall, ToolChoice
from shoal.core.errors import Fault
from shoal.wire.openai_chat import parts

_Name = Annotated[str, msgspec.Meta(min_length=1)]
# msgspec takes no Raw in a union: what is absent reads as null
_ABSENT = msgspec.Raw(b"null")


class Function(msgspec.Struct):
    """A function's definition; `parameters` is a JSON Schema."""

    name: _Name
    description: str | None = None
    parameters: msgspec.Raw = _ABSENT
    strict: bool | None = None


class AskedTool(msgspec.Struct):
    """One of `tools`."""

    type: str = "function"
    function: Function | None = None
    cache_control: parts.CacheControl | None = None


class _Called(msgspec.Struct):
    name: str
    arguments: str = ""


class _Google(msgspec.Struct):
    thought_signature: str | None = None


class _ExtraContent(msgspec.Struct):
    google: _Google | None = None


class Call(msgspec.Struct):
    """One of an assistant's `tool_calls`; `extra_content` is Gemini's way to sign one (https://ai.google.dev/gemini-api/docs/openai)."""

    id: _Name
    type: str = "function"
    function: _Called | None = None
    extra_content: _ExtraContent | None = None
    cache_control: parts.CacheControl | None = None


class _Named(msgspec.Struct):
    name: _Name


class _AllowedTool(msgspec.Struct):
    type: str = "function"
    function: _Named | None = None


class _Allowed(msgspec.Struct):
    mode: Literal["auto", "required"]
    tools: list[_AllowedTool]


class Choice(msgspec.Struct):
    """`tool_choice` where it is an object."""

    type: Literal["function", "allowed_tools", "custom"]
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


_list = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
AnyChoice = Literal["auto", "none", "required"] | Choice | None


def read_tools(tools: Sequence[AskedTool], raw: msgspec.Raw | None) -> tuple[tuple[Tool, ...], tuple[Hosted, ...]]:
    """The functions a caller offers, and the tools of another kind, which an upstream may run itself; `raw` is the list as it came.

    Errors: Fault naming a function that is missing, or whose schema is no object.
    """
    functions: list[Tool] = []
    hosted: list[Hosted] = []
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if tool.function is not None and tool.type == "function":
            functions.append(read_function(tool.function, f"{at}.function", parts.cache_of(tool.cache_control)))
            continue
        one = _list.decode(raw or b"[]")[index]
        if _object.decode(one).keys() <= {"type", "function"} and tool.type == "function":
            raise missing(f"{at}.function")
        hosted.append(Hosted(one, at))
    return tuple(functions), tuple(hosted)


def read_function(function: Function, at: str, cache: str | None = None) -> Tool:
    """One function."""
    schema = bytes(function.parameters)
    if schema != b"null" and not schema.startswith(b"{"):
        text = f"Invalid value for '{at}.parameters': expected a JSON Schema, which is an object."
        raise Fault("invalid_type", text, param=f"{at}.parameters")
    parameters = None if schema == b"null" else msgspec.Raw(schema)
    return Tool(function.name, function.description, parameters, function.strict, cache)


def missing(param: str) -> Fault:
    """A parameter that must be there."""
    return Fault("missing_parameter", f"Missing required parameter: '{param}'.", param=param)


def read_call(call: Call, at: str) -> ToolCall:
    """One call of an assistant's turn."""
    if call.type != "function":
        raise Fault("unsupported_parameter", f"'{at}.type': only calls of functions can be told, not '{call.type}'.", param=f"{at}.type")
    if call.function is None:
        raise missing(f"{at}.function")
    google = call.extra_content.google if call.extra_content else None
    signature = google.thought_signature if google else None
    return ToolCall(call.id, call.function.name, call.function.arguments or "{}", signature, parts.cache_of(call.cache_control))


def choice_of(name: str) -> Choice:
    """The choice of one function, as `function_call` names it."""
    return Choice("function", _Named(name))


def old_call(name: str, arguments: str, at: str) -> ToolCall:
    """A call of the deprecated `function_call`, with an id made of its place in the request."""
    if not name:
        raise missing(f"{at}.function_call.name")
    return ToolCall("call_" + "".join(one if one.isalnum() else "_" for one in at).strip("_"), name, arguments or "{}")


def read_choice(choice: AnyChoice, tools: tuple[Tool, ...], hosted: bool = False) -> tuple[ToolChoice | None, tuple[Tool, ...]]:
    """Which function must be called, and those it leaves: `allowed_tools` names some of them. `hosted`: others are offered besides.

    Errors: Fault for a function that is not offered.
    """
    if choice is None:
        return None, tools
    if isinstance(choice, str):
        if choice == "required" and not (tools or hosted):
            raise parts.wrong("tool_choice", "'required' needs 'tools'")
        return ToolChoice(choice), tools
    if choice.type == "allowed_tools" and choice.allowed_tools is not None:
        return _read_allowed(choice.allowed_tools, tools)
    if choice.type != "function":
        text = f"'tool_choice.type': only functions can be chosen here, not '{choice.type}'."
        raise Fault("unsupported_parameter", text, param="tool_choice")
    if choice.function is None:
        raise missing("tool_choice.function")
    return _named(choice.function.name, tools), tools


def _read_allowed(allowed: _Allowed, tools: tuple[Tool, ...]) -> tuple[ToolChoice, tuple[Tool, ...]]:
    """Only those are offered that are allowed; where that is one which must be called, it is named, and the others may stay."""
    names = [tool.function.name for tool in allowed.tools if tool.function is not None]
    if allowed.mode == "required" and len(names) == 1 == len(allowed.tools):
        return _named(names[0], tools), tools
    for name in names:
        _named(name, tools)
    return ToolChoice(allowed.mode), tuple(tool for tool in tools if tool.name in names)


def _named(name: str, tools: Sequence[Tool]) -> ToolChoice:
    if name not in {tool.name for tool in tools}:
        raise parts.wrong("tool_choice", f"no function '{name}' is offered in 'tools'")
    return ToolChoice("named", name)


def write_tool(tool: Tool, cache_control: bool) -> dict[str, Any]:
    """A function, for an upstream."""
    function: dict[str, Any] = {"name": tool.name}
    for name in ("description", "parameters", "strict"):
        if (value := getattr(tool, name)) is not None:
            function[name] = value
    out: dict[str, Any] = {"type": "function", "function": function}
    if cache_control and tool.cache is not None:
        out["cache_control"] = parts.write_cache(tool.cache)
    return out


def write_choice(choice: ToolChoice) -> str | dict[str, Any]:
    """A choice, for an upstream."""
    return choice.mode if choice.name is None else {"type": "function", "function": {"name": choice.name}}


def write_call(id: str, name: str, arguments: str, signature: str | None) -> dict[str, Any]:
    """A call, for either side."""
    out: dict[str, Any] = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    if signature is not None:
        out["extra_content"] = {"google": {"thought_signature": signature}}
    return out


def write_piece(index: int, id: str | None, name: str | None, arguments: str, signature: str | None) -> dict[str, Any]:
    """A piece of a call in a stream; its id and name come with the first."""
    if id is not None:
        return {"index": index} | write_call(id, name or "", arguments, signature)
    function = {"arguments": arguments} | ({"name": name} if name else {})
    out: dict[str, Any] = {"index": index, "function": function}
    if signature is not None:
        out["extra_content"] = {"google": {"thought_signature": signature}}
    return out
