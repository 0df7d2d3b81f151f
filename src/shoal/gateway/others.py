"""Bridges of the endpoints that are no conversation: completions, embeddings, rankings."""

from collections.abc import Mapping, Sequence

from shoal.core.answer import Answer
from shoal.core.chat import Request
from shoal.core.embedding import EmbeddingDialect, Headers
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

    def __init__(self, request: Request) -> None:
        self._request = request
        self._forward = dialects.FORWARDS[_OPENAI, _OPENAI]

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        return (self._forward.encode(self._request, deployment),)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return dialects.UPSTREAMS[_OPENAI].fault(status, headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        return self._forward.complete(self._request, bodies[0], settle)

    def stream(self, settle: Settle) -> Passage:
        return self._forward.stream(self._request, settle)


class Embedded(_Other):
    """Embeddings of an upstream with a dialect of its own."""

    def __init__(self, request: Request, dialect: EmbeddingDialect) -> None:
        self._request = embeddings.read(request.body)
        self._dialect = dialect
        self.heads: list[Headers] = []  # of the answers, in their order: some count their tokens there

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        return self._dialect.encode(self._request, deployment)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return self._dialect.fault(status, headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        answer = self._dialect.answer(bodies, self._request, self.heads)
        return embeddings.write(answer, self._request, *settle(answer.usage))


class Ranked(_Other):
    """Documents ranked, in Cohere's words or in those that others took over from it."""

    def __init__(self, request: Request, deployment: Deployment) -> None:
        self._request = rerank.read(request.body)
        self._upstream = rerank.find_upstream(deployment)
        self._dialect = dialects.UPSTREAMS[deployment.dialect]

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        return (rerank.encode(self._request, deployment, self._upstream),)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return self._dialect.fault(status, headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        answer = rerank.answer(bodies[0], self._request, self._upstream)
        return rerank.write(answer, self._request, *settle(answer.usage))


def choose(kind: str, request: Request, deployment: Deployment) -> Plain | Embedded | Ranked:
    """The bridge for one of these endpoints. Errors: Fault unsupported_parameter where the deployment's upstream has no such thing."""
    dialect = deployment.dialect
    if kind == "rerank":
        return Ranked(request, deployment)
    if dialect == _OPENAI:
        return Plain(request)
    if kind == "embeddings" and dialect in dialects.EMBEDDINGS:
        return Embedded(request, dialects.EMBEDDINGS[dialect])
    raise Fault("unsupported_parameter", f"The model {deployment.model!r} has no {kind} at its provider.", param="model")
