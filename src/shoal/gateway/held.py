"""Answers that are kept back until the policy has judged them: read whole, shown to the policy, given to the caller or paid for in vain."""

import time

import msgspec

from shoal.core.answer import Answer, fold
from shoal.core.attempt import Attempt
from shoal.core.usage import charge
from shoal.gateway import answer
from shoal.gateway.bridge import Bridge
from shoal.gateway.call import Call
from shoal.gateway.charges import hold_more
from shoal.net.upstream import Response


class Held(msgspec.Struct, frozen=True):
    """One answer as the upstream gave it, and as the policy sees it."""

    attempt: Attempt
    way: Bridge
    body: bytes
    answer: Answer


async def keep(call: Call, attempt: Attempt, way: Bridge, response: Response) -> None:
    """Read an answer whole and keep it back. Errors: Fault, as if it had been relayed."""
    body = await answer.read(call, response)
    if call.request.stream:
        reader = way.reader()
        said = fold([*reader.feed(body), *reader.close()])
    else:
        said = way.read(body)
    attempt.usage, attempt.duration_s = said.usage, time.perf_counter() - attempt.started_at
    attempt.cost_nano = charge(said.usage, attempt.deployment.price)
    await hold_more(call, attempt)
    call.held = (*call.held, Held(attempt, way, body, said))


async def give(call: Call) -> None:
    """Give the caller the answer that was kept last. Errors: Fault."""
    last = call.held[-1]
    if call.request.stream:
        await answer.replay(call, last.attempt, last.way, last.body)
    else:
        await answer.give(call, last.attempt, last.way, (last.body,))
