"""The endpoints on the request's path, as data: where they are, what a body must have, which dialect the caller speaks there."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from shoal.core.chat import (
    ChatFields,
    CompletionFields,
    CountFields,
    EmbeddingFields,
    GenerateFields,
    MessagesFields,
    Request,
    RerankFields,
    ResponseFields,
    check_whole,
    read_request,
)
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.wire import dialects
from shoal.wire.gemini import counting as gemini_counting

Shape = Callable[[Fault, bytes], bytes]


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint. `name` is what the ledger calls it, `kind` what is asked for there, `dialect` the caller's.

    `counts`: the answer is the number of the request's tokens, and nothing is asked of a model.
    """

    name: str
    kind: str  # chat, completions, embeddings, rerank
    dialect: str
    decoder: Any
    counts: bool = False

    @property
    def stream_type(self) -> bytes:
        """The content type of its streams."""
        return dialects.CALLERS[self.dialect].stream_type

    def read(self, body: bytes, named: str | None, streamed: bool | None) -> Request:
        """A request's envelope, checked. Errors: Fault naming the parameter."""
        return read_request(body, self.decoder, named, streamed)

    def converse(self, request: Request) -> Conversation:
        """The whole request in the nouns that all dialects share. Errors: Fault naming the parameter."""
        check_whole(request.body)
        if self.counts and self.dialect == "gemini":  # the request to be counted may stand inside of the request
            return gemini_counting.read(request.body, request.model)
        return dialects.CALLERS[self.dialect].read(request)

    def error(self, fault: Fault, receipt: bytes = b"null") -> bytes:
        """An error answer's body in the caller's dialect."""
        return dialects.CALLERS[self.dialect].error(fault, receipt)

    def error_event(self, fault: Fault, receipt: bytes = b"null") -> bytes:
        """The one event that ends a broken stream."""
        return dialects.CALLERS[self.dialect].error_event(fault, receipt)


def _endpoint(name: str, kind: str, dialect: str, fields: Any, counts: bool = False) -> Endpoint:
    return Endpoint(name, kind, dialect, msgspec.json.Decoder(fields), counts)


CHAT = _endpoint("chat", "chat", "openai_chat", ChatFields)
HOT: dict[bytes, Endpoint] = {
    b"/v1/chat/completions": CHAT,
    b"/v1/completions": _endpoint("completions", "completions", "openai_chat", CompletionFields),
    b"/v1/embeddings": _endpoint("embeddings", "embeddings", "openai_chat", EmbeddingFields),
    b"/v1/rerank": _endpoint("rerank", "rerank", "openai_chat", RerankFields),
    b"/v1/responses": _endpoint("responses", "chat", "openai_responses", ResponseFields),
    b"/v1/messages": _endpoint("messages", "chat", "anthropic", MessagesFields),
    b"/v1/messages/count_tokens": _endpoint("messages", "chat", "anthropic", MessagesFields, counts=True),
}
HOT |= {b"/openai" + path: endpoint for path, endpoint in HOT.items()}
HOT[b"/v2/rerank"] = HOT[b"/v1/rerank"]

_GEMINI_PATHS = (b"/v1beta/models/", b"/v1/models/")
_GENERATE = _endpoint("generate", "chat", "gemini", GenerateFields)
_GENERATE_ARRAY = _endpoint("generate", "chat", dialects.ARRAYS, GenerateFields)
# a verb of Gemini's, and whether its answer is streamed
_VERBS: dict[bytes, tuple[Endpoint, bool]] = {
    b"generateContent": (_GENERATE, False),
    b"streamGenerateContent": (_GENERATE, True),
    b"countTokens": (_endpoint("count", "chat", "gemini", CountFields, counts=True), False),
}


class Place(msgspec.Struct, frozen=True):
    """An endpoint, and what the path itself says of the request."""

    endpoint: Endpoint
    named: str | None = None
    streamed: bool | None = None


_PLACES = {path: Place(endpoint) for path, endpoint in HOT.items()}


def find(path: bytes, query: bytes = b"") -> Place | None:
    """The endpoint at a raw path, or None."""
    return _PLACES.get(path) or _find_verb(path, query)


_WORDED = {b"/v1/messages": HOT[b"/v1/messages"], b"/openai/v1/messages": HOT[b"/v1/messages"], b"/v1beta": _GENERATE}


def wording(path: bytes) -> Callable[[Fault], bytes]:
    """How an error is said at a path, whether or not there is anything: whoever calls Anthropic's or Google's URLs reads their errors."""
    for start, endpoint in _WORDED.items():
        if path == start or path.startswith(start + b"/"):
            return endpoint.error
    return CHAT.error


def _find_verb(path: bytes, query: bytes) -> Place | None:
    """`/v1beta/models/NAME:VERB`: Google's form, which puts the model into the path."""
    for prefix in _GEMINI_PATHS:
        if path.startswith(prefix):
            name, _, verb = path[len(prefix) :].rpartition(b":")
            if name and verb in _VERBS:
                endpoint, streamed = _VERBS[verb]
                if streamed and b"alt=sse" not in query.split(b"&"):
                    endpoint = _GENERATE_ARRAY
                return Place(endpoint, unquote_to_bytes(name).decode("utf-8", "replace"), streamed)
    return None
