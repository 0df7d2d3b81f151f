"""What a model is shown around the texts of a conversation: who speaks, which tools there are.

OpenAI's numbers are those of its cookbook, which shows them to agree with its API to the token for text, for gpt-3.5-turbo, gpt-4, gpt-4o
and gpt-4.1: https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb. Of tools it tells the
rule for flat parameters only, so a count with tools in it is called an estimate.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from shoal.core.conversation import Tool

MESSAGE, NAME, REPLY = 3, 1, 3
"""OpenAI: around each message, for a name, and for the answer that is begun; the role itself is one token more."""
ROLE = 1
CALL = 4
"""Around a call or its result: not documented; what JSON's signs come to."""
CLAUDE_TOOLS = 346
"""https://docs.claude.com/en/docs/agents-and-tools/tool-use/overview#pricing: Claude's system prompt for tools, at its longest."""
TOOL = 16
"""Around a tool's description where nothing is documented."""

_EXACT = ("gpt-3.5-turbo", "gpt-35-turbo", "gpt-4")
_FUNCTION = {"cl100k_base": 10, "o200k_base": 7}
_FUNCTIONS_END, _PROPERTIES, _PROPERTY, _ENUM, _ENUM_ITEM = 12, 3, 3, -3, 3


def is_exact(model: str) -> bool:
    """Whether OpenAI's framing is known to the token for a model."""
    return model.lower().removeprefix("openai/").startswith(_EXACT)


def frame(messages: int, names: int) -> int:
    """OpenAI's tokens around messages, the beginning of the answer included."""
    return messages * (MESSAGE + ROLE) + names * NAME + REPLY


def write_tools(tools: tuple[Tool, ...]) -> Iterator[str]:
    """The texts of tools as they come: name, description, schema."""
    for tool in tools:
        yield tool.name
        yield tool.description or ""
        yield (tool.parameters and bytes(tool.parameters).decode("utf-8", "replace")) or ""


def count_functions(tools: tuple[Tool, ...], encoding: str, count: Callable[[list[str]], int]) -> int:
    """Tokens of tools as OpenAI's models are shown them; `count` gives the tokens of some texts together."""
    texts: list[str] = []
    total = _FUNCTIONS_END if tools else 0
    for tool in tools:
        total += _FUNCTION.get(encoding, 7)
        texts.append(f"{tool.name}:{(tool.description or '').removesuffix('.')}")
        total += _take_properties(_properties_of(tool), texts)
    return total + count(texts)


def _properties_of(tool: Tool) -> Mapping[str, Any]:
    if tool.parameters is None:
        return {}
    try:
        schema = msgspec.json.decode(tool.parameters)
    except (msgspec.DecodeError, RecursionError):
        return {}
    found = schema.get("properties") if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}


def _take_properties(properties: Mapping[str, Any], texts: list[str]) -> int:
    """Tokens around properties; their words are added to `texts`. What is not flat is taken as the JSON it is."""
    total = _PROPERTIES if properties else 0
    for name, value in properties.items():
        total += _PROPERTY
        schema = value if isinstance(value, dict) else {}
        options = schema.get("enum")
        if isinstance(options, list):
            total += _ENUM + _ENUM_ITEM * len(options)
            texts += [option if isinstance(option, str) else msgspec.json.encode(option).decode() for option in options]
        kind, told = schema.get("type", ""), schema.get("description", "")
        texts.append(f"{name}:{kind}:{told.removesuffix('.') if isinstance(told, str) else ''}")
        nested = {key: schema[key] for key in ("items", "properties", "anyOf", "oneOf", "allOf", "$ref") if key in schema}
        texts += [msgspec.json.encode(nested).decode()] if nested else []
    return total
