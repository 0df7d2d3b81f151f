"""Thought as items, and proofs of thought on their way to a caller and back.

`encrypted_content` is opaque to callers, who return it untouched. What OpenAI encrypted is in it as it came; what another dialect signed is
sealed in it with the name of who can read it, so that the next turn can go on wherever the last one was answered.
See https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items.
"""

import base64
import binascii
from typing import Any

import msgspec

from shoal.core.chat import decode
from shoal.core.conversation import Reasoning

ORIGIN = "openai_responses"

_SEAL = b"shoal-thought:"
SEALED = base64.b64encode(_SEAL)[: len(_SEAL) // 3 * 4].decode()
"""How every sealed proof begins."""

SEPARATOR = "\n\n"
"""Between the parts of a summary, which is one text here."""


class _Sealed(msgspec.Struct, array_like=True):
    origin: str | None
    signature: str | None
    redacted: str | None
    id: str | None
    call: str | None = None


class Words(msgspec.Struct):
    """A part of a summary, or of thought itself."""

    text: str = ""


class Item(msgspec.Struct):
    """A `reasoning` item."""

    id: str | None = None
    summary: list[Words] | None = None
    content: list[Words] | None = None
    encrypted_content: str | None = None


_item = msgspec.json.Decoder(Item)
_sealed = msgspec.json.Decoder(_Sealed)


class CallProof(msgspec.Struct, frozen=True):
    """Gemini's proof of the thought behind a call; a call has no place for it in this dialect, so it travels as an item before it."""

    call: str
    signature: str


def seal(thought: Reasoning) -> str | None:
    """`encrypted_content` for a caller; None where the thought has no proof."""
    if thought.signature is None and thought.redacted is None:
        return None
    if thought.origin == ORIGIN:
        return thought.redacted or thought.signature
    return _pack(_Sealed(thought.origin, thought.signature, thought.redacted, thought.id))


def seal_call(proof: CallProof) -> str:
    """`encrypted_content` of the item that carries a call's proof."""
    return _pack(_Sealed(None, proof.signature, None, None, proof.call))


def _pack(sealed: _Sealed) -> str:
    return base64.b64encode(_SEAL + msgspec.json.encode(sealed)).decode()


def is_sealed(encrypted: str | None) -> bool:
    """Whether no OpenAI made this, and none could read it."""
    return encrypted is not None and encrypted.startswith(SEALED)


def read(raw: bytes | msgspec.Raw, place: str) -> Reasoning | CallProof:
    """A caller's item. Errors: Fault."""
    item = decode(raw, _item, place)
    text = SEPARATOR.join(part.text for part in item.summary or item.content or ())
    encrypted = item.encrypted_content
    held = _open(encrypted) if encrypted is not None and is_sealed(encrypted) else None
    if held is None:
        return Reasoning(text, redacted=encrypted, origin=ORIGIN, id=item.id)
    if held.call is not None and held.signature is not None:
        return CallProof(held.call, held.signature)
    return Reasoning(text, held.signature, held.redacted, held.origin, held.id)


def _open(encrypted: str) -> _Sealed | None:
    try:
        return _sealed.decode(base64.b64decode(encrypted, validate=True).removeprefix(_SEAL))
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write(thought: Reasoning) -> dict[str, Any] | None:
    """The item for an upstream; None for what it did not encrypt itself: it keeps nothing here, and could not read it."""
    encrypted = thought.redacted or thought.signature
    if thought.origin != ORIGIN or encrypted is None:
        return None
    summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
    item = {"type": "reasoning", "summary": summary, "encrypted_content": encrypted}
    return item if thought.id is None else {"type": "reasoning", "id": thought.id, **item}


def merge(parts: list[Reasoning]) -> list[Reasoning]:
    """Thoughts in a row, those with the same id made one: some dialects tell a summary and its proof apart."""
    out: list[Reasoning] = []
    for part in parts:
        last = out[-1] if out else None
        if last is None or part.id is None or last.id != part.id:
            out.append(part)
            continue
        out[-1] = Reasoning(
            text=SEPARATOR.join(text for text in (last.text, part.text) if text),
            signature=last.signature or part.signature,
            redacted=last.redacted or part.redacted,
            origin=last.origin or part.origin,
            id=part.id,
        )
    return out
