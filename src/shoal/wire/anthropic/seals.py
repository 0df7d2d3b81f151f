"""Proofs of other makers inside Anthropic's thinking blocks, so that they survive a caller who sends its thoughts back.

A signature of Anthropic's own stands as it is; another's is marked with who made it: `shoal:ORIGIN:KIND:ID:VALUE`. The proof of a call
(Gemini's) stands in a thinking block before the call, with the call's id.
"""

from urllib.parse import quote, unquote

from shoal.core.conversation import Reasoning, ToolCall

_MARK = "shoal:"
ORIGIN = "anthropic"
CALL = "call"
"""The origin of a proof that belongs to a call, not to a thought."""


def seal(part: Reasoning) -> str:
    """The `signature` that a thinking block shows to a caller; empty where there is nothing to prove."""
    if part.origin == ORIGIN:
        return part.signature or ""
    value = part.redacted or part.signature
    if not value:
        return ""
    return f"{_MARK}{part.origin or ''}:{'r' if part.redacted else 's'}:{quote(part.id or '', safe='')}:{value}"


def proof(call: ToolCall) -> Reasoning | None:
    """The thought that carries a call's own proof to the caller; None where the call has none."""
    return Reasoning(signature=call.signature, origin=CALL, id=call.id) if call.signature else None


def unseal(thinking: str, signature: str | None) -> Reasoning:
    """The thought of a thinking block that a caller sends back."""
    if not signature:
        return Reasoning(thinking)
    parts = signature.split(":", 4)
    if not signature.startswith(_MARK) or len(parts) != 5:
        return Reasoning(thinking, signature=signature, origin=ORIGIN)
    _, origin, kind, id, value = parts
    return Reasoning(
        thinking,
        signature=value if kind == "s" else None,
        redacted=value if kind == "r" else None,
        origin=origin or None,
        id=unquote(id) or None,
    )
