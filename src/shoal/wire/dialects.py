"""Every dialect by its name: what upstreams may speak, what callers may speak, and where both are the same.

Callers' dialects differ in what they must be told besides an answer: the Responses API shows an id and a time of the gateway's, Gemini
puts the model into the path. The small classes here know that, so that nobody else has to.
"""

from collections.abc import Mapping
from typing import Protocol

from shoal.core.answer import Answer
from shoal.core.chat import Request
from shoal.core.conversation import Conversation
from shoal.core.embedding import EmbeddingDialect
from shoal.core.errors import Fault
from shoal.core.ports import AnswerWriter, CallerDialect, Forward, UpstreamDialect
from shoal.wire.anthropic import dialect as anthropic
from shoal.wire.bedrock import dialect as bedrock
from shoal.wire.cohere import dialect as cohere
from shoal.wire.gemini import dialect as gemini
from shoal.wire.openai_chat import dialect as openai_chat
from shoal.wire.openai_responses import dialect as openai_responses


class Stamp(Protocol):
    """What the gateway knows of a request that some dialects show: its id, and the seconds since 1970 when it came."""

    id: str
    at_s: float


class Caller(Protocol):
    """What a caller speaks, as the gateway asks for it."""

    stream_type: bytes
    """The content type of its streams."""

    def read(self, request: Request) -> Conversation:
        """The whole request. Errors: Fault naming the parameter."""

    def answer(self, answer: Answer, cost: str | None, receipt: bytes, conversation: Conversation, stamp: Stamp) -> bytes:
        """A whole answer's body."""

    def stream(self, conversation: Conversation, stamp: Stamp) -> AnswerWriter:
        """A writer for one streamed answer."""

    def error(self, fault: Fault, receipt: bytes) -> bytes:
        """An error answer's body."""

    def error_event(self, fault: Fault, receipt: bytes) -> bytes:
        """The one event that ends a broken stream."""


EVENTS = b"text/event-stream; charset=utf-8"


class _Plain:
    """A dialect that needs nothing but the request's body."""

    stream_type = EVENTS

    def __init__(self, dialect: CallerDialect) -> None:
        self._dialect = dialect
        self.error = dialect.error
        self.error_event = dialect.error_event

    def read(self, request: Request) -> Conversation:
        return self._dialect.read(request.body)

    def answer(self, answer: Answer, cost: str | None, receipt: bytes, conversation: Conversation, stamp: Stamp) -> bytes:
        return self._dialect.answer(answer, cost, receipt)

    def stream(self, conversation: Conversation, stamp: Stamp) -> AnswerWriter:
        return self._dialect.stream(conversation)


class _Responses:
    """The Responses API: an answer repeats its request, and has an id and a time."""

    stream_type = EVENTS
    error = staticmethod(openai_responses.CALLER.error)
    error_event = staticmethod(openai_responses.CALLER.error_event)

    def read(self, request: Request) -> Conversation:
        return openai_responses.CALLER.read(request.body)

    def answer(self, answer: Answer, cost: str | None, receipt: bytes, conversation: Conversation, stamp: Stamp) -> bytes:
        response_id, created = response_id_of(stamp), int(stamp.at_s)
        return openai_responses.CALLER.answer(answer, cost, receipt, conversation=conversation, response_id=response_id, created=created)

    def stream(self, conversation: Conversation, stamp: Stamp) -> AnswerWriter:
        return openai_responses.CALLER.stream(conversation, response_id=response_id_of(stamp), created=int(stamp.at_s))


def response_id_of(stamp: Stamp) -> str:
    """The id of the response that answers a request."""
    return "resp_" + stamp.id.removeprefix("req_")


class _Gemini:
    """Google's API: the path names the model and tells whether to stream; without `alt=sse` a stream is one JSON array."""

    def __init__(self, *, array: bool = False) -> None:
        self._dialect = gemini.CALLER_OF_ARRAYS if array else gemini.CALLER
        self.stream_type = b"application/json" if array else EVENTS
        self.error = self._dialect.error
        self.error_event = self._dialect.error_event

    def read(self, request: Request) -> Conversation:
        return self._dialect.read_at(request.body, request.model, request.stream)

    def answer(self, answer: Answer, cost: str | None, receipt: bytes, conversation: Conversation, stamp: Stamp) -> bytes:
        return self._dialect.answer(answer, cost, receipt)

    def stream(self, conversation: Conversation, stamp: Stamp) -> AnswerWriter:
        return self._dialect.stream(conversation)


ARRAYS = "gemini_arrays"
"""Gemini's dialect with streams as JSON arrays."""

UPSTREAMS: Mapping[str, UpstreamDialect] = {
    "openai_chat": openai_chat.UPSTREAM,
    "openai_responses": openai_responses.UPSTREAM,
    "anthropic": anthropic.UPSTREAM,
    "gemini": gemini.UPSTREAM,
    "bedrock": bedrock.UPSTREAM,
    "cohere": cohere.UPSTREAM,
}
CALLERS: Mapping[str, Caller] = {
    "openai_chat": _Plain(openai_chat.CALLER),
    "openai_responses": _Responses(),
    "anthropic": _Plain(anthropic.CALLER),
    "gemini": _Gemini(),
    ARRAYS: _Gemini(array=True),
}
FORWARDS: Mapping[tuple[str, str], Forward] = {
    ("openai_chat", "openai_chat"): openai_chat.FORWARD,
    ("openai_responses", "openai_responses"): openai_responses.FORWARD,
    ("anthropic", "anthropic"): anthropic.FORWARD,
    ("gemini", "gemini"): gemini.FORWARD,
    (ARRAYS, "gemini"): gemini.FORWARD_TO_ARRAYS,
}
"""By what the caller and what the upstream speaks."""

EMBEDDINGS: Mapping[str, EmbeddingDialect] = {
    "gemini": gemini.EMBEDDINGS,
    "bedrock": bedrock.EMBEDDINGS,
    "cohere": cohere.EMBEDDINGS,
}
