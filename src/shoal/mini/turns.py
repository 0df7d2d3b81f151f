"""What a chat request asks of a model that knows only text: its messages as template turns, its tools, the form its answer must have.

Roles and contents are checked here, each refusal naming the message and the part. What the model cannot take in (images, audio, files) is
refused, never left out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from shoal.core.errors import Fault
from shoal.mini import tools
from shoal.mini.dialect import ChatRequest, Message, Tool
from shoal.mini.template import Turn
from shoal.mini.tools import Function

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_TOOLS = 128

Mode = Literal["none", "auto", "required", "named"]


class ToolUse(msgspec.Struct, frozen=True):
    """The functions on offer, and whether one must be called; "named" has exactly one function."""

    mode: Mode
    functions: tuple[Function, ...] = ()
    parallel: bool = True

    @property
    def forced(self) -> bool:
        """Whether the answer must be a call."""
        return self.mode in ("required", "named")


class AnswerForm(msgspec.Struct, frozen=True):
    """The JSON schema that the answer's text must satisfy, and the parameter that asked for it."""

    schema: dict[str, Any]
    param: str
    any_object: bool = False


def read_tool_use(request: ChatRequest) -> ToolUse:
    """`tools`, `tool_choice` and `parallel_tool_calls`, checked. Raises Fault."""
    offered = [_read_function(i, tool) for i, tool in enumerate(request.tools or ())]
    if len(offered) > MAX_TOOLS:
        raise Fault("invalid_value", f"Invalid 'tools': at most {MAX_TOOLS} are allowed, not {len(offered)}.", param="tools")
    functions: dict[str, Function] = {}
    for function in offered:
        if function.name in functions:
            param = f"tools[{function.index}].function.name"
            raise Fault("invalid_value", f"Invalid '{param}': '{function.name}' is there already; names must differ.", param=param)
        functions[function.name] = function
    mode, names = _read_choice(request.tool_choice, bool(functions))
    for name in names:
        if name not in functions:
            raise Fault("invalid_value", f"Invalid 'tool_choice': there is no function '{name}' in 'tools'.", param="tool_choice")
    chosen = tuple(functions[name] for name in (names or functions))
    if mode == "none" or not chosen:
        return ToolUse("none")
    return ToolUse(mode, chosen, request.parallel_tool_calls is not False)


def _read_function(i: int, tool: Tool) -> Function:
    if tool.type != "function":
        text = f"Invalid 'tools[{i}].type': only 'function' tools can be called by this model, not '{tool.type}'."
        raise Fault("unsupported_parameter", text, param=f"tools[{i}].type")
    if tool.function is None:
        raise Fault("missing_parameter", f"Missing required parameter: 'tools[{i}].function'.", param=f"tools[{i}].function")
    _check_name(tool.function.name, f"tools[{i}].function.name")
    return Function(tool.function.name, i, tool.function.description, tool.function.parameters)


def _check_name(name: str, param: str) -> None:
    if not _NAME.fullmatch(name):
        raise Fault("invalid_value", f"Invalid '{param}': use 1 to 64 letters, digits, '_' and '-'.", param=param)


