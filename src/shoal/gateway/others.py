"""Bridges of the endpoints that are no conversation: completions, embeddings, rankings."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from shoal.core.answer import Answer
from shoal.core.chat import Request
from shoal.core.embedding import EmbeddingDialect
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import AnswerReader, Passage, Settle
from shoal.wire import dialects, embeddings, rerank

_OPENAI = "openai_chat"


class _Other:
    """What no conversation has: nothing to be read for a policy's judgement."""

    def reader(self) -> AnswerReader:
        raise Fault("invalid_request", "A policy that judges answers can be used for chats only.")

    def read(self, body: bytes) -> Answer:
        raise Fault("invalid_request", "A policy that judges answers can be used for chats only.")

    def stream(self, settle: Settle) -> Passage:
        raise Fault("invalid_value", "This endpoint does not stream.", param="stream")


class Plain(_Other):
    """OpenAI's own endpoint at an upstream that has it: bytes pass, as a chat's do."""

    def __init__(self, request: Request, path: str) -> None:
        self._request = request
        self._path = path

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        return (msgspec.structs.replace(dialects.FORWARDS[_OPENAI].encode(self._request, deployment), path=self._path),)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return dialects.UPSTREAMS[_OPENAI].fault(status, headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        return dialects.FORWARDS[_OPENAI].complete(bodies[0], settle)

    def stream(self, settle: Settle) -> Passage:
        return dialects.FORWARDS[_OPENAI].stream(self._request, settle)


class Embedded(_Other):
    """Embeddings of an upstream with a dialect of its own."""

    def __init__(self, request: Request, dialect: EmbeddingDialect) -> None:
        self._request = embeddings.read(request.body)
        self._dialect = dialect

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        return self._dialect.encode(self._request, deployment)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return self._dialect.fault(status, headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        answer = self._dialect.answer(bodies, self._request)
        return embeddings.write(answer, self._request, *settle(answer.usage))


class Ranked(_Other):
    """Documents ranked, in Cohere's words or in those that others took over from it."""

    def __init__(self, request: Request) -> None:
        self._request = rerank.read(request.body)
        self._deployment: Deployment | None = None

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        self._deployment = deployment
        return (rerank.encode(self._request, deployment),)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return rerank.fault(status, headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        answer = rerank.answer(bodies[0], self._request)
        return rerank.write(answer, self._request, *settle(answer.usage))


def _completion(request: Request, dialect: str) -> Plain:
    if dialect != _OPENAI:
        raise Fault("unsupported_parameter", "This model has no completions endpoint; use /v1/chat/completions.", param="model")
    return Plain(request, "/completions")


def _embedding(request: Request, dialect: str) -> Plain | Embedded:
    if dialect == _OPENAI:
        return Plain(request, "/embeddings")
    found = dialects.EMBEDDINGS.get(dialect)
    if found is None:
        raise Fault("unsupported_parameter", "This model's provider has no embeddings.", param="model")
    return Embedded(request, found)


CHOICES: Mapping[str, Callable[[Request, str], Plain | Embedded | Ranked]] = {
    "completions": _completion,
    "embeddings": _embedding,
    "rerank": lambda request, dialect: Ranked(request),
}
