"""Objects as grammar expressions: known properties in the schema's order, or a map where no property is named."""

import json
import re
from typing import Any, Protocol

from shoal.mini.engine import BadGrammar
from shoal.mini.pattern import BadPattern, quote, write_pattern
from shoal.mini.schema import ITEMS, Schema, TooDeep, is_finite, read_count
from shoal.mini.values import check_value

_MOST_PROPERTIES = 400


class Writer(Protocol):
    """What is needed of grammar.py's collector of rules."""

    schema: Schema

    def add(self, name: str, body: str) -> str:
        """Name a rule and return the name."""

    def visit(self, node: Any, at: str) -> str:
        """An expression for a schema."""

    def repeat(self, opening: str, item: str, least: int, most: int, closing: str) -> str:
        """Items between brackets, separated by ", "."""


def write_properties(writer: Writer, node: Any, at: str) -> str:
    """An expression for the objects of `node`. Raises BadGrammar."""
    properties, required = dict(node.get("properties") or {}), node.get("required") or []
    rest = False if node.get("unevaluatedProperties") is False else node.get("additionalProperties", True)
    for name in required:
        if name not in properties:
            if rest is False:
                raise BadGrammar(f"{at}: `required` names {name!r}, which `additionalProperties` rules out")
            properties[name] = rest
    if not properties:
        return _write_map(writer, node, rest, at)
    if len(properties) > _MOST_PROPERTIES:
        raise BadGrammar(f"{at}: more than {_MOST_PROPERTIES} `properties` cannot be enforced")
    _check_names(writer, node, properties, at)
    wanted = _choose(writer, node, properties, set(required), at)
    parts = []
    for name, needed in wanted:
        try:
            parts.append((name, writer.visit(properties[name], f"{at}/properties/{name}"), needed))
        except TooDeep:
            if needed:
                raise
    return _write_sequence(writer, parts) if parts else '"{}"'


def _check_names(writer: Writer, node: Any, properties: dict[str, Any], at: str) -> None:
    for pattern in node.get("patternProperties", ()):
        if _matches_any(pattern, properties, at):
            raise BadGrammar(f"{at}: `patternProperties` that match a name in `properties` cannot be enforced")
    for name in properties:
        if not check_value(writer.schema, node.get("propertyNames", True), name):
            raise BadGrammar(f"{at}: `propertyNames` rules out the property {name!r}")


def _matches_any(pattern: str, names: dict[str, Any], at: str) -> bool:
    try:
        return any(re.search(pattern, name) for name in names)
    except re.error as error:
        raise BadGrammar(f"{at}: the pattern {pattern!r} in `patternProperties` cannot be read: {error}") from None


def _choose(writer: Writer, node: Any, properties: dict[str, Any], required: set[str], at: str) -> list[tuple[str, bool]]:
    """Which properties are written, and which of them always: `minProperties` and `maxProperties` decide about optional ones."""
    least, most = read_count(node, "minProperties", 0, at), read_count(node, "maxProperties", len(properties), at)
    if len(required) > most:
        raise BadGrammar(f"{at}: `maxProperties` is less than the number of `required` properties")
    optional = [name for name in properties if name not in required and is_finite(writer.schema, properties[name])]
    optional = optional[: most - len(required)]
    if len(required) + len(optional) < least:
        raise BadGrammar(f"{at}: `minProperties` is more than the number of `properties`")
    always = required | set(optional[: max(0, least - len(required))])
    return [(name, name in always) for name in properties if name in always or name in optional]


def _write_sequence(writer: Writer, parts: list[tuple[str, str, bool]]) -> str:
    """`{`, the properties with commas between those that are there, `}`."""
    tail = ""
    heads: list[str] = []
    open_start = all(not needed for _, _, needed in parts)
    for i, (name, value, needed) in reversed(list(enumerate(parts))):
        shown = json.dumps(name, ensure_ascii=False)
        if not any(earlier for _, _, earlier in parts[:i]):
            heads.append(f"{quote(f'{{{shown}: ')} {value} {tail}".rstrip())
        later = f"{quote(f', {shown}: ')} {value}"
        tail = f"{later if needed else f'({later})?'} {tail}".rstrip()
        if not needed and i:
            tail = writer.add("rest", tail)
    choices = [f'{head} "}}"' for head in reversed(heads)] + (['"{}"'] if open_start else [])
    return choices[0] if len(choices) == 1 else f"({' | '.join(choices)})"


def _write_map(writer: Writer, node: Any, rest: Any, at: str) -> str:
    """An object whose names are free: the names by `propertyNames` or a pattern, the values by `additionalProperties`."""
    least, most = read_count(node, "minProperties", 0, at), read_count(node, "maxProperties", ITEMS, at)
    patterns = node.get("patternProperties") or {}
    if least > 1:
        raise BadGrammar(f"{at}: `minProperties` above 1 cannot be enforced for an object without named `properties`")
    if len(patterns) > 1 or (patterns and "propertyNames" in node):
        raise BadGrammar(f"{at}: several `patternProperties`, or with `propertyNames`, cannot be enforced")
    key = "key"
    for pattern, part in patterns.items():
        try:
            key, rest = rf'"\"" {write_pattern(pattern)[0]} "\": "', part
        except BadPattern as error:
            raise BadGrammar(f"{at}: the pattern in `patternProperties` {error}") from None
    if "propertyNames" in node:
        names = node["propertyNames"]
        key = f'{writer.visit(names if isinstance(names, bool) else {"type": "string", **names}, at)} ": "'
    if rest is False or most == 0:
        if least:
            raise BadGrammar(f"{at}: `minProperties` asks for a property, and none is allowed")
        return '"{}"'
    try:
        return writer.repeat("{", f"{key} {writer.visit(rest, f'{at}/additionalProperties')}", least, most, "}")
    except TooDeep:
        if least:
            raise
        return '"{}"'
