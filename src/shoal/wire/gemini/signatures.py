"""Proofs of thought on their way to Google's callers and back.

Google's `thoughtSignature` is base64 that a caller returns untouched. A proof that another dialect signed travels in it sealed, with the
name of who can read it, so that a later turn can go on wherever the last one was answered.
See https://ai.google.dev/gemini-api/docs/thought-signatures.
"""

import base64
import binascii

import msgspec

from shoal.core.conversation import Reasoning

ORIGIN = "gemini"

UNSIGNED = "skip_thought_signature_validator"
"""What Google's documentation names for a function call that no Gemini made, where a Gemini would refuse one without a signature."""

_UNSIGNED = frozenset({UNSIGNED, base64.b64encode(UNSIGNED.encode()).decode()})
"""The same as callers send it: as it is, or in base64 as if it were bytes."""

_SEAL = b"shoal-thought:"
SEALED = base64.b64encode(_SEAL)[: len(_SEAL) // 3 * 4]
"""How every sealed signature begins, whichever alphabet of base64 it is in."""


class _Sealed(msgspec.Struct, array_like=True):
    origin: str | None
    signature: str | None
    redacted: str | None
    id: str | None


_sealed = msgspec.json.Decoder(_Sealed)


def seal(thought: Reasoning) -> str | None:
    """The signature to show a caller; None where the thought has no proof."""
    if thought.signature is None and thought.redacted is None:
        return None
    if thought.origin == ORIGIN:
        return thought.signature
    inside = msgspec.json.encode(_Sealed(thought.origin, thought.signature, thought.redacted, thought.id))
    return base64.b64encode(_SEAL + inside).decode()


def unseal(signature: str | None, text: str = "") -> Reasoning:
    """The thought that a caller's signature proves."""
    if signature is None or not signature.startswith(SEALED.decode()):
        return Reasoning(text, None if signature in _UNSIGNED else signature, origin=ORIGIN)
    try:
        plain = base64.b64decode(signature.replace("-", "+").replace("_", "/"), validate=True)
        held = _sealed.decode(plain.removeprefix(_SEAL))
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        return Reasoning(text, signature, origin=ORIGIN)
    return Reasoning(text, held.signature, held.redacted, held.origin, held.id)
