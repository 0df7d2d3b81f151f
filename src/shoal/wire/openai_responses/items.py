"""A caller's input items as messages. What the model said in a row (thought, words, calls) is one message, as the results in a row are.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from collections.abc import Iterable, Sequence
from typing import get_args

import msgspec

from shoal.core.chat import decode, within
from shoal.core.conversation import File, Image, Message, Part, Role, Text, ToolCall, ToolResult
from shoal.core.errors import Fault
from shoal.wire.openai_responses import parts, reasoning
from shoal.wire.openai_responses.checked import missing, wrong_value
from shoal.wire.openai_responses.reasoning import CallProof


class Kind(msgspec.Struct):
    """What an item is. A message may leave its type out; a reference may too, and has no role."""

    type: str | None = None
    role: str | None = None
    id: str | None = None


class _Message(msgspec.Struct):
    content: parts.Content


class _Call(msgspec.Struct):
    call_id: str
    name: str
    arguments: str = ""


class _Result(msgspec.Struct):
    output: parts.Content
    call_id: str | None = None
    name: str | None = None


class _Picture(msgspec.Struct):
    result: str | None = None


kind = msgspec.json.Decoder(Kind)
_message = msgspec.json.Decoder(_Message)
_call = msgspec.json.Decoder(_Call)
_result = msgspec.json.Decoder(_Result)
_picture = msgspec.json.Decoder(_Picture)

_ROLES = frozenset(get_args(Role)) - {"tool"}

HOSTED = frozenset(
    [
        "file_search_call",
        "computer_call",
        "computer_call_output",
        "web_search_call",
        "code_interpreter_call",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "custom_tool_call",
        "custom_tool_call_output",
        "compaction",
        "compaction_trigger",
        "tool_search_call",
        "tool_search_output",
        "additional_tools",
        "program",
        "program_output",
    ]
)
"""Items about tools that run at OpenAI, which nobody else can take up."""

_KNOWN = ("message", "function_call", "function_call_output", "reasoning", "image_generation_call")


def read(items: Sequence[msgspec.Raw], place: str = "input") -> tuple[Message, ...]:
    """Messages from items. Errors: Fault, naming the item and its member."""
    found = (_read_item(raw, f"{place}[{index}]") for index, raw in enumerate(items))
    return tuple(_group(found))


_Said = tuple[Role, Sequence[Part | CallProof]]


def _read_item(raw: msgspec.Raw, place: str) -> _Said:
    head = decode(raw, kind, place)
    match head.type:
        case "message" | None if head.type or head.role:
            return _read_message(raw, head.role, place)
        case "function_call":
            call = decode(raw, _call, place)
            return "assistant", [ToolCall(call.call_id, call.name, call.arguments or "{}")]
        case "function_call_output":
            return "tool", [_read_result(raw, place)]
        case "reasoning":
            return "assistant", [reasoning.read(raw, place)]
        case "image_generation_call":
            picture = decode(raw, _picture, place)
            return "assistant", [Image(data=picture.result, media_type="image/png")] if picture.result else []
        case "item_reference" | None:
            text = f"'{place}' refers to an item that is not kept here: send the item itself, or continue with previous_response_id."
            raise Fault("unsupported_parameter", text, param=place)
    where = within(place, "type")
    if head.type in HOSTED:
        text = f"Unsupported value for '{where}': items of the type {head.type} need OpenAI's own tools, which this model does not have."
        raise Fault("unsupported_parameter", text, param=where)
    raise wrong_value(where, head.type, _KNOWN)


def _read_message(raw: msgspec.Raw, role: str | None, place: str) -> _Said:
    if role is None:
        raise missing(within(place, "role"))
    if role not in _ROLES:
        raise wrong_value(within(place, "role"), role, _ROLES)
    said = parts.read(decode(raw, _message, place).content, within(place, "content"))
    who: Role = role  # type: ignore[assignment]  # one of _ROLES
    return who, said


def _read_result(raw: msgspec.Raw, place: str) -> ToolResult:
    result = decode(raw, _result, place)
    if result.call_id is None:
        raise missing(within(place, "call_id"))
    content = parts.read(result.output, within(place, "output"))
    return ToolResult(result.call_id, tuple(part for part in content if isinstance(part, Text | Image | File)), name=result.name)


def _group(said: Iterable[_Said]) -> Iterable[Message]:
    role: Role | None = None
    gathered: list[Part] = []
    proofs: dict[str, str] = {}
    for who, found in said:
        if gathered and (who != role or who not in ("assistant", "tool")):
            assert role is not None
            yield Message(role, tuple(gathered))
            gathered = []
        role = who
        for part in found:
            if isinstance(part, CallProof):
                proofs[part.call] = part.signature
            elif isinstance(part, ToolCall) and part.id in proofs:
                gathered.append(msgspec.structs.replace(part, signature=proofs.pop(part.id)))
            else:
                gathered.append(part)
    if gathered and role is not None:
        yield Message(role, tuple(gathered))
