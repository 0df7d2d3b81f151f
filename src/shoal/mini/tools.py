"""Function calls of a model that only knows text: how the functions are shown to it, and how calls are read out of what it says.

Where the model may choose (`auto`), calls are read from `<tool_call>[...]</tool_call>`, the form SmolLM2's makers document (and Hermes',
with one object instead of a list); what is no well-formed call of a known function stays text. Where it must call (`required`, or a named
function), the answer is decoded under a JSON schema made here, so that it is a call.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from shoal.mini.text import held_length

OPEN, CLOSE = "<tool_call>", "</tool_call>"


class Function(msgspec.Struct, frozen=True):
    """A function the model may call. `parameters` is a JSON schema; `index` is its place in the request's `tools`."""

    name: str
    index: int
    description: str | None = None
    parameters: dict[str, Any] | None = None

    def schema(self) -> dict[str, Any]:
        """The schema of its arguments: without `parameters`, none are taken."""
        return {"type": "object", "properties": {}, "additionalProperties": False} if self.parameters is None else self.parameters


class CallDelta(msgspec.Struct, frozen=True):
    """A piece of one call: `id` and `name` in the first piece only, `arguments` as JSON text to be appended."""

    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


class Reader(Protocol):
    """Separates an answer's text from its calls, as it arrives."""

    calls: int

    def feed(self, text: str) -> tuple[str, Sequence[CallDelta]]:
        """Take a piece of what the model says: the text and the calls in it that are certain by now."""

    def finish(self) -> tuple[str, Sequence[CallDelta]]:
        """What is left once nothing follows."""


class TaggedReader:
    """Reads calls between `<tool_call>` and `</tool_call>`; everything else is text."""

    def __init__(self, names: Sequence[str], *, at_most: int | None = None) -> None:
        self._names = frozenset(names)
        self._at_most = at_most
        self._held = ""
        self._inside = False
        self._blank: str | None = ""  # white space that belongs to a tag if a tag follows
        self.calls = 0

    def feed(self, text: str) -> tuple[str, Sequence[CallDelta]]:
        """See Reader."""
        if not self._inside and not self._held and self._blank is None and "<" not in text:
            return text, ()
        held, self._held = self._held + text, ""
        shown = ""
        calls: list[CallDelta] = []
        while held:
            mark = CLOSE if self._inside else OPEN
            at = held.find(mark)
            if at < 0:
                keep = len(held) if self._inside else held_length(held, OPEN)
                shown += self._show(held[: len(held) - keep])
                self._held = held[len(held) - keep :]
                break
            before, held = held[:at], held[at + len(mark) :]
            if not self._inside:
                shown += self._show(before)
            else:
                more, found = self._close(before, OPEN + before + CLOSE)
                shown, calls = shown + more, calls + found
            self._inside = not self._inside
        return shown, calls

    def finish(self) -> tuple[str, Sequence[CallDelta]]:
        """See Reader. A call whose end tag is missing is a call all the same if it is whole."""
        held, self._held = self._held, ""
        if self._inside:
            self._inside = False
            return self._close(held, OPEN + held)
        blank, self._blank = self._blank or "", None
        return ("" if self.calls and not held else blank + held), ()

    def _show(self, text: str) -> str:
        if self._blank is not None:
            text = self._blank + text
            self._blank = text if not text or text.isspace() else None
            return "" if self._blank is not None else text
        return text

    def _close(self, body: str, raw: str) -> tuple[str, list[CallDelta]]:
        """The calls in `body`, or `raw` as text when it holds none."""
        found = parse_calls(body, self._names)
        if found is None:
            return self._show(raw), []
        self._blank = ""
        room = len(found) if self._at_most is None else max(0, self._at_most - self.calls)
        deltas = [CallDelta(self.calls + i, arguments, make_call_id(), name) for i, (name, arguments) in enumerate(found[:room])]
        self.calls += len(deltas)
        return "", deltas


def parse_calls(body: str, names: frozenset[str]) -> list[tuple[str, str]] | None:
    """(name, arguments as JSON text) of each call in `body`: one object or a list of them. None when anything in it is no such call."""
    try:
        value = msgspec.json.decode(body.strip())
    except (msgspec.DecodeError, RecursionError):
        return None
    found = []
    for item in value if isinstance(value, list) else [value]:
        if not isinstance(item, dict) or item.get("name") not in names:
            return None
        arguments = item.get("arguments", {})
        if not isinstance(arguments, dict):
            return None
        found.append((item["name"], msgspec.json.encode(arguments).decode()))
    return found


