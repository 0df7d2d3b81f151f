"""OpenAI's chat completions as the ports want a dialect: for upstreams, for callers, and forwarded where both speak it."""

from collections.abc import Mapping
from typing import Any

from shoal.core.answer import Answer
from shoal.core.chat import ChatFields, CompletionFields, EmbeddingFields, Request
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import AnswerReader, AnswerWriter, CallerDialect, Passage, Settle, UpstreamDialect
from shoal.core.ports import Forward as ForwardPort
from shoal.wire.openai_chat import answers, errors, forward, requests, streams
from shoal.wire.openai_chat.extensions import adapt
from shoal.wire.openai_chat.manners import manner_of

_PATHS: Mapping[type[Any], str] = {ChatFields: "/chat/completions", CompletionFields: "/completions", EmbeddingFields: "/embeddings"}


class Upstream:
    """What an upstream speaks (core.ports.UpstreamDialect)."""

    def encode(self, conversation: Conversation, deployment: Deployment) -> HttpCall:
        """The call that asks this."""
        return requests.write(conversation, deployment)

    def answer(self, body: bytes, conversation: Conversation) -> Answer:
        """A whole answer."""
        return answers.read(body)

    def stream(self, conversation: Conversation) -> AnswerReader:
        """A reader for one streamed answer."""
        return streams.Reader(conversation.sampling.n or 1)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
        return errors.read(status, headers, body)


class Caller:
    """What a caller speaks (core.ports.CallerDialect)."""

    def read(self, body: bytes) -> Conversation:
        """The whole request, checked."""
        return requests.read(body)

    def answer(self, answer: Answer, cost: str | None, receipt: bytes) -> bytes:
        """A whole answer's body."""
        return answers.write(answer, cost, receipt)

    def stream(self, conversation: Conversation) -> AnswerWriter:
        """A writer for one streamed answer."""
        return streams.Writer(conversation)

    def error(self, fault: Fault, receipt: bytes) -> bytes:
        """An error answer's body."""
        return errors.write(fault, receipt)

    def error_event(self, fault: Fault, receipt: bytes) -> bytes:
        """The one event that ends a broken stream."""
        return errors.write_event(fault, receipt)


class Forward:
    """Both sides speak it (core.ports.Forward)."""

    def encode(self, request: Request, deployment: Deployment) -> HttpCall:
        """The caller's own body, spliced."""
        provider = deployment.provider
        adapted = adapt(request.body, manner_of(provider)) if isinstance(request.fields, ChatFields) else None
        body = forward.encode(request, deployment.upstream_model, provider, adapted)
        return HttpCall(_PATHS[type(request.fields)], body, dropped=adapted.dropped if adapted is not None else ())

    def complete(self, request: Request, body: bytes, settle: Settle) -> bytes:
        """A whole answer with its insertions."""
        return forward.complete(body, settle, chosen=isinstance(request.fields, ChatFields | CompletionFields))

    def stream(self, request: Request, settle: Settle) -> Passage:
        """A streamed answer, forwarded event by event."""
        n = request.fields.n or 1
        return forward.Stream(request.wants_usage, settle, n, forward.is_silent)


UPSTREAM: UpstreamDialect = Upstream()
CALLER: CallerDialect = Caller()
FORWARD: ForwardPort = Forward()
