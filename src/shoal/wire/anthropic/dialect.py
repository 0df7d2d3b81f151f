"""The Messages API as the gateway knows it: spoken by callers, by upstreams, and by both at once."""

from collections.abc import Mapping

from shoal.core.answer import Answer
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import AnswerReader, AnswerWriter, Passage, Settle, UpstreamDialect
from shoal.wire.anthropic import answers, errors, forward, requests, streams, writing


class Upstream:
    """See core.ports.UpstreamDialect."""

    def encode(self, conversation: Conversation, deployment: Deployment) -> HttpCall:
        """The call that asks this."""
        return requests.write(conversation, deployment)

    def answer(self, body: bytes, conversation: Conversation) -> Answer:
        """A whole answer."""
        return answers.read(body, conversation)

    def stream(self, conversation: Conversation) -> AnswerReader:
        """A reader for one streamed answer."""
        return streams.Reader()

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
        return errors.read(status, headers, body)


class Caller:
    """See core.ports.CallerDialect."""

    def read(self, body: bytes) -> Conversation:
        """The whole request, checked."""
        return requests.read(body)

    def answer(self, answer: Answer, cost: str | None, receipt: bytes) -> bytes:
        """A whole answer's body."""
        return answers.write(answer, cost, receipt)

    def stream(self, conversation: Conversation) -> AnswerWriter:
        """A writer for one streamed answer."""
        return writing.Writer(conversation)

    def error(self, fault: Fault, receipt: bytes) -> bytes:
        """An error answer's body."""
        return errors.write(fault, receipt)

    def error_event(self, fault: Fault, receipt: bytes) -> bytes:
        """The one event that ends a broken stream."""
        return errors.write_event(fault, receipt)


class Forward:
    """See core.ports.Forward."""

    def encode(self, request: forward.Request, deployment: Deployment) -> HttpCall:
        """The caller's own body, spliced."""
        return forward.encode(request, deployment)

    def complete(self, request: forward.Request, body: bytes, settle: Settle) -> bytes:
        """A whole answer with its insertions."""
        return forward.complete(body, settle)

    def stream(self, request: forward.Request, settle: Settle) -> Passage:
        """A streamed answer, forwarded event by event."""
        return forward.Stream(settle, forward.is_silent)


UPSTREAM: UpstreamDialect = Upstream()
CALLER: Caller = Caller()
FORWARD: Forward = Forward()