def _read_choice(choice: str | Mapping[str, Any] | None, offered: bool) -> tuple[Mode, list[str]]:
    """The mode, and the names it is limited to (none: all)."""
    mode: Mode
    names: list[str] = []
    match choice:
        case None | "auto":
            mode = "auto"
        case "none":
            mode = "none"
        case "required":
            mode = "required"
        case {"type": "function", "function": {"name": str(name)}}:
            mode, names = "named", [name]
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as allowed, "tools": [_, *_] as listed}}:
            mode, names = allowed, [_read_allowed(tool, i) for i, tool in enumerate(listed)]
        case _:
            text = (
                "Invalid 'tool_choice': use 'none', 'auto', 'required', {\"type\": \"function\", \"function\": {\"name\": ...}} or "
                '{"type": "allowed_tools", "allowed_tools": {"mode": ..., "tools": [...]}}.'
            )
            raise Fault("invalid_value", text, param="tool_choice")
    if mode in ("required", "named") and not offered:
        raise Fault("invalid_value", "'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    return mode, names


def _read_allowed(tool: object, i: int) -> str:
    match tool:
        case {"type": "function", "function": {"name": str(name)}}:
            return name
    param = f"tool_choice.allowed_tools.tools[{i}]"
    raise Fault("invalid_value", f'Invalid \'{param}\': use {{"type": "function", "function": {{"name": ...}}}}.', param=param)


def read_answer_form(value: Mapping[str, Any] | None) -> AnswerForm | None:
    """`response_format`, checked; None is free text. Raises Fault."""
    match value:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return AnswerForm({"type": "object"}, "response_format", any_object=True)
        case {"type": "json_schema", "json_schema": dict(given)}:
            if not isinstance(given.get("name"), str):
                param = "response_format.json_schema.name"
                raise Fault("missing_parameter", f"Missing required parameter: '{param}' (a string).", param=param)
            _check_name(given["name"], "response_format.json_schema.name")
            if not isinstance(given.get("schema"), dict):
                param = "response_format.json_schema.schema"
                raise Fault("missing_parameter", f"Missing required parameter: '{param}' (a JSON schema).", param=param)
            return AnswerForm(given["schema"], "response_format.json_schema.schema")
        case {"type": "json_schema"}:
            param = "response_format.json_schema"
            raise Fault("missing_parameter", f"Missing required parameter: '{param}' (an object).", param=param)
        case _:
            param = "response_format.type"
            raise Fault("invalid_value", f"Invalid '{param}': use 'text', 'json_object' or 'json_schema'.", param=param)


def make_turns(messages: Sequence[Message], use: ToolUse, form: AnswerForm | None, *, template_knows_tools: bool) -> list[Turn]:
    """Turns for the chat template, with what the model must be told about tools and the answer's form. Raises Fault."""
    if not messages:
        raise Fault("invalid_value", "Invalid 'messages': send at least one message.", param="messages")
    turns = [_make_turn(message, f"messages[{i}]", template_knows_tools) for i, message in enumerate(messages)]
    told = []
    if use.functions and not template_knows_tools:
        told.append(tools.write_prompt(use.functions))
    if use.forced:
        told.append(_write_order(use))
    elif form is not None:
        told.append(_write_form(form))
    if not told:
        return turns
    if turns[0]["role"] == "system":
        turns[0] = turns[0] | {"content": "\n\n".join([text for text in (turns[0]["content"],) if text] + told)}
        return turns
    return [{"role": "system", "content": "\n\n".join(told)}, *turns]


def _write_order(use: ToolUse) -> str:
    if use.mode == "named" or len(use.functions) == 1:
        return f"Call the function {use.functions[0].name} now: answer with the JSON object of its arguments and nothing else."
    return 'Call a function now: answer with one JSON object {"name": ..., "arguments": {...}} and nothing else.'


def _write_form(form: AnswerForm) -> str:
    if form.any_object:
        return "Answer with one JSON object and nothing else."
    schema = msgspec.json.encode(form.schema).decode()
    return f"Answer with JSON that follows this JSON schema, and nothing else:\n{schema}"


def _make_turn(message: Message, path: str, template_knows_tools: bool) -> Turn:
    match message.role:
        case "system" | "developer":
            return {"role": "system", "content": _read_content(message, path)}
        case "user":
            return {"role": "user", "content": _read_content(message, path)}
        case "assistant":
            return _make_assistant_turn(message, path, template_knows_tools)
        case "tool" | "function":
            if message.role == "tool" and message.tool_call_id is None:
                raise Fault("missing_parameter", f"Missing required parameter: '{path}.tool_call_id'.", param=f"{path}.tool_call_id")
            content = _read_content(message, path)
            if template_knows_tools:
                return {"role": "tool", "content": content, "tool_call_id": message.tool_call_id, "name": message.name}
            return {"role": "user", "content": tools.write_result(content)}
    roles = "'system', 'developer', 'user', 'assistant', 'tool' or 'function'"
    raise Fault("invalid_value", f"Invalid '{path}.role': use {roles}, not '{message.role[:64]}'.", param=f"{path}.role")


def _make_assistant_turn(message: Message, path: str, template_knows_tools: bool) -> Turn:
    calls = []
    for i, call in enumerate(message.tool_calls or ()):
        if call.function is None:
            param = f"{path}.tool_calls[{i}].function"
            raise Fault("missing_parameter", f"Missing required parameter: '{param}'.", param=param)
        arguments = _read_arguments(call.function.arguments, f"{path}.tool_calls[{i}].function.arguments")
        calls.append({"name": call.function.name, "arguments": arguments, "id": call.id})
    if message.function_call is not None:
        arguments = _read_arguments(message.function_call.arguments, f"{path}.function_call.arguments")
        calls.append({"name": message.function_call.name, "arguments": arguments, "id": ""})
    content = "" if message.content is None and calls else _read_content(message, path)
    if not calls:
        return {"role": "assistant", "content": content}
    if template_knows_tools:
        rendered = [{"type": "function", "id": call["id"], "function": {k: call[k] for k in ("name", "arguments")}} for call in calls]
        return {"role": "assistant", "content": content, "tool_calls": rendered}
    written = tools.write_calls([{"name": call["name"], "arguments": msgspec.json.encode(call["arguments"]).decode()} for call in calls])
    return {"role": "assistant", "content": f"{content}\n{written}" if content else written}


def _read_arguments(text: str, param: str) -> Any:
    if not text.strip():
        return {}
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        # what a model wrote and nobody could read is shown to it again as it was
        return text


def _read_content(message: Message, path: str) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    if content is None:
        raise Fault("missing_parameter", f"Missing required parameter: '{path}.content'.", param=f"{path}.content")
    if not content:
        raise Fault("invalid_value", f"Invalid '{path}.content': the list of parts is empty.", param=f"{path}.content")
    texts = []
    for i, part in enumerate(content):
        where = f"{path}.content[{i}]"
        field = "refusal" if part.type == "refusal" and message.role == "assistant" else "text"
        if part.type not in ("text", field):
            text = f"Invalid '{where}.type': this model takes text only, not '{part.type[:64]}' parts."
            raise Fault("unsupported_parameter", text, param=f"{where}.type")
        text_of_part = part.refusal if field == "refusal" else part.text
        if text_of_part is None:
            raise Fault("missing_parameter", f"Missing required parameter: '{where}.{field}'.", param=f"{where}.{field}")
        texts.append(text_of_part)
    return "\n".join(texts)
