"""The Responses API as the gateway's ports want it: what an upstream speaks, what a caller speaks, and both at once."""

from collections.abc import Mapping

from shoal.core.answer import Answer
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.wire.openai_responses import answers, errors, forward, requests, streams


class Upstream:
    """core.ports.UpstreamDialect."""

    def encode(self, conversation: Conversation, deployment: Deployment) -> HttpCall:
        """The call that asks this. Errors: Fault unsupported_parameter."""
        return requests.write(conversation, deployment)

    def answer(self, body: bytes, _conversation: Conversation) -> Answer:
        """A whole answer. Errors: Fault."""
        return answers.read(body)

    def stream(self, _conversation: Conversation) -> streams.Reader:
        """A reader for one streamed answer."""
        return streams.Reader()

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
        return errors.read(status, headers, body)


class Caller:
    """core.ports.CallerDialect, but that an answer repeats its request and has an id and a time: they are told by name."""

    def read(self, body: bytes) -> Conversation:
        """The whole request, checked. Errors: Fault naming the parameter."""
        return requests.read(body)

    def answer(
        self, answer: Answer, cost: str | None, receipt: bytes, *, conversation: Conversation, response_id: str, created: int
    ) -> bytes:
        """A whole answer's body; `created` is seconds since 1970."""
        return answers.write(answer, cost, receipt, conversation=conversation, response_id=response_id, created=created)

    def stream(self, conversation: Conversation, *, response_id: str, created: int) -> streams.Writer:
        """A writer for one streamed answer."""
        return streams.Writer(conversation, response_id=response_id, created=created)

    def error(self, fault: Fault, receipt: bytes) -> bytes:
        """An error answer's body."""
        return errors.write(fault, receipt)

    def error_event(self, fault: Fault, receipt: bytes, *, sequence_number: int = 0) -> bytes:
        """The one event that ends a broken stream; the number is the writer's."""
        return errors.write_event(fault, receipt, sequence_number)


UPSTREAM: Upstream = Upstream()
CALLER: Caller = Caller()
FORWARD: forward.Passing = forward.Passing()
