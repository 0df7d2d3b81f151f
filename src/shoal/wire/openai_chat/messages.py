"""Messages of a chat completion request, to turns of a conversation (https://platform.openai.com/docs/api-reference/chat/create).

Every fault names its path, `messages[2].content[0].image_url`. Calls of the deprecated `function_call`, which have no id, get one from
their place, and so does the `function` message that answers.
"""

from collections.abc import Sequence
from typing import get_args

import msgspec

from shoal.core.conversation import File, Image, Message, Part, Reasoning, Refusal, Role, Text, ToolResult
from shoal.core.errors import Fault
from shoal.wire.openai_chat import parts, thoughts, tools
from shoal.wire.openai_chat.tools import missing

_ROLES = (*get_args(Role), "function")
_MAY_HOLD: dict[str, tuple[type, ...]] = {
    "system": (Text,),
    "developer": (Text,),
    "user": (Text, Image, File),
    "assistant": (Text, Refusal, Reasoning),
    "tool": (Text, Image, File),
    "function": (Text,),
}


class _FunctionCall(msgspec.Struct):
    name: str
    arguments: str = ""


class Said(msgspec.Struct):
    """A message as it comes; which members it may have depends on its role."""

    role: str
    content: parts.Content = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[tools.Call] | None = None
    tool_call_id: str | None = None
    function_call: _FunctionCall | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[thoughts.Detail] | None = None
    cache_control: parts.CacheControl | None = None
    audio: dict[str, str] | None = None


def read(said: Sequence[Said]) -> tuple[Message, ...]:
    """All turns. Errors: Fault naming what is wrong, by its path."""
    called: dict[str, str] = {}
    return tuple(_read(one, f"messages[{index}]", called) for index, one in enumerate(said))


def _read(said: Said, at: str, called: dict[str, str]) -> Message:
    """One turn; `called` has the ids made up for functions called the old way, by name."""
    match said.role:
        case "user" | "system" | "developer":
            return Message(said.role, _content(said, at, needed=True), said.name)
        case "assistant":
            return Message("assistant", _assistant(said, at, called), said.name)
        case "tool":
            if not said.tool_call_id:
                raise missing(f"{at}.tool_call_id")
            return Message("tool", (_result(said, said.tool_call_id, at),))
        case "function":
            if not said.name:
                raise missing(f"{at}.name")
            if said.name not in called:
                raise parts.wrong(f"{at}.name", f"no message before calls the function '{said.name}'")
            return Message("tool", (_result(said, called[said.name], at),))
    raise parts.wrong(f"{at}.role", f"there is no role '{said.role}'; use one of {', '.join(_ROLES)}")


def _result(said: Said, id: str, at: str) -> ToolResult:
    content = tuple(part for part in _content(said, at, needed=True) if isinstance(part, Text | Image | File))
    return ToolResult(id, content, name=said.name, cache=parts.cache_of(said.cache_control))


def _content(said: Said, at: str, needed: bool) -> tuple[Part, ...]:
    content = said.content
    if content is None:
        if needed:
            raise missing(f"{at}.content")
        return ()
    if isinstance(content, str):
        if not content and not needed:
            return ()
        return (Text(content, parts.cache_of(said.cache_control)),)
    if not content:
        raise parts.wrong(f"{at}.content", "the list of content parts is empty")
    allowed = _MAY_HOLD[said.role]
    out: list[Part] = []
    for index, one in enumerate(content):
        place = f"{at}.content[{index}]"
        part = parts.read(one, place)
        if not isinstance(part, allowed):
            raise parts.wrong(f"{place}.type", f"a message of the role '{said.role}' holds no part of this type")
        out.append(part)
    return tuple(out)


def _assistant(said: Said, at: str, called: dict[str, str]) -> tuple[Part, ...]:
    if said.audio is not None:
        text = f"'{at}.audio': an earlier spoken answer cannot be told to this model; send its transcript as 'content'."
        raise Fault("unsupported_parameter", text, param=f"{at}.audio")
    out: list[Part] = []
    thought = said.reasoning_content or said.reasoning
    if said.reasoning_details:
        out += thoughts.read(said.reasoning_details)
    elif thought:
        out.append(Reasoning(thought))
    out += _content(said, at, needed=False)
    if said.refusal:
        out.append(Refusal(said.refusal))
    out += (tools.read_call(call, f"{at}.tool_calls[{index}]") for index, call in enumerate(said.tool_calls or ()))
    if said.function_call is not None:
        call = tools.old_call(said.function_call.name, said.function_call.arguments, at)
        called[call.name] = call.id
        out.append(call)
    if not out and said.content is None:
        raise missing(f"{at}.content")
    return tuple(out)