class NamedReader:
    """The answer is the arguments of one function, nothing else."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.calls = 0

    def feed(self, text: str) -> tuple[str, Sequence[CallDelta]]:
        """See Reader."""
        if not text:
            return "", ()
        if self.calls:
            return "", (CallDelta(0, text),)
        self.calls = 1
        return "", (CallDelta(0, text, make_call_id(), self._name),)

    def finish(self) -> tuple[str, Sequence[CallDelta]]:
        """See Reader."""
        return "", ()


class ChosenReader:
    """The answer is `{"name": ..., "arguments": {...}}`, as made by `make_choice_schema`; arguments are passed on as they come."""

    _HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')

    def __init__(self) -> None:
        self._held = ""
        self._depth: int | None = None
        self._in_string = self._escaped = False
        self.calls = 0

    def feed(self, text: str) -> tuple[str, Sequence[CallDelta]]:
        """See Reader."""
        if self._depth is not None:
            arguments = self._take_arguments(text)
            return "", (CallDelta(0, arguments),) if arguments else ()
        self._held += text
        head = self._HEAD.match(self._held)
        if head is None:
            return "", ()
        self._depth, self.calls = 0, 1
        name = msgspec.json.decode(head[1], type=str)
        return "", (CallDelta(0, self._take_arguments(self._held[head.end() :]), make_call_id(), name),)

    def finish(self) -> tuple[str, Sequence[CallDelta]]:
        """See Reader. An answer cut before its function was named says nothing."""
        return "", ()

    def _take_arguments(self, text: str) -> str:
        """The part of `text` that belongs to the arguments' object: up to the brace that closes it."""
        if self._depth == -1:
            return ""
        depth = self._depth or 0
        for i, character in enumerate(text):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                depth += 1
            elif character in "}]":
                depth -= 1
                if depth == 0:
                    self._depth = -1
                    return text[: i + 1]
        self._depth = depth
        return text


def make_call_id() -> str:
    """A fresh id in the form OpenAI's have."""
    return "call_" + secrets.token_urlsafe(18).replace("-", "x").replace("_", "y")


def make_choice_schema(functions: Sequence[Function]) -> dict[str, Any]:
    """A schema for one call of any of `functions`. References inside their parameters are moved along."""
    definitions: dict[str, Any] = {}
    choices = []
    for i, function in enumerate(functions):
        schema = move_references(function.schema(), f"#/$defs/f{i}")
        if schema != function.schema():
            definitions[f"f{i}"] = schema
        choices.append(
            {
                "type": "object",
                "properties": {"name": {"const": function.name}, "arguments": schema},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    out = choices[0] if len(choices) == 1 else {"anyOf": choices}
    return out | {"$defs": definitions} if definitions else out


def move_references(schema: Any, root: str) -> Any:
    """`schema` with every local reference (`#...`) made to start at `root`, where the schema is to be kept."""
    if isinstance(schema, list):
        return [move_references(item, root) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str) and value.startswith("#"):
            out[key] = root + value[1:]
        elif key in ("enum", "const", "default", "examples"):
            out[key] = value  # data, not schema
        else:
            out[key] = move_references(value, root)
    return out


def describe(functions: Sequence[Function]) -> list[dict[str, Any]]:
    """The functions as OpenAI's `tools` list has them, for templates that render it and for the prompt below."""
    out = []
    for function in functions:
        shown: dict[str, Any] = {"name": function.name}
        if function.description is not None:
            shown["description"] = function.description
        shown["parameters"] = function.schema()
        out.append({"type": "function", "function": shown})
    return out


def write_prompt(functions: Sequence[Function]) -> str:
    """What to tell a model whose template knows no tools: the list, and the form of a call (SmolLM2's)."""
    listed = msgspec.json.encode([tool["function"] for tool in describe(functions)]).decode()
    return (
        "You can call functions. These are the functions you have, with the JSON schemas of their arguments:\n"
        f"<tools>{listed}</tools>\n"
        "If one of them helps with what the user asks, answer with nothing but calls in this form, with every required argument:\n"
        f'{OPEN}[{{"name": "function name", "arguments": {{"argument": "value"}}}}]{CLOSE}\n'
        "The result of a call comes back between <tool_response> and </tool_response>; use it to answer the user.\n"
        "If no function helps, answer in plain words."
    )


def write_calls(calls: Sequence[Mapping[str, str]]) -> str:
    """Earlier calls ({"name", "arguments"} with arguments as JSON text) as the model would have written them."""
    items = ", ".join(f'{{"name": {msgspec.json.encode(call["name"]).decode()}, "arguments": {call["arguments"]}}}' for call in calls)
    return f"{OPEN}[{items}]{CLOSE}"


def write_result(text: str) -> str:
    """A call's result, as the model is told of it."""
    return f"<tool_response>\n{text}\n</tool_response>"
