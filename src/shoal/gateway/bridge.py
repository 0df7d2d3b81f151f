"""From the caller's dialect to the upstream's and back: forwarded where both are the same, translated where they are not."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from shoal.core.answer import Answer, Began, Delta, Used
from shoal.core.conversation import Conversation
from shoal.core.errors import Fault
from shoal.core.http import HttpCall
from shoal.core.models import Deployment
from shoal.core.ports import AnswerReader, AnswerWriter, Forward, Passage, Settle
from shoal.core.usage import Usage
from shoal.gateway import others
from shoal.gateway.call import Call
from shoal.wire import dialects

Calls = Sequence[HttpCall]


class Bridge(Protocol):
    """One try's way there and back."""

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        """The calls that ask; more than one only where an upstream takes a long list in portions. Errors: Fault."""

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        """What an answer that is no success means."""

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        """The whole answer for the caller. Errors: Fault."""

    def stream(self, settle: Settle) -> Passage:
        """The streamed answer for the caller."""

    def reader(self) -> AnswerReader:
        """A reader of what the upstream streams."""

    def read(self, body: bytes) -> Answer:
        """What the upstream said, for whoever must judge it. Errors: Fault."""


def choose(call: Call, deployment: Deployment) -> Bridge:
    """The bridge for this caller and this deployment. Errors: Fault, where there is none."""
    endpoint = call.endpoint
    if endpoint.kind != "chat":
        return others.choose(endpoint.kind, call.request, deployment)
    dialect = endpoint.dialect if endpoint.dialect in deployment.also else deployment.dialect
    forward = dialects.FORWARDS.get((endpoint.dialect, dialect))
    return Translated(call, deployment) if forward is None else Forwarded(call, forward, dialect)


_HALF_HIDDEN = re.compile(rb"\w{2}\*{3,}\w{2}")


def _meant(status: int, body: bytes, call: Call) -> int:
    """The status that is meant: xAI refuses a key with 400, and shows it half hidden (`xa***Yz`). What the caller said itself is no key."""
    if status != 400 or b"***" not in body:
        return status
    said = msgspec.json.encode(msgspec.json.decode(call.request.body))  # as the upstream writes it, however the caller did
    return status if all(shown in said for shown in _HALF_HIDDEN.findall(body)) else 401


