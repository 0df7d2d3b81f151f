"""A row: one question in the shape of OpenAI's chat, the answer that a student should give, and where both came from.

Rows are what every step of the recipe hands to the next; datasets store them as JSON lines, one row a line.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import msgspec

Message = dict[str, Any]
"""One message of a chat, as OpenAI's API takes it; its content is a string."""


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a row came from. `rule` is why its answer may train another model ("licence: ...", "override: ...", "declared by the uploader",
    ...), `consent` why its question may ("the project may train", ...); `subject` is a hash of the user it is about (subject_of), so that
    it can be found again when that user wants to be forgotten."""

    kind: str  # logs, file
    request_id: str = ""
    model: str = ""
    provider: str = ""
    file_id: str = ""
    line: int = 0
    rule: str = ""
    consent: str = ""
    subject: str = ""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """`messages` end with the question; `answer` is "" while nobody has answered. `logprob` is the answer's mean log probability
    a token (natural), where the teacher told it."""

    messages: tuple[Message, ...]
    answer: str = ""
    origin: Origin = Origin("file")
    logprob: float | None = None


def subject_of(org_id: str, user_id: str) -> str:
    """16 hex digits for one of an organisation's users; "" for nobody. As the audit log has it of a user who was forgotten."""
    return hashlib.sha256(f"{org_id}/{user_id}".encode("utf-8", "surrogatepass")).hexdigest()[:16] if user_id else ""


def question_of(messages: Sequence[Message]) -> str:
    """All that was said before the answer, as one text: what duplicates and splits compare."""
    return "\n".join(str(message.get("content") or "") for message in messages)


def normalise(text: str) -> str:
    """Lower case, letters and digits only, single spaces: two texts that are the same to a reader are the same here."""
    return re.sub(r"[\W_]+", " ", text.lower()).strip()


def id_of(row: Row) -> str:
    """16 hex digits that name a row by what it asks."""
    return hashlib.sha256(normalise(question_of(row.messages)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
