"""Going on with a plain text that broke off: another deployment takes up what was said so far, and the caller's stream goes on.

Only text is gone on with. A tool call, JSON, or a thought that broke off ends in one typed error event, and so does an answer of several
choices. No word is repeated or missing: the beginning that is handed on is exactly what the caller has had. The receipt lists both tries.
"""

import asyncio
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
from shoal.core.usage import charge
from shoal.gateway import answer
from shoal.gateway.bridge import Bridge, Translated, Translation, read_stream
from shoal.gateway.charges import hold_more
from shoal.gateway.reckoning import reckon
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
    plain = not (conversation.tools or conversation.hosted) and conversation.format is None
    return plain and (sampling.n or 1) == 1 and not sampling.logprobs


async def go_on(call: "Call", way: Bridge, broken: answer.Relay, fault: Fault) -> None:
    """Finish the caller's stream by other deployments. Errors: the Fault that broke it, when none can."""
    said = read_stream(way, broken.kept)
    _close(call, broken.attempt, fault, said)
    await hold_more(call, broken.attempt)
    for deployment in _successors(call, broken.attempt.deployment):
        text = _text_of(said)
        if text is None:
            break
        attempt = Attempt(deployment, time.perf_counter(), continued=True, why="to go on where the one before broke off")
        call.attempts.append(attempt)
        call.attempt = attempt
        try:
            more = await _take_up(call, attempt, said, text)
        except _Broken as again:
            _close(call, attempt, again.fault, again.said[len(said) :])
            await hold_more(call, attempt)
            said = again.said
            continue
        if call.keeping is not None:
            await call.keeping.finish_stream(attempt, more)
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
    beginning = text.rstrip()
    way = Translated(call, deployment, _with_beginning(call, deployment, beginning))
    writer = way.writer()
    writer.feed(way.name(said))  # the caller has had it: the writer must only know
    passage = Continued(way, writer, Settlement(call), text[len(beginning) :])
    call.heard = lambda: passage.heard
    world.health.begin(deployment)
    fault: Fault | None = None
    try:
        what = msgspec.structs.replace(world.upstreams.adapt(deployment, way.encode(deployment)[0]), prefill=True)
        response = await world.upstreams.send(deployment, "chat", what, None)
        try:
            if response.status != 200:
                raise way.fault(response.status, response.headers, await response.read())
            if not response.headers.get(b"content-type", b"").startswith(answer.STREAMED):
                raise Fault("upstream_garbled", "The upstream answered a streaming request with something that is not an event stream.")
            relay = answer.Relay(call, attempt, passage, response)
            return await relay.run_on()
        finally:
            response.close()
    except asyncio.CancelledError:
        fault = Fault("superseded", "The try was called off.")
        raise
    except Fault as broken:
        if call.settled:
            raise
        fault = broken
        raise _Broken(broken, [*said, *passage.heard]) from None
    finally:
        world.health.end(deployment, fault)


class Continued(Translation):
    """A stream that goes on with another: its own beginning is passed over, and what it says is remembered for the next.

    `blanks` ended the text so far; they were not handed on, since models write a blank before a word and not after one. Where the new text
    begins with them, the caller has had them.
    """

    def __init__(self, way: Translated, writer: AnswerWriter, settle: Settlement, blanks: str) -> None:
        super().__init__(way, way.reader(), writer, settle)
        self.heard: list[Delta] = []
        self._blanks = blanks

    def write(self, deltas: Sequence[Delta]) -> bytes:
        new = [self._without_blanks(delta) for delta in deltas if not isinstance(delta, Began)]
        self.heard += new
        return super().write(new)

    def _without_blanks(self, delta: Delta) -> Delta:
        if not self._blanks or not isinstance(delta, TextDelta):
            return delta
        text = delta.text
        while text and self._blanks and text[0] == self._blanks[0]:
            text, self._blanks = text[1:], self._blanks[1:]
        if text:
            self._blanks = ""
        return msgspec.structs.replace(delta, text=text)


def _text_of(said: list[Delta]) -> str | None:
    """The text so far, if there is nothing but text, and it has not ended."""
    if not all(isinstance(delta, (Began, TextDelta, CitationDelta, Used)) for delta in said):
        return None
    text = _words(said)
    return text if text.strip() else None


def _words(said: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in said if isinstance(delta, TextDelta))


def _successors(call: "Call", broken: Deployment) -> list[Deployment]:
    able = [one for one in call.candidates if one.capabilities.prefill]
    able.sort(key=lambda one: not call.health(one).available)
    others = [one for one in able if one.id != broken.id]
    return [*others, *(one for one in able if one.id == broken.id)][:_MOST_TIMES]


def _with_beginning(call: "Call", deployment: Deployment, text: str) -> Conversation:
    """The same request, the answer begun, and what is left of its tokens."""
    conversation, limit = call.conversation(), call.conversation().max_tokens
    if limit is not None:
        spent = call.world.counter.count_text(text, deployment.upstream_model, deployment.provider).tokens
        limit = max(1, limit - spent)
    message = Message("assistant", (Text(text),))
    return msgspec.structs.replace(conversation, messages=(*conversation.messages, message), max_tokens=limit)


def _close(call: "Call", attempt: Attempt, fault: Fault, said: Sequence[Delta]) -> None:
    """A try that broke off, and what it used: as it said itself, else counted here, since its upstream will charge for it."""
    if any(isinstance(delta, (Used, TextDelta)) for delta in said):
        attempt.usage = reckon(call, attempt.deployment, said)
        attempt.cost_nano = charge(attempt.usage, attempt.deployment.price)
    attempt.error, attempt.status = fault.row.code or fault.kind, fault.upstream_status
    attempt.duration_s = time.perf_counter() - attempt.started_at
