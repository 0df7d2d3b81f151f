"""Cohere as the gateway knows it: an upstream, for conversations and for embeddings."""

from collections.abc import Mapping

from shoal.core.answer import Answer
from shoal.core.conversation import Conversation
from shoal.core.embedding import EmbeddingDialect
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import AnswerReader, UpstreamDialect
from shoal.wire.cohere import answers, errors, requests, streams
from shoal.wire.cohere.embeddings import Embeddings


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
        return streams.Reader(conversation)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""
        return errors.read(status, headers, body)


UPSTREAM: UpstreamDialect = Upstream()
EMBEDDINGS: EmbeddingDialect = Embeddings()
