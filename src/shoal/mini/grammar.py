"""JSON Schema to an EBNF grammar that admits only valid answers, so that decoding cannot leave the schema.

Written here rather than left to the engine's own compiler, because that one accepts keywords it does not enforce, lets a small model write
an endless number or endless blanks, and a schema it rejects breaks the engine. What is not enforced here is refused by name.
Only ever tightened: separators are ", " and ": ", whole numbers have 15 digits at most, fractions 6, arrays and maps of no stated
length 32 items, values of no stated type 4 levels, recursive schemas 6, properties keep the schema's order, and nothing is written that
`properties` does not name.
A string's `maxLength` above 64 is left to watch.py's check at the end of the answer: every state of the grammar costs time.
"""

import json
import re
from decimal import Decimal
from functools import lru_cache
from typing import Any

from shoal.mini.engine import BadGrammar
from shoal.mini.numerals import EmptyRange, write_decimals, write_integers, write_multiples
from shoal.mini.pattern import CHARACTER, FORMATS, BadPattern, quote, write_pattern
from shoal.mini.properties import write_properties
from shoal.mini.schema import ITEMS, Schema, TooDeep, is_finite, parse_schema, read_count, read_number, refuse, split_branches
from shoal.mini.values import check_value

_DEPTH = 4
_HOPS = 6
_COUNTED = 64  # characters that the grammar counts; beyond, states cost more than they give
_LARGEST_GRAMMAR = 100_000

_BODY = r"""[^"\\\x00-\x1f\x7f] {rule} | "\\" ["\\/bfnrt] {rule} | "\"" """  # the rest of a string and its closing quote
_COMMON = {
    "integer": write_integers(None, None),
    "number": write_decimals(None, None),
    "boolean": '"true" | "false"',
    "null": '"null"',
    # the lookahead spares the engine from trying every token that goes beyond the closing quote
    "body": _BODY.format(rule="body") + r"(= [,}\]])",
    "string": r'"\"" body',
    "keybody": _BODY.format(rule="keybody") + "(= [:])",
    "key": r'"\"" keybody ": "',
}


@lru_cache(maxsize=256)
def write_grammar(json_schema: str, lookahead: bool = True) -> str:
    """The EBNF of a schema given as JSON text, with `root` as its start. Raises BadGrammar naming the keyword that is in the way.

    Without `lookahead` it is GBNF, which knows no such hints.
    """
    try:
        schema = parse_schema(json_schema)
        grammar = _Writer(schema).write()
    except RecursionError:
        raise BadGrammar("the schema is nested too deeply") from None
    if len(grammar) > _LARGEST_GRAMMAR:
        raise BadGrammar(f"the schema is too large: its grammar has {len(grammar)} characters, the limit is {_LARGEST_GRAMMAR}")
    return grammar if lookahead else re.sub(r" *\(= \[[^\n]*\]\)$", "", grammar, flags=re.MULTILINE)


