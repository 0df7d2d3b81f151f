"""grammar.py, pattern.py, schema.py: what can be enforced is written, what cannot is refused by name."""

import json
import re

import pytest

from shoal.mini.engine import BadGrammar
from shoal.mini.grammar import write_grammar
from shoal.mini.pattern import FORMATS, BadPattern, write_pattern
from shoal.mini.schema import merge, parse_schema
from shoal.mini.values import check_value
from shoal.mini.watch import LONGEST_STRING, JsonWatch


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"not": {}}, "`not`"),
        ({"type": "string", "if": {}, "then": {}}, "`if`"),
        ({"type": "array", "contains": {"type": "integer"}}, "`contains`"),
        ({"type": "object", "dependentRequired": {"a": ["b"]}}, "`dependentRequired`"),
        ({"type": "array", "uniqueItems": True}, "`uniqueItems`"),
        ({"type": "string", "format": "zip-code"}, "`format` 'zip-code'.*date-time"),
        ({"type": "string", "pattern": "(?=x)x"}, "`pattern` uses assert"),
        ({"type": "string", "pattern": "("}, "not a regular expression"),
        ({"type": "string", "pattern": r"(a)\1"}, "`pattern` uses groupref"),
        ({"type": "string", "pattern": r"a\bc"}, "word boundary"),
        ({"type": "string", "pattern": "a{2}", "maxLength": 1}, "`pattern` together with"),
        ({"type": "string", "minLength": 5, "maxLength": 3}, "`minLength` is larger"),
        ({"type": "string", "minLength": 1000}, "`minLength` above 64"),
        ({"type": "string", "maxLength": -1}, "`maxLength` must be"),
        ({"type": "string", "maxLength": "5"}, "`maxLength` must be"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no integer lies"),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 1}, "no number lies"),
        ({"type": "integer", "minimum": "1"}, "`minimum` must be a number"),
        ({"type": "number", "multipleOf": 0}, "`multipleOf` must be positive"),
        ({"type": "thing"}, "`type` must be one of"),
        ({"type": []}, "`type` must be one of"),
        ({"enum": []}, "`enum` must be a non-empty list"),
        ({"type": "string", "enum": [1, 2]}, "no value of `enum`"),
        ({"anyOf": []}, "`anyOf` must be a non-empty list"),
        ({"anyOf": [1]}, "a schema must be an object"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "`oneOf` with alternatives that may overlap"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "no value in common"),
        ({"$ref": "#/$defs/missing"}, "points at nothing"),
        ({"$ref": "https://json-schema.org/x"}, "not a reference into this schema"),
        ({"$ref": "#"}, "requires itself"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "requires itself"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "`required` names 'a'"),
        ({"type": "object", "required": "a"}, "`required` must be a list"),
        ({"type": "object", "properties": {"a": {}}, "minProperties": 2}, "`minProperties`"),
        ({"type": "object", "properties": {"a": {}}, "patternProperties": {"a": {}}}, "`patternProperties`"),
        ({"type": "array", "items": False, "minItems": 1}, "requires itself|`minItems`"),
        ({"type": "object", "properties": []}, "`properties` must be an object"),
        ({"allOf": 3}, "`allOf` must be a non-empty list"),
        ({"type": "array", "prefixItems": {}}, "`prefixItems` must be a non-empty list"),
        ({"type": "array", "minItems": "1"}, "`minItems` must be"),
        ({"type": "object", "patternProperties": {"(": {}}, "properties": {"a": {}}}, "cannot be read"),
        ({"type": 5}, "`type` must be one of"),
        ({"type": [["a"]]}, "`type` must be one of"),
        ({"$ref": 5}, "not a reference"),
        ({"type": "string", "pattern": 5}, "`pattern`"),
        ({"type": "string", "format": ["date"]}, "`format`"),
        (False, "no value satisfies it"),
    ],
    ids=str,
)
def test_what_cannot_be_enforced_is_refused_by_name(schema: object, message: str) -> None:
    with pytest.raises(BadGrammar, match=message):
        write_grammar(json.dumps(schema))


def test_a_schema_nested_too_deeply_is_refused() -> None:
    with pytest.raises(BadGrammar, match="nested too deeply"):
        write_grammar('{"type":"array","items":' * 3000 + "{}" + "}" * 3000)


