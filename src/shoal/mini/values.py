"""Whether a finished value satisfies a schema: the last word on what a grammar leaves open, and the filter for `enum` and `const`."""

import re
from decimal import Decimal
from typing import Any

from shoal.mini.schema import Node, Schema


def check_value(schema: Schema, node: Node, value: Any) -> bool:
    """Whether a decoded value satisfies `node`, in every keyword that a grammar is written for."""
    if not isinstance(node, dict):
        return node is not False
    if "$ref" in node and not check_value(schema, schema.resolve(node["$ref"], "#"), value):
        return False
    if "type" in node and not any(_has_type(value, kind) for kind in ([node["type"]] if isinstance(node["type"], str) else node["type"])):
        return False
    if "const" in node and not _equal(value, node["const"]):
        return False
    if "enum" in node and not any(_equal(value, one) for one in node["enum"]):
        return False
    if not all(check_value(schema, part, value) for part in node.get("allOf", ())):
        return False
    if "anyOf" in node and not any(check_value(schema, part, value) for part in node["anyOf"]):
        return False
    if "oneOf" in node and sum(check_value(schema, part, value) for part in node["oneOf"]) != 1:
        return False
    if isinstance(value, str):
        return _check_string(node, value)
    if isinstance(value, list):
        return _check_array(schema, node, value)
    if isinstance(value, dict):
        return _check_object(schema, node, value)
    return isinstance(value, bool) or value is None or _check_number(node, value)


def _equal(left: Any, right: Any) -> bool:
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


def _has_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int | float | Decimal):
        return kind == "number" or (kind == "integer" and value == int(value))
    return kind == {str: "string", list: "array", dict: "object", type(None): "null"}[type(value)]


def _check_string(node: Node, value: str) -> bool:
    return bool(
        len(value) >= node.get("minLength", 0)
        and ("maxLength" not in node or len(value) <= node["maxLength"])
        and ("pattern" not in node or re.search(node["pattern"], value) is not None)
    )


def _check_number(node: Node, value: Any) -> bool:
    exact = Decimal(str(value))
    for keyword, sign in (("inimum", 1), ("aximum", -1)):
        bound, strict = node.get(f"m{keyword}"), node.get(f"exclusiveM{keyword}")
        if strict is True and bound is not None and exact == bound:
            return False
        if bound is not None and (exact - bound) * sign < 0:
            return False
        if strict is not None and not isinstance(strict, bool) and (exact - strict) * sign <= 0:
            return False
    return "multipleOf" not in node or exact % Decimal(node["multipleOf"]) == 0


def _check_array(schema: Schema, node: Node, value: list[Any]) -> bool:
    prefix = node.get("prefixItems", [])
    return (
        node.get("minItems", 0) <= len(value) <= node.get("maxItems", len(value))
        and all(check_value(schema, part, item) for part, item in zip(prefix, value, strict=False))
        and all(check_value(schema, node.get("items", True), item) for item in value[len(prefix) :])
    )


def _check_object(schema: Schema, node: Node, value: dict[str, Any]) -> bool:
    properties, rest = node.get("properties", {}), node.get("additionalProperties", True)
    return (
        all(name in value for name in node.get("required", ()))
        and node.get("minProperties", 0) <= len(value) <= node.get("maxProperties", len(value))
        and all(check_value(schema, properties.get(name, rest), part) for name, part in value.items())
    )
