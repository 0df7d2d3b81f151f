"""Personal data and secrets in texts, found by rules: fast, on any machine, with no model.

What has a form is found reliably: mail addresses, cards, accounts, IP addresses, numbers of persons, keys and tokens. Phone numbers are
found where their form or the words beside them tell. Names and postal addresses have no form: a rule sees `Mr. Smith` and `12 High
Street`, and misses most others. docs/lab.md has precision and recall by kind; whoever must be certain does not keep such texts at all.
"""

import re
from collections.abc import Sequence

import msgspec

from shoal.guard.rules import RULES, Kind

_CHARS_BEFORE, _CHARS_AFTER = 48, 12
"""How far words are looked for that tell what a number is."""
ALL_KINDS: frozenset[Kind] = frozenset(rule.kind for rule in RULES)
_PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(sorted(kind.upper() for kind in ALL_KINDS))})\]")


class Span(msgspec.Struct, frozen=True, order=True):
    """Characters `start` to `end` (not included) of a text, and what they are."""

    start: int
    end: int
    kind: Kind


def find(text: str, kinds: frozenset[Kind] = ALL_KINDS) -> list[Span]:
    """What is personal or secret in a text: spans that do not overlap, in order."""
    taken = bytearray(len(text))
    for placeholder in _PLACEHOLDER.finditer(text):
        _take(taken, placeholder.start(), placeholder.end())
    spans: list[Span] = []
    lowered = text.lower()
    held: dict[tuple[str, ...], bool] = {}
    for rule in RULES:
        if rule.hints not in held:
            held[rule.hints] = any(hint in lowered for hint in rule.hints)
        if rule.kind not in kinds or not held[rule.hints]:
            continue
        for match in rule.pattern.finditer(text):
            start, end = match.span("it" if "it" in rule.pattern.groupindex else 0)
            if taken.find(1, start, end) >= 0 or (rule.check is not None and not rule.check(text[start:end])):
                continue
            if rule.near is None or rule.near.search(text, max(0, start - _CHARS_BEFORE), end + _CHARS_AFTER):
                _take(taken, start, end)
                spans.append(Span(start, end, rule.kind))
    return sorted(spans)


def _take(taken: bytearray, start: int, end: int) -> None:
    taken[start:end] = b"\x01" * (end - start)


def redact(text: str, kinds: frozenset[Kind] = ALL_KINDS) -> str:
    """The text with `[EMAIL]`, `[PHONE]`, ... in the place of what is personal; what is redacted once stays as it is."""
    while spans := find(text, kinds):  # again: what stood beside something removed may be seen only now
        text = _replace(text, spans)
    return text


def _replace(text: str, spans: Sequence[Span]) -> str:
    pieces, at = [], 0
    for span in spans:
        pieces += [text[at : span.start], f"[{span.kind.upper()}]"]
        at = span.end
    return "".join([*pieces, text[at:]])
