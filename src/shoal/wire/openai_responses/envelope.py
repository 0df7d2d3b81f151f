"""The request as far as the gateway must know it before it is known who will answer; everything else stays as the caller wrote it.

https://platform.openai.com/docs/api-reference/responses/create
"""

from typing import Annotated

import msgspec

from shoal.core.chat import decode
from shoal.core.errors import Fault
from shoal.wire.openai_responses.checked import ABSENT, missing

ROUTING = ("models", "provider", "route", "fallbacks", "session_id")
"""Members that tell the gateway where to go."""

STATE = ("store", "previous_response_id", "metadata", "background", "conversation")
"""Members about what is kept, which is kept here and by no upstream."""

OURS: tuple[str, ...] = (*ROUTING, *STATE)

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class Fields(msgspec.Struct, frozen=True):
    """What is checked of every request, whoever answers it."""

    model: _Name
    input: str | Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1)] | None = None
    stream: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, str] | None = None
    include: list[str] | None = None
    background: bool | None = None
    conversation: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT


class Envelope(msgspec.Struct, frozen=True):
    """One request: its checked fields and the body they came in."""

    fields: Fields
    body: bytes

    @property
    def model(self) -> str:
        """The model's name as the caller wrote it."""
        return self.fields.model

    @property
    def stream(self) -> bool:
        """Whether the caller wants the answer as it is made."""
        return bool(self.fields.stream)

    @property
    def store(self) -> bool:
        """Whether the answer may be continued and read again later; so it is where the caller does not say."""
        return self.fields.store is not False

    @property
    def previous(self) -> str | None:
        """The response that this request continues."""
        return self.fields.previous_response_id


_fields = msgspec.json.Decoder(Fields)


def read(body: bytes) -> Envelope:
    """Check a body. Errors: Fault naming the parameter, for what is malformed, and for state that only OpenAI itself could keep."""
    fields = decode(body, _fields)
    if fields.background:
        raise _unsupported("background", "a response is made while its caller waits; leave it out, or stream")
    if bytes(fields.conversation) != b"null":
        raise _unsupported("conversation", "conversations are not kept here; continue one with previous_response_id")
    if fields.input is None and bytes(fields.prompt) == b"null":
        raise missing("input")
    return Envelope(fields, body)


def _unsupported(name: str, why: str) -> Fault:
    return Fault("unsupported_parameter", f"Unsupported parameter: '{name}': {why}.", param=name)
