"""JSON Schema as data: parsing, references, and alternatives brought to one list of plain branches.

Follows draft 2020-12 (json-schema.org), with draft 4's boolean exclusive bounds. Keywords that are only annotations are ignored.
"""

import json
from decimal import Decimal
from typing import Any

from shoal.mini.engine import BadGrammar

TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_REFUSED = frozenset(
    (
        *("not", "if", "then", "else", "contains", "minContains", "maxContains", "dependentRequired", "dependentSchemas", "dependencies"),
        *("unevaluatedItems", "additionalItems", "$dynamicRef", "$recursiveRef", "extends", "disallow", "divisibleBy"),
    )
)
_HINTS = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "propertyNames", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
_STRICTER: dict[str, Any] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}
_ANNOTATIONS = frozenset(
    (
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator", "strict", "name"),
        *("$schema", "$id", "$comment", "$anchor", "$defs", "definitions", "contentEncoding", "contentMediaType"),
    )
)
ITEMS = 32
"""How many items an array or a map of no stated length may have."""

Node = Any
"""A schema inside a schema: True, False or a dict."""


class TooDeep(BadGrammar):
    """This part of a recursive schema is as deep as it is written; what contains it does without it where it may."""


class Schema:
    """A parsed schema and the references inside it."""

    def __init__(self, root: Node) -> None:
        self.root = root

    def resolve(self, ref: Any, at: str) -> Node:
        """What `ref`, a JSON pointer behind "#", points at."""
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise BadGrammar(f"{at}: `$ref` {ref!r} is not a reference into this schema (`#/...`)")
        node = self.root
        for part in ref[2:].split("/") if len(ref) > 1 else ():
            key = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(key)] if isinstance(node, list) else node[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise BadGrammar(f"{at}: `$ref` {ref!r} points at nothing") from None
        if not isinstance(node, dict | bool):
            raise BadGrammar(f"{at}: `$ref` {ref!r} points at something that is not a schema")
        return node

    def is_recursive(self, ref: str) -> bool:
        """Whether the schema at `ref` leads back to itself."""
        seen: set[str] = set()
        rest = _list_refs(self.resolve(ref, "#"))
        while rest:
            found = rest.pop()
            if found == ref:
                return True
            if found not in seen:
                seen.add(found)
                rest += _list_refs(self.resolve(found, "#"))
        return False


def _list_refs(node: Node) -> list[str]:
    if isinstance(node, list):
        return [ref for part in node for ref in _list_refs(part)]
    if not isinstance(node, dict):
        return []
    inner = [ref for key, part in node.items() if key not in ("$defs", "definitions") for ref in _list_refs(part)]
    return [*inner, node["$ref"]] if isinstance(node.get("$ref"), str) else inner


def parse_schema(text: str) -> Schema:
    """Read a schema; fractions stay exact. Raises BadGrammar."""
    try:
        root = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except ValueError as error:
        raise BadGrammar(f"the schema is not JSON: {error}") from None
    _check_shape(root, "#")
    return Schema(root)


def _check_shape(node: Any, at: str) -> None:
    """Every keyword that holds schemas or names must hold them in the right shape, so that nothing later need ask again."""
    if not isinstance(node, dict):
        if not isinstance(node, bool):
            raise BadGrammar(f"{at}: a schema must be an object")
        return
    for keyword in ("properties", "patternProperties", "$defs", "definitions"):
        parts = node.get(keyword, {})
        if not isinstance(parts, dict):
            raise BadGrammar(f"{at}: `{keyword}` must be an object")
        for name, part in parts.items():
            _check_shape(part, f"{at}/{keyword}/{name}")
    for keyword in ("allOf", "anyOf", "oneOf", "prefixItems", "enum", "required"):
        parts = node.get(keyword, [])
        if not isinstance(parts, list) or (keyword in node and not parts and keyword != "required"):
            raise BadGrammar(f"{at}: `{keyword}` must be a {'' if keyword == 'required' else 'non-empty '}list")
        for i, part in enumerate(parts if keyword not in ("enum", "required") else ()):
            _check_shape(part, f"{at}/{keyword}/{i}")
    if not all(isinstance(name, str) for name in node.get("required", ())):
        raise BadGrammar(f"{at}: `required` must be a list of names")
    for keyword in ("items", "additionalProperties", "propertyNames"):
        if keyword in node:
            _check_shape(node[keyword], f"{at}/{keyword}")
    for keyword in ("pattern", "format"):
        if not isinstance(node.get(keyword, ""), str):
            raise BadGrammar(f"{at}: `{keyword}` must be a string")
    for keyword in ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"):
        read_count(node, keyword, 0, at)
    for keyword in ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"):
        if keyword in node and not (keyword.startswith("excl") and isinstance(node[keyword], bool)):
            read_number(node, keyword, at)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def refuse(node: Node, at: str) -> None:
    """Raise BadGrammar for a keyword that constrains the value and cannot be enforced."""
    for keyword in node:
        if keyword in _REFUSED:
            raise BadGrammar(f"{at}: `{keyword}` cannot be enforced; express it with anyOf, enum, required or properties")


def is_finite(schema: Schema, node: Node, open_refs: frozenset[str] = frozenset()) -> bool:
    """Whether some finite value can satisfy `node`: a schema that requires itself has none."""
    if not isinstance(node, dict):
        return node is not False
    if "$ref" in node:
        ref = node["$ref"]
        if ref in open_refs or not is_finite(schema, schema.resolve(ref, "#"), open_refs | {ref}):
            return False
    for keyword in ("anyOf", "oneOf"):
        if keyword in node and not any(is_finite(schema, branch, open_refs) for branch in node[keyword]):
            return False
    if not all(is_finite(schema, part, open_refs) for part in node.get("allOf", ())):
        return False
    properties = node.get("properties", {})
    if not all(is_finite(schema, properties[name], open_refs) for name in node.get("required", ()) if name in properties):
        return False
    prefix, least = node.get("prefixItems", []), node.get("minItems", 0)
    if not all(is_finite(schema, part, open_refs) for part in prefix[:least]):
        return False
    return least <= len(prefix) or is_finite(schema, node.get("items", True), open_refs)


def split_branches(schema: Schema, node: Node, at: str) -> list[Node]:
    """`node` as alternatives without $ref, allOf, anyOf and oneOf beside other keywords; each has its `type` as a list."""
    rest = {key: value for key, value in node.items() if key not in ("$ref", "allOf", "anyOf", "oneOf")}
    if len(rest) == len(node):
        typed = _with_type(rest, at)
        return [node if typed == node else typed]
    bases: list[Node] = [rest]
    if "$ref" in node:
        bases = [merge(base, schema.resolve(node["$ref"], at), at) for base in bases]
    for part in node.get("allOf", ()):
        bases = [merge(base, part, at) for base in bases]
    for keyword in ("anyOf", "oneOf"):
        if keyword not in node:
            continue
        options = [option for option in node[keyword] if is_finite(schema, option)]
        if keyword == "oneOf":
            _require_disjoint(schema, options, at)
        plain = not any(key not in _ANNOTATIONS for key in rest) and len(bases) == 1 and bases[0] == rest
        bases = [option if plain else merge(base, _inline(schema, option, at), at) for base in bases for option in options]
    if not bases:
        raise BadGrammar(f"{at}: no alternative describes a finite value")
    return bases


def _inline(schema: Schema, node: Node, at: str) -> Node:
    """`node` with a bare reference replaced by what it points at."""
    return schema.resolve(node["$ref"], at) if isinstance(node, dict) and set(node) == {"$ref"} else node


def _with_type(node: Node, at: str) -> Node:
    """`type` as a list: as given, or as the other keywords suggest, or from the listed values; {} where nothing is said."""
    kinds = node.get("type")
    if kinds is None:
        if "enum" in node or "const" in node:
            kinds = list(TYPES)
        else:
            kinds = [kind for kind, hints in _HINTS.items() if any(hint in node for hint in hints)][:1]
        if not kinds:
            refuse(node, at)
            return {}
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not isinstance(kinds, list) or not kinds or any(kind not in TYPES for kind in kinds):
        raise BadGrammar(f"{at}: `type` must be one of {', '.join(TYPES)}, or a list of them")
    return node if node.get("type") == kinds else {**node, "type": kinds}


def merge(left: Node, right: Node, at: str) -> Node:
    """A schema for the values that satisfy both. Raises BadGrammar where that cannot be written as one."""
    if left is False or right is False:
        return False
    if left is True or right is True:
        return right if left is True else left
    merged = dict(left)
    for key, value in right.items():
        if key in _ANNOTATIONS or (key in merged and merged[key] == value):
            merged.setdefault(key, value)
        elif key not in merged:
            merged[key] = value
        else:
            merged[key] = _merge_keyword(key, merged[key], value, at)
    return _close(left, right, merged, at)


def _merge_keyword(key: str, left: Any, right: Any, at: str) -> Any:
    if key in _STRICTER and not isinstance(left, bool) and not isinstance(right, bool):
        return _STRICTER[key](left, right)
    match key:
        case "type":
            ours, theirs = ([kind] if isinstance(kind, str) else kind for kind in (left, right))
            both = [kind for kind in ours if kind in theirs or (kind == "integer" and "number" in theirs)]
            both += ["integer"] if "integer" in theirs and "number" in ours and "integer" not in both else []
            if not both:
                raise BadGrammar(f"{at}: `allOf` joins types that have no value in common")
            return both
        case "required":
            return list(dict.fromkeys([*left, *right]))
        case "properties":
            return {name: merge(left.get(name, True), right.get(name, True), f"{at}/{name}") for name in {**left, **right}}
        case "enum":
            return [value for value in left if value in right]
        case "items" | "additionalProperties":
            return merge(left, right, at)
        case "allOf":
            return [*left, *right]
    raise BadGrammar(f"{at}: two values of `{key}` cannot be joined")


def _close(left: Node, right: Node, merged: Node, at: str) -> Node:
    """Leave out properties that one side's `additionalProperties` rules out."""
    for closed, other in ((left, right), (right, left)):
        extra = [name for name in other.get("properties", {}) if name not in closed.get("properties", {})]
        limit = closed.get("additionalProperties", True)
        if not extra or limit is True:
            continue
        if limit is not False:
            raise BadGrammar(f"{at}: `additionalProperties` cannot be joined with the properties of another schema")
        if any(name in merged.get("required", ()) for name in extra):
            raise BadGrammar(f"{at}: `required` names a property that `additionalProperties` rules out")
        merged["properties"] = {name: part for name, part in merged["properties"].items() if name not in extra}
    return merged


def _require_disjoint(schema: Schema, options: list[Node], at: str) -> None:
    inlined = [_inline(schema, option, at) for option in options]
    for i, left in enumerate(inlined):
        if any(not _disjoint(schema, left, right) for right in inlined[i + 1 :]):
            raise BadGrammar(
                f"{at}: `oneOf` with alternatives that may overlap cannot be enforced; use anyOf, or a const that tells them apart"
            )


def _disjoint(schema: Schema, left: Node, right: Node) -> bool:
    if not isinstance(left, dict) or not isinstance(right, dict):
        return left is False or right is False
    ours, theirs = _kinds(left), _kinds(right)
    if not ours & theirs:
        return True
    listed = [node["enum"] if "enum" in node else [node["const"]] for node in (left, right) if "enum" in node or "const" in node]
    if len(listed) == 2:
        return not any(value in listed[1] for value in listed[0])
    if ours & theirs != {"object"}:
        return False
    for one, other in ((left, right), (right, left)):
        names = other.get("properties", {})
        for name in one.get("required", ()):
            if name not in names and other.get("additionalProperties", True) is False:
                return True
            if name in other.get("required", ()) and name in names and name in one.get("properties", {}):
                pair = [_inline(schema, part["properties"][name], "#") for part in (one, other)]
                if all(isinstance(part, dict) and ("const" in part or "enum" in part) for part in pair) and _disjoint(schema, *pair):
                    return True
    return False


def _kinds(node: Node) -> set[str]:
    kinds = node.get("type", list(TYPES))
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    return found | {"integer"} if "number" in found else found


def read_number(node: Any, name: str, at: str) -> Decimal:
    """A numeric keyword, exactly as it is written."""
    value = node[name]
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise BadGrammar(f"{at}: `{name}` must be a number")
    exact = Decimal(value)
    if name == "multipleOf" and exact <= 0:
        raise BadGrammar(f"{at}: `multipleOf` must be positive")
    if abs(exact) > Decimal(10) ** 15:
        raise BadGrammar(f"{at}: `{name}` is beyond 10^15, which cannot be enforced")
    return exact


def read_count(node: Any, name: str, default: int, at: str) -> int:
    """A keyword that counts: `default` where it is absent."""
    value: Any = node.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or (name in node and int(value) < 0):
        raise BadGrammar(f"{at}: `{name}` must be a whole number that is not negative")
    return int(value)