class Forwarded:
    """Both speak the same dialect: bytes pass."""

    def __init__(self, call: Call, forward: Forward, dialect: str) -> None:
        self._call = call
        self._dialect = dialect
        self._forward = forward

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        call = self._forward.encode(self._call.request, deployment)
        wanted = self._call.exchange.headers.get(b"anthropic-beta") if self._dialect == "anthropic" else None
        return (call if wanted is None else _with_betas(call, wanted.decode("latin-1")),)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return dialects.UPSTREAMS[self._dialect].fault(_meant(status, body, self._call), headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        return self._forward.complete(self._call.request, bodies[0], settle)

    def stream(self, settle: Settle) -> Passage:
        return self._forward.stream(self._call.request, settle)

    def reader(self) -> AnswerReader:
        return dialects.UPSTREAMS[self._dialect].stream(self._call.conversation())

    def read(self, body: bytes) -> Answer:
        return dialects.UPSTREAMS[self._dialect].answer(body, self._call.conversation())


def _with_betas(call: HttpCall, wanted: str) -> HttpCall:
    """The features in beta that the caller asked for (https://docs.claude.com/en/api/beta-headers), besides those its body needs."""
    needed = [value for name, value in call.headers if name == "anthropic-beta"]
    others = tuple(header for header in call.headers if header[0] != "anthropic-beta")
    names = dict.fromkeys(name.strip() for value in (wanted, *needed) for name in value.split(",") if name.strip())
    return msgspec.structs.replace(call, headers=(*others, ("anthropic-beta", ",".join(names))))


class Translated:
    """Caller and upstream speak different dialects: every answer passes through the nouns that all share."""

    def __init__(self, call: Call, deployment: Deployment, conversation: Conversation | None = None) -> None:
        self.call = self._call = call
        self._conversation = conversation or call.conversation()
        # an answer that names no model is of the deployment's, whatever alias the caller knows it by
        self._asked = msgspec.structs.replace(self._conversation, model=deployment.upstream_model)
        self._caller = dialects.CALLERS[call.endpoint.dialect]
        self._upstream = dialects.UPSTREAMS[deployment.dialect]

    def encode(self, deployment: Deployment) -> Sequence[HttpCall]:
        return (self._upstream.encode(self._conversation, deployment),)

    def fault(self, status: int, headers: Mapping[bytes, bytes], body: bytes) -> Fault:
        return self._upstream.fault(_meant(status, body, self.call), headers, body)

    def complete(self, bodies: Sequence[bytes], settle: Settle) -> bytes:
        answer = self._upstream.answer(bodies[0], self._asked)
        return self.write(answer, *settle(answer.usage))

    def write(self, answer: Answer, cost: str | None, receipt: bytes) -> bytes:
        """A whole answer's body for the caller; what the upstream did not name or date, we do."""
        if not answer.id or not answer.created:
            call = self._call
            answer = msgspec.structs.replace(answer, id=answer.id or call.id, created=answer.created or int(call.at_s))
        return self._caller.answer(answer, cost, receipt, self._conversation, self._call)

    def stream(self, settle: Settle) -> Passage:
        return Translation(self, self.reader(), self.writer(), settle)

    def name(self, deltas: Sequence[Delta]) -> Sequence[Delta]:
        """These deltas; the beginning of an answer with our id and time where the upstream gave none."""
        if not deltas or not isinstance(began := deltas[0], Began) or (began.id and began.created):
            return deltas
        named = msgspec.structs.replace(began, id=began.id or self.call.id, created=began.created or int(self.call.at_s))
        return [named, *deltas[1:]]

    def writer(self) -> AnswerWriter:
        """A writer of what the caller reads."""
        return self._caller.stream(self._conversation, self._call)

    def reader(self) -> AnswerReader:
        return self._upstream.stream(self._asked)

    def read(self, body: bytes) -> Answer:
        return self._upstream.answer(body, self._asked)


class Translation:
    """A streamed answer, its deltas read and written anew."""

    def __init__(self, way: Translated, reader: AnswerReader, writer: AnswerWriter, settle: Settle) -> None:
        self._way = way
        self._reader = reader
        self._writer = writer
        self._settle = settle
        self._usage: Usage | None = None
        self._before: list[Delta] = []  # what was said before there was anything to show: somebody else may still answer
        self._shows = False
        self.done = self.whole = False
        self.failed: Fault | None = None

    def feed(self, data: bytes) -> bytes:
        out = self.write(self._reader.feed(data))
        self.whole = self._reader.whole
        self.failed = self._reader.failed  # what came before a fault in the same bytes is the caller's
        return out

    def close(self) -> bytes:
        deltas = self._reader.close()
        self._shows = True
        out = self.write(deltas)
        end = self._writer.close(*self._settle(self._usage))
        self.done = True
        return out + end

    def write(self, deltas: Sequence[Delta]) -> bytes:
        """What the caller gets of these deltas."""
        for delta in deltas:
            if isinstance(delta, Used):
                self._usage = delta.usage
            elif not isinstance(delta, Began):
                self._shows = True
        if not self._shows:
            self._before += deltas
            return b""
        if self._before:
            deltas, self._before = [*self._before, *deltas], []
        return self._writer.feed(self._way.name(deltas))


def read_stream(way: Bridge, pieces: Sequence[bytes]) -> list[Delta]:
    """What an upstream's stream has said so far: all up to what broke it, which may be an event of its own."""
    reader, said = way.reader(), list[Delta]()
    with contextlib.suppress(Fault):
        for piece in pieces:
            said += reader.feed(piece)
    return said
