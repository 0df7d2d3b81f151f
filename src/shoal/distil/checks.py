"""Rows that must not be learnt from, each with its reason: what is broken, what is no answer, what would teach a model to obey strangers.

Checks of one row need nothing else; labels are checked against all answers of a dataset (`odd_labels`).
"""

import re
from collections import Counter
from collections.abc import Sequence

import msgspec

from shoal.distil.rows import Row
from shoal.evals.graders import normalise_label

MOST_BYTES = 64 * 1024
"""A longer row is no example for a mini, whose window is far smaller."""

_ROLES = frozenset({"system", "developer", "user", "assistant"})
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# What chat templates put around turns: of ChatML, Llama 2 to 4, Mistral, Gemma, Phi, DeepSeek, Command and Granite. In a text they would
# end it, and begin a turn that nobody had.
_MARKERS = re.compile(
    r"<\|[a-z_]{2,30}\|>|<｜[^｜]{2,30}｜>|\[/?INST\]|<</?SYS>>|</?start_of_turn>|</?end_of_turn>|<\|[A-Z_]{3,30}\|>|\[/?SYSTEM_PROMPT\]"
    r"|(?:^|\n\n)(?:Human|Assistant|System): |(?:^|\n)#{2,3} ?(?:Instruction|Response|System)s?:"
)
_WHICH = "(?:(?:all|any|every|each|of|the|my|your|these|those|this|previous|prior|above|earlier|preceding|foregoing|last|system) )"
_WHAT = "(?:instruction|prompt|direction|rule|guideline|message|command|context)"
_ORDERS = re.compile(
    rf"\b(?:ignore|disregard|forget|override|bypass|neglect)\b {_WHICH}{{1,5}}{_WHAT}"
    r"|\b(?:ignore|disregard|forget) (?:everything|anything|all) (?:that )?(?:(?:was|is|you were|you have been|i) )?"
    r"(?:said|told|above|before|prior)"
    r"|\bdo not follow (?:the|any|your) (?:previous|prior|above|system) "
    r"|\b(?:reveal|print|repeat|show|output)(?: me)? (?:the|your) (?:system prompt|hidden prompt|initial instructions)"
    r"|\bfrom now on,? (?:you are|act as|you will|respond)|\byou are now (?:in )?(?:dan\b|developer mode|jailbroken|an? unrestricted)"
    r"|\b(?:new|updated) (?:system )?instructions:"
    r"|\bignorier\w* (?:bitte )?(?:alle|die|jede)\w* (?:vorherigen|bisherigen|obigen|früheren)|\bignorez? (?:toutes )?(?:les )?instructions"
    r"|\bignora (?:todas )?(?:las )?instrucciones|\bignora (?:tutte )?le istruzioni|忽略(?:之前|以上|所有)的?(?:指令|指示)",
    re.IGNORECASE,
)
_ERRORS = re.compile(
    r"\s*(?:(?:(?:internal )?server |api |http |request |runtime |fatal |upstream )?error(?: [0-9]{3}\b|\s*[:(\[])|exception\s*[:(]"
    r"|traceback \(most recent|(?:http|status|error code)[ :/]*(?:1\.1 )?[45][0-9]{2}\b"
    r"|[45][0-9]{2} (?:bad|internal|service|gateway|too many|unauthorized|forbidden|not found)"
    r"|rate limit (?:reached|exceeded)|too many requests|service unavailable|bad gateway|gateway time-?out|request timed out"
    r"|connection (?:reset|refused)|<!doctype html|<html\b)",
    re.IGNORECASE,
)


def reject(row: Row, most_bytes: int = MOST_BYTES) -> str | None:
    """Why a row is not used; None where nothing speaks against it. A row without an answer may wait for one."""
    if not _has_shape(row):
        return "wrong shape"
    texts = [str(message["content"]) for message in row.messages]
    whole = "\n".join([*texts, row.answer])
    if _SURROGATE.search(whole) or _CONTROL.search(whole) or whole.count("\ufffd") > 2:
        return "invalid text"
    if len(whole) > most_bytes or len(whole.encode()) > most_bytes:
        return "too long"
    spoken = [text for text, message in zip(texts, row.messages, strict=True) if message["role"] not in ("system", "developer")]
    if not any(text.strip() for text in spoken):
        return "empty question"
    if any(_MARKERS.search(text) or _ORDERS.search(text) for text in [*spoken, row.answer]):
        return "injected instructions"
    if row.answer and not row.answer.strip():
        return "empty answer"
    return "error as answer" if row.answer and is_error(row.answer) else None


def _has_shape(row: Row) -> bool:
    if not row.messages or row.messages[-1].get("role") != "user" or not isinstance(row.answer, str):
        return False
    return all(message.get("role") in _ROLES and isinstance(message.get("content"), str) for message in row.messages)


def is_error(answer: str) -> bool:
    """Whether an answer is no answer but the text of a failure: words that begin such texts, a page, or an object with an error alone."""
    if _ERRORS.match(answer):
        return True
    try:
        value = msgspec.json.decode(answer) if answer.lstrip().startswith("{") else None
    except (msgspec.DecodeError, RecursionError):
        return False
    known = {"error", "errors", "message", "status", "code", "detail", "type"}
    return isinstance(value, dict) and value.keys() <= known and not value.keys().isdisjoint({"error", "errors"})


def odd_labels(rows: Sequence[Row], labels: Sequence[str], groups: Sequence[int]) -> dict[int, str]:
    """Places of rows whose label is likely wrong, each with the reason.

    `labels` is the closed set, and an answer beyond it is wrong. `groups` are near-duplicates' (duplicates.py): where three or more say the
    same but for one, that one is wrong.
    """
    allowed = {normalise_label(label) for label in labels}
    said: dict[int, Counter[str]] = {}
    for row, number in zip(rows, groups, strict=True):
        said.setdefault(number, Counter())[normalise_label(row.answer)] += 1
    odd = {}
    for place, (row, number) in enumerate(zip(rows, groups, strict=True)):
        label, answers = normalise_label(row.answer), said[number]
        if label not in allowed:
            odd[place] = "label outside of the set"
        elif answers[label] == 1 and len(answers) == 2 and answers.total() >= 4:
            odd[place] = "label against its duplicates"
    return odd