class _Writer:
    """Collects the rules of one schema."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.rules: dict[str, str] = dict(_COMMON)
        self.names: dict[str, str] = {}
        self.hops = 0
        self.bodies: dict[str, str] = {}

    def write(self) -> str:
        """The whole grammar."""
        root = self.visit(self.schema.root, "#")
        return "\n".join(f"{name} ::= {body}" for name, body in {"root": root, **self.rules}.items()) + "\n"

    def add(self, name: str, body: str) -> str:
        """Name a rule and return the name; the same rule is kept once."""
        known = self.bodies.get(body)
        if known is None:
            known = self.bodies[body] = f"{name}{len(self.rules)}"
            self.rules[known] = body
        return known

    def visit(self, node: Any, at: str) -> str:
        """An expression for the values of `node`; `at` says where in the schema it stands."""
        if node is True or node == {}:
            return self.any_value(_DEPTH)
        if node is False:
            raise BadGrammar(f"{at} is false: no value satisfies it")
        if "$ref" in node and len(node) == 1:
            return self.reference(node["$ref"], at)
        if not is_finite(self.schema, node):
            raise BadGrammar(f"{at} describes no finite value: it requires itself")
        branches = split_branches(self.schema, node, at)
        if len(branches) != 1 or branches[0] is not node:
            return self.union(self.visit_some(branches, at))
        refuse(node, at)
        if "enum" in node or "const" in node:
            return self.listed(node, at)
        kinds = node["type"]
        return self.union([getattr(self, f"write_{kind}")(node, at) for kind in kinds])

    def union(self, parts: list[str]) -> str:
        """Any of several expressions."""
        unique = list(dict.fromkeys(parts))
        return unique[0] if len(unique) == 1 else f"({' | '.join(unique)})"

    def reference(self, ref: Any, at: str) -> str:
        """A rule per referenced schema and level; a recursive schema ends after a number of levels, so that no answer nests for ever."""
        target = self.schema.resolve(ref, at)
        if not is_finite(self.schema, {"$ref": ref}):
            raise BadGrammar(f"{ref} describes no finite value: it requires itself")
        hop = int(self.schema.is_recursive(ref))
        if self.hops + hop > _HOPS:
            raise TooDeep(f"{ref} requires more than {_HOPS} levels of itself")
        key = f"{ref}@{self.hops + hop}" if hop else ref
        if key not in self.names:
            self.hops += hop
            try:
                self.names[key] = self.add("ref", self.visit(target, ref))
            finally:
                self.hops -= hop
        return self.names[key]

    def visit_some(self, nodes: list[Any], at: str) -> list[str]:
        """Expressions for those alternatives that are not too deep. Raises TooDeep if all are."""
        parts: list[str] = []
        deep: TooDeep | None = None
        for node in nodes:
            try:
                parts.append(self.visit(node, at))
            except TooDeep as error:
                deep = error
        if deep is not None and not parts:
            raise deep
        return parts

    def listed(self, node: Any, at: str) -> str:
        """`enum` and `const`: those values, as JSON, that the schema's other keywords allow as well."""
        values = [node["const"]] if "const" in node else node["enum"]
        rest = {key: value for key, value in node.items() if key not in ("enum", "const")}
        if "const" in node and "enum" in node:
            rest["enum"] = node["enum"]
        fitting = [value for value in values if check_value(self.schema, rest, value)]
        if not fitting:
            raise BadGrammar(f"{at}: no value of `{'const' if 'const' in node else 'enum'}` satisfies the rest of the schema")
        return self.union([quote(json.dumps(value, ensure_ascii=False, default=float)) for value in fitting])

    def any_value(self, depth: int) -> str:
        """Any JSON value of at most `depth` levels."""
        name = f"any{depth}"
        if name not in self.rules:
            self.rules[name] = "string | number | boolean | null"
            if depth:
                inner = self.any_value(depth - 1)
                self.rules[name] += f" | {self.repeat('{', f'key {inner}', 0, ITEMS, '}')} | {self.repeat('[', inner, 0, ITEMS, ']')}"
        return name

    def repeat(self, opening: str, item: str, least: int, most: int, closing: str) -> str:
        """Items between brackets, separated by ", "."""
        if most == 0:
            return f'"{opening}{closing}"'
        one = self.add("item", item)
        more = f'(", " {one}){{{max(0, least - 1)},{most - 1}}}' if most > 1 else ""
        inner = f"{one} {more}".rstrip()
        return f'("{opening}" {inner} "{closing}")' if least else f'("{opening}" ({inner})? "{closing}")'

    # ---- one method per type

    def write_null(self, node: Any, at: str) -> str:
        """null"""
        return "null"

    def write_boolean(self, node: Any, at: str) -> str:
        """true or false"""
        return "boolean"

    def write_integer(self, node: Any, at: str) -> str:
        """An integer, within its bounds."""
        low, high, above, below = read_bounds(node)
        least = None if low is None else int(low.to_integral_value("ROUND_FLOOR")) + (1 if above or low % 1 else 0)
        most = None if high is None else int(high.to_integral_value("ROUND_CEILING")) - (1 if below or high % 1 else 0)
        try:
            if "multipleOf" in node:
                step = read_number(node, "multipleOf", at)
                if step % 1:
                    raise BadGrammar(f"{at}: `multipleOf` of an integer must be a whole number here")
                bounds = [None if bound is None else Decimal(bound) for bound in (least, most)]
                return write_multiples(step, *bounds)
            if least is None and most is None:
                return "integer"
            return write_integers(least, most)
        except EmptyRange:
            raise BadGrammar(f"{at}: no integer lies between `minimum` and `maximum`") from None

    def write_number(self, node: Any, at: str) -> str:
        """A number, within its bounds."""
        low, high, above, below = read_bounds(node)
        try:
            if "multipleOf" in node:
                step = read_number(node, "multipleOf", at)
                low = (low // step + 1) * step if low is not None and above else low
                high = -(-high // step + 1) * step if high is not None and below else high
                return write_multiples(step, low, high)
            if low is None and high is None:
                return "number"
            return write_decimals(low, high, above, below)
        except EmptyRange:
            raise BadGrammar(f"{at}: no number lies between its bounds") from None

    def write_string(self, node: Any, at: str) -> str:
        """A string, by its format, pattern or length."""
        return write_text(self, node, at)

    def write_array(self, node: Any, at: str) -> str:
        """An array: `prefixItems`, then `items`."""
        prefix = [self.visit(part, f"{at}/prefixItems/{i}") for i, part in enumerate(node.get("prefixItems", ()))]
        least = read_count(node, "minItems", 0, at)
        most = read_count(node, "maxItems", max(ITEMS, least, len(prefix)), at)
        rest = node.get("items", True)
        if rest is False:
            most = min(most, len(prefix))
        if least > most:
            raise BadGrammar(f"{at}: `minItems` is larger than the array may be")
        if node.get("uniqueItems") and most > 1:
            raise BadGrammar(f"{at}: `uniqueItems` cannot be enforced; leave it out and remove duplicates afterwards")
        if not prefix:
            return self.write_list(rest, least, most, at)
        prefix = prefix[:most]
        tail = ""
        if most > len(prefix):
            item = self.add("item", self.visit(rest, f"{at}/items"))
            tail = f'(", " {item}){{{max(0, least - len(prefix))},{most - len(prefix)}}}'
        for i, part in reversed(list(enumerate(prefix))):
            joined = f"{part} {tail}" if i == 0 else f'", " {part} {tail}'
            tail = joined.rstrip() if i < least else f"({joined.rstrip()})?"
        return f'("[" {tail} "]")'

    def write_list(self, rest: Any, least: int, most: int, at: str) -> str:
        """An array of equal items."""
        if most == 0:
            return '"[]"'
        try:
            return self.repeat("[", self.visit(rest, f"{at}/items"), least, most, "]")
        except TooDeep:
            if least:
                raise
            return '"[]"'

    def write_object(self, node: Any, at: str) -> str:
        """An object: its properties in order, or a map where it names none."""
        return write_properties(self, node, at)


def write_text(writer: _Writer, node: Any, at: str) -> str:
    """The inside of `"..."` for a string schema, as a rule with its quotes."""
    least, most = read_count(node, "minLength", 0, at), read_count(node, "maxLength", -1, at)
    pattern = node.get("pattern")
    if "format" in node:
        if node["format"] not in FORMATS:
            raise BadGrammar(f"{at}: `format` {node['format']!r} cannot be enforced; these can: {', '.join(FORMATS)}")
        if pattern is not None:
            raise BadGrammar(f"{at}: `format` and `pattern` together cannot be enforced; use one")
        pattern = FORMATS[node["format"]]
    if pattern is not None:
        return _write_matching(writer, str(pattern), least, most, at)
    if most == -1 and least == 0:
        return "string"
    if 0 <= most < least:
        raise BadGrammar(f"{at}: `minLength` is larger than `maxLength`")
    if least > _COUNTED:
        raise BadGrammar(f"{at}: `minLength` above {_COUNTED} cannot be enforced")
    if most == -1 or most > _COUNTED:
        return writer.add("text", rf'"\"" {CHARACTER}{{{least}}} body' if least else r'"\"" body')
    return writer.add("text", rf'"\"" {CHARACTER}{{{least},{most}}} "\""')


def _write_matching(writer: _Writer, pattern: str, least: int, most: int, at: str) -> str:
    try:
        inside, shortest, longest = write_pattern(pattern)
    except BadPattern as error:
        raise BadGrammar(f"{at}: `pattern` {error}") from None
    if shortest < least or (most != -1 and (longest is None or longest > most)):
        raise BadGrammar(f"{at}: `pattern` together with `minLength` or `maxLength` cannot be enforced; put the lengths into the pattern")
    return writer.add("text", rf'"\"" {inside} "\""')


def read_bounds(node: Any) -> tuple[Decimal | None, Decimal | None, bool, bool]:
    """(low, high, low excluded, high excluded) of a numeric schema."""
    low, above = _read_bound(node, "minimum", "exclusiveMinimum", max)
    high, below = _read_bound(node, "maximum", "exclusiveMaximum", min)
    return low, high, above, below


def _read_bound(node: Any, name: str, exclusive: str, stricter: Any) -> tuple[Decimal | None, bool]:
    plain = read_number(node, name, "") if name in node else None
    strict = node.get(exclusive)
    if isinstance(strict, bool):  # draft 4
        return plain, strict and plain is not None
    if strict is None:
        return plain, False
    edge = read_number(node, exclusive, "")
    if plain is None or (stricter(plain, edge) == edge):
        return edge, True
    return plain, False