@pytest.mark.parametrize("text", ["", "{", "[]", '"x"', "NaN", '{"minimum": NaN}', "1"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(BadGrammar, match=r"not JSON|must be an object"):
        write_grammar(text)


def test_annotations_and_unknown_words_change_nothing() -> None:
    plain = write_grammar('{"type": "integer"}')
    assert write_grammar('{"type": "integer", "title": "T", "description": "D", "default": 5, "examples": [1], "x-order": 3}') == plain


def test_properties_keep_their_order_and_optional_ones_may_be_left_out() -> None:
    grammar = write_grammar('{"properties": {"b": {"type": "null"}, "a": {"type": "null"}}, "required": ["a"]}')
    root = grammar.splitlines()[0]
    assert root.index(r"\"b\": ") < root.index(r"\"a\": ")
    assert root.startswith("root ::= (")  # two ways to begin: with b, and without


def test_a_large_schema_is_refused() -> None:
    schema = {"enum": [f"value number {i}" for i in range(10_000)]}
    with pytest.raises(BadGrammar, match="too large"):
        write_grammar(json.dumps(schema))


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer"}, [1, -5, 2.0], ["1", True, None, 1.5]),
        ({"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^a"}, ["ab", "abc"], ["a", "abcd", "bab"]),
        ({"minimum": 1, "exclusiveMaximum": 3}, [1, 2.9], [0.9, 3]),
        ({"minimum": 1, "exclusiveMinimum": True}, [1.1], [1]),
        ({"multipleOf": 0.5}, [1, 1.5], [1.3]),
        ({"items": {"type": "null"}, "maxItems": 1}, [[], [None]], [[1], [None, None]]),
        (
            {"properties": {"a": {"type": "null"}}, "required": ["a"], "additionalProperties": False},
            [{"a": None}],
            [{}, {"a": 1}, {"a": None, "b": 1}],
        ),
        ({"enum": [1, "a"]}, [1, "a"], [True, "b"]),
        ({"const": False}, [False], [0]),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, [None, "x"], [1]),
        ({"oneOf": [{"type": "integer"}, {"minimum": 5}]}, [1, 5.5], [6]),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, [1.5], [0, 3]),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}, [None], [1]),
    ],
    ids=json.dumps,
)
def test_finished_values_are_checked(schema: dict, good: list, bad: list) -> None:
    parsed = parse_schema(json.dumps(schema))
    assert all(check_value(parsed, parsed.root, value) for value in good)
    assert not any(check_value(parsed, parsed.root, value) for value in bad)


def test_joining_keeps_the_stricter_of_two() -> None:
    left = {"type": ["integer", "null"], "minimum": 1, "properties": {"a": {"type": "string"}}, "required": ["a"]}
    right = {"type": "number", "minimum": 3, "maximum": 9, "properties": {"a": {"maxLength": 4}, "b": {}}, "required": ["b"]}
    assert merge(left, right, "#") == {
        "type": ["integer"],
        "minimum": 3,
        "maximum": 9,
        "properties": {"a": {"type": "string", "maxLength": 4}, "b": {}},
        "required": ["a", "b"],
    }


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_patterns_that_can_be_written(name: str) -> None:
    expression, least, _ = write_pattern(FORMATS[name])
    assert expression
    assert least > 0
    assert re.compile(FORMATS[name])


@pytest.mark.parametrize("pattern", ["a{1,999}", "(?i)a", r"a^b", r"\Ba", r"(?<!a)b", "\x01"])
def test_patterns_beyond_a_grammar_are_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        write_pattern(pattern)


def test_a_string_without_end_is_stopped() -> None:
    watch = JsonWatch("{}", lambda tokens: bytes(tokens))
    assert watch.feed(b'{"a": "short", "b": "')
    assert watch.feed(b"x" * LONGEST_STRING)
    assert not watch.feed(b"x")


def test_a_long_string_that_the_schema_allows_goes_on() -> None:
    watch = JsonWatch('{"type": "string", "maxLength": 100000}', lambda tokens: bytes(tokens))
    assert watch.feed(b'"' + b"\\n" * 5000 + b"x" * 50_000)
    assert watch.feed(b'"')
    assert watch.is_valid()
