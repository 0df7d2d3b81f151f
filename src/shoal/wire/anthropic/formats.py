"""Structured output (https://platform.claude.com/docs/en/build-with-claude/structured-outputs): `output_config.format`.

There is no JSON mode without a schema; where a caller wants one, the model is told so in words, and that is named as altered.
"""

from typing import Any

import msgspec

from shoal.core.conversation import Format
from shoal.core.errors import Fault
from shoal.wire.anthropic.families import Family

PLEA = "Answer with one JSON object and nothing else: no text before or after it, no Markdown fence."


def write(format: Format, family: Family) -> dict[str, Any]:
    """The `format` for a schema. Errors: Fault unsupported_parameter for a model that knows no schemas."""
    if not family.structured:
        text = "This model cannot be held to a JSON schema; leave 'response_format' out, or ask a Claude 4.5 or later."
        raise Fault("unsupported_parameter", text, param="response_format")
    assert format.schema is not None
    return {"type": "json_schema", "schema": close(format.schema)}


def close(schema: msgspec.Raw) -> Any:
    """The schema with every object that does not say so closed to further properties, as Anthropic demands.

    What fits the closed schema fits the open one.
    """
    return _closed(msgspec.json.decode(schema))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    named = ("properties", "$defs", "definitions", "patternProperties")  # their keys are names of the caller's, not words of JSON Schema
    out = {
        key: {name: _closed(one) for name, one in value.items()}
        if key in named and isinstance(value, dict)
        else value
        if key in ("enum", "const", "default", "examples", "required")
        else _closed(value)
        for key, value in schema.items()
    }
    if out.get("type") == "object" and "additionalProperties" not in out:
        out["additionalProperties"] = False
    return out
