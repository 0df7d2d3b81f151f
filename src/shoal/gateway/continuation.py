"""Going on with a plain text that broke off: another deployment takes up what was said so far, and the caller's stream goes on.

Only text is gone on with. A tool call, JSON, or a thought that broke off ends in one typed error event, and so does an answer of several
choices. No word is repeated or missing: the beginning that is handed on is exactly what the caller has had. The receipt lists both tries.
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from shoal.core.answer import Began, CitationDelta, Delta, TextDelta, Used
from shoal.core.attempt import Attempt
from shoal.core.conversation import Conversation, Message, Text
from shoal.core.errors import Fault
from shoal.core.models import Deployment
from shoal.core.ports import AnswerWriter
from shoal.gateway import answer
from shoal.gateway.bridge import Bridge, Translated, Translation
from shoal.gateway.settle import Settlement

if TYPE_CHECKING:
    from shoal.gateway.call import Call

_MOST_TIMES = 3


def is_possible(call: "Call") -> bool:
    """Whether a stream of this call could be gone on with, so that what the upstream says is worth keeping."""
    if call.endpoint.kind != "chat" or not any(one.capabilities.prefill for one in call.candidates):
        return False
    try:
        conversation = call.conversation()
    except Fault:
        return False  # the upstream's own words on that are worth more
    sampling = conversation.sampling
    return not conversation.tools and conversation.format is None and (sampling.n or 1) == 1 and not sampling.logprobs


async def go_on(call: "Call", way: Bridge, broken: answer.Relay, fault: Fault) -> None:
    """Finish the caller's stream by other deployments. Errors: the Fault that broke it, when none can."""
    said = _read(way, broken.kept)
    for deployment in _successors(call, broken.attempt.deployment):
        text = _text_of(said)
        if text is None:
            break
        _close(broken.attempt, fault)
        attempt = Attempt(deployment, time.perf_counter(), continued=True)
        call.attempts.append(attempt)
        call.attempt = attempt
        try:
            more = await _take_up(call, attempt, said, text)
        except _Broken as again:
            fault, said = again.fault, again.said
            _close(attempt, fault)
            continue
        call.exchange.end(more)
        return
    raise fault


class _Broken(Exception):
    """The continuation broke off, too."""

    def __init__(self, fault: Fault, said: list[Delta]) -> None:
        super().__init__(fault.message)
        self.fault = fault
        self.said = said


async def _take_up(call: "Call", attempt: Attempt, said: list[Delta], text: str) -> bytes:
    """Relay what a deployment adds to `text`; what ends the caller's stream. Errors: _Broken."""
    world, deployment = call.world, attempt.deployment
    way = Translated(call, deployment.dialect, _with_beginning(call.conversation(), text))
    writer = way.writer()
    writer.feed(said)  # the caller has had it: the writer must only know
    passage = Continued(way, writer, Settlement(call))
    world.health.begin(deployment)
    fault: Fault | None = None
    try:
        what = msgspec.structs.replace(way.encode(deployment)[0], prefill=True)
        response = await world.upstreams.send(deployment, "chat", what, None)
        try:
            if response.status != 200:
                raise way.fault(response.status, response.headers, await response.read())
            relay = answer.Relay(call, attempt, passage, response)
            return await relay.run_on()
        finally:
            response.close()
    except Fault as broken:
        fault = broken
        raise _Broken(broken, [*said, *passage.heard]) from None
    finally:
        world.health.end(deployment, fault)


class Continued(Translation):
    """A stream that goes on with another: its own beginning is passed over, and what it says is remembered for the next."""

    def __init__(self, way: Translated, writer: AnswerWriter, settle: Settlement) -> None:
        super().__init__(way.call, way.reader(), writer, settle)
        self.heard: list[Delta] = []

    def write(self, deltas: Sequence[Delta]) -> bytes:
        new = [delta for delta in deltas if not isinstance(delta, Began)]
        self.heard += new
        return super().write(new)


def _read(way: Bridge, kept: list[bytes]) -> list[Delta]:
    reader = way.reader()
    return [delta for piece in kept for delta in reader.feed(piece)]


def _text_of(said: list[Delta]) -> str | None:
    """The text so far, if text and thoughts before it are all there is, and it has not ended."""
    if not all(isinstance(delta, (Began, TextDelta, CitationDelta, Used)) for delta in said):
        return None
    return "".join(delta.text for delta in said if isinstance(delta, TextDelta)) or None


def _successors(call: "Call", broken: Deployment) -> list[Deployment]:
    able = [one for one in call.candidates if one.capabilities.prefill]
    others = [one for one in able if one.id != broken.id]
    return [*others, *(one for one in able if one.id == broken.id)][:_MOST_TIMES]


def _with_beginning(conversation: Conversation, text: str) -> Conversation:
    """The same request, the answer begun. The trailing blanks of the beginning stay: they are the caller's already."""
    spent = len(text) // 4  # what is left of max_tokens is not known exactly
    limit = None if conversation.max_tokens is None else max(1, conversation.max_tokens - spent)
    message = Message("assistant", (Text(text),))
    return msgspec.structs.replace(conversation, messages=(*conversation.messages, message), max_tokens=limit)


def _close(attempt: Attempt, fault: Fault) -> None:
    attempt.error, attempt.status = fault.row.code or fault.kind, fault.upstream_status
    attempt.duration_s = time.perf_counter() - attempt.started_at
