"""Every dialect by its name: what upstreams may speak, what callers may speak, and where both are the same.

Callers' dialects differ in what they must be told besides an answer: OpenAI's Responses have an id of the gateway's, Gemini's model stands
in the path. The small classes here know that, so that nobody else has to.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from shoal.core.answer import Answer
from shoal.core.chat import Request
from shoal.core.conversation import Conversation
from shoal.core.embedding import EmbeddingDialect
from shoal.core.errors import Fault
from shoal.core.ports import AnswerWriter, CallerDialect, Forward, UpstreamDialect
from shoal.wire.openai_chat import dialect as openai_chat


class Stamp(Protocol):
    """What the gateway knows of a request that some dialects show: its id, and the seconds since 1970 when it came."""

    id: str
    at_s: float


class Caller:
    """A dialect that needs nothing but the request's body."""

    def __init__(self, dialect: CallerDialect) -> None:
        self.dialect = dialect
        self.error: Callable[[Fault, bytes], bytes] = dialect.error
        self.error_event: Callable[[Fault, bytes], bytes] = dialect.error_event

    def read(self, request: Request) -> Conversation:
        """The whole request. Errors: Fault naming the parameter."""
        return self.dialect.read(request.body)

    def answer(self, answer: Answer, cost: str | None, receipt: bytes, stamp: Stamp, conversation: Conversation) -> bytes:
        """A whole answer's body."""
        return self.dialect.answer(answer, cost, receipt)

    def stream(self, conversation: Conversation, stamp: Stamp) -> AnswerWriter:
        """A writer for one streamed answer."""
        return self.dialect.stream(conversation)


UPSTREAMS: Mapping[str, UpstreamDialect] = {"openai_chat": openai_chat.UPSTREAM}
CALLERS: Mapping[str, Caller] = {"openai_chat": Caller(openai_chat.CALLER)}
FORWARDS: Mapping[str, Forward] = {"openai_chat": openai_chat.FORWARD}
EMBEDDINGS: Mapping[str, EmbeddingDialect] = {}
