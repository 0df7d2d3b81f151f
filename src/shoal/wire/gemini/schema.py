"""Google's Schema, a subset of OpenAPI 3.0's, as the JSON Schema that everybody else reads.

See https://ai.google.dev/api/caching#Schema: types in capitals, `nullable`, 64-bit numbers as strings, `propertyOrdering`.
"""

from typing import Any

from shoal.wire.gemini.members import camel

_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_GOOGLES = frozenset({"propertyOrdering", "nullable", "type", "example"})


def to_json_schema(schema: Any) -> Any:
    """The same schema as JSON Schema. What is JSON Schema already stays as it is."""
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "TYPE_UNSPECIFIED":
        out["type"] = [kind.lower(), "null"] if schema.get("nullable") is True else kind.lower()
    elif isinstance(kind, list):
        out["type"] = kind
    for key, value in schema.items():
        name = camel(key) if not key.startswith("$") else key
        if name in _GOOGLES:
            continue
        out[name] = _member(name, value)
    if isinstance(out.get("enum"), list) and isinstance(out.get("type"), list) and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    return out


def _member(name: str, value: Any) -> Any:
    if name in ("properties", "$defs", "defs") and isinstance(value, dict):
        return {key: to_json_schema(inner) for key, inner in value.items()}
    if name in ("items", "additionalProperties"):
        return to_json_schema(value)
    if name in ("anyOf", "oneOf", "allOf", "prefixItems") and isinstance(value, list):
        return [to_json_schema(inner) for inner in value]
    if name in _COUNTS and isinstance(value, str) and value.isdigit():
        return int(value)
    return value
