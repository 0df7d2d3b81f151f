"""The dialect as the gateway's ports want it. Google's path tells the model and whether to stream, so a caller's side has `read_at` too.

A caller who leaves out `alt=sse` gets its stream as one JSON array: CALLER_OF_ARRAYS and FORWARD_TO_ARRAYS are for such.
"""

from collections.abc import Mapping
from typing import Any

from shoal.core.answer import Answer
from shoal.core.conversation import Conversation
from shoal.core.embedding import EmbeddingDialect
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import AnswerReader, AnswerWriter, Passage, Settle, UpstreamDialect
from shoal.core.ports import Forward as ForwardPort
from shoal.wire import streamed
from shoal.wire.gemini import answers, errors, forward, requests, streams
from shoal.wire.gemini.embeddings import Embeddings


class Upstream:
    """What an upstream speaks (core.ports.UpstreamDialect)."""

    def encode(self, conversation: Conversation, deployment: Deployment) -> HttpCall:
        return requests.write(conversation, deployment)

    def answer(self, body: bytes, conversation: Conversation) -> Answer:
        return answers.read(body, conversation)

    def stream(self, conversation: Conversation) -> AnswerReader:
        return streams.Reader()

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return errors.read(status, headers, body)


class Caller:
    """What a caller speaks (core.ports.CallerDialect), in streams of events or, with `array`, in one JSON array.

    `content_type` is what a stream is sent as.
    """

    def __init__(self, *, array: bool = False) -> None:
        self._array = array
        self.content_type = "application/json" if array else "text/event-stream"

    def read(self, body: bytes) -> Conversation:
        return requests.read(body)

    def read_at(self, body: bytes, model: str, stream: bool) -> Conversation:
        """The whole request, the path's share of it included."""
        return requests.read_at(body, model, stream)

    def answer(self, answer: Answer, cost: str | None, receipt: bytes) -> bytes:
        return answers.write(answer, cost, receipt)

    def stream(self, conversation: Conversation) -> AnswerWriter:
        return streams.Writer(array=self._array)

    def error(self, fault: Fault, receipt: bytes) -> bytes:
        return errors.write(fault, receipt)

    def error_event(self, fault: Fault, receipt: bytes) -> bytes:
        return errors.write_element(fault, receipt) if self._array else errors.write_event(fault, receipt)


class Forward:
    """Both sides speak it (core.ports.Forward)."""

    def __init__(self, *, array: bool = False) -> None:
        self._array = array

    def encode(self, request: Any, deployment: Deployment) -> HttpCall:
        return forward.encode(request, deployment)

    def complete(self, request: Any, body: bytes, settle: Settle) -> bytes:
        return forward.complete(body, settle)

    def stream(self, request: Any, settle: Settle) -> Passage:
        return forward.Stream(settle, array=self._array, is_silent=streamed.is_silent_to(streams.Reader()))


UPSTREAM: UpstreamDialect = Upstream()
CALLER: Caller = Caller()
CALLER_OF_ARRAYS: Caller = Caller(array=True)
FORWARD: ForwardPort = Forward()
FORWARD_TO_ARRAYS: ForwardPort = Forward(array=True)
EMBEDDINGS: EmbeddingDialect = Embeddings()
