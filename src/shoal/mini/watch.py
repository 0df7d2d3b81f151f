"""Watches an answer under a schema for what its grammar leaves open: strings that never end, and a `maxLength` too large to count there.

An answer that overruns ends with "length", like any other that was cut, so "stop" always means: valid for the schema.
"""

import json
from collections.abc import Callable, Sequence
from decimal import Decimal

from shoal.mini.schema import Schema, parse_schema
from shoal.mini.values import check_value

LONGEST_STRING = 4096
"""Bytes of one JSON string, unless the schema's own `maxLength` allows more."""


class JsonWatch:
    """One answer: tokens in, whether to go on out."""

    def __init__(self, json_schema: str, decode: Callable[[Sequence[int]], bytes]) -> None:
        self.schema = parse_schema(json_schema)
        self.decode = decode
        self.text = bytearray()
        self.in_string = self.escaped = False
        self.string_bytes = 0
        self.longest = max(LONGEST_STRING, 4 * _find_longest(self.schema))

    def feed(self, tokens: Sequence[int]) -> bool:
        """Take new tokens; False: a string has overrun."""
        new = self.decode(tokens)
        self.text += new
        for byte in new:
            if not self.in_string:
                self.in_string = byte == 0x22
                self.string_bytes = 0
            elif self.escaped:
                self.escaped = False
            elif byte == 0x5C:
                self.escaped = True
            elif byte == 0x22:
                self.in_string = False
            else:
                self.string_bytes += 1
        return self.string_bytes <= self.longest

    def is_valid(self) -> bool:
        """Whether the finished answer satisfies the schema."""
        try:
            value = json.loads(self.text, parse_float=Decimal)
        except ValueError:
            return False
        return check_value(self.schema, self.schema.root, value)


def _find_longest(schema: Schema) -> int:
    """The largest `maxLength` anywhere in the schema."""
    longest, rest = 0, [schema.root]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            length = node.get("maxLength")
            longest = max(longest, length) if isinstance(length, int) else longest
            rest += node.values()
        elif isinstance(node, list):
            rest += node
    return longest
